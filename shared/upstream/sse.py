"""Server-sent events, taken apart: bytes in, frames out. Pure."""

from attrs import define

from shared.errors import UpstreamChanged

FRAME_LIMIT = 16 * 1024 * 1024
"""Bytes of one frame above which the site is taken to have changed."""

_BOM = b"\xef\xbb\xbf"


@define
class SseFrame:
    """One event. `whole` is False for what was left, without its closing blank line, when the body ended."""

    event: str
    data: bytes
    whole: bool = True


class SseFramer:
    """Split a body into events, however its bytes arrive.

    Line ends may be LF, CRLF or CR; comments, `id` and `retry` are dropped; several `data` lines are joined with LF.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0
        self._after_cr = False
        self._started = False

    def feed(self, data: bytes) -> list[SseFrame]:
        """Take the next bytes of the body; give the events they complete. Raise `UpstreamChanged` on a huge one."""
        if self._after_cr or b"\r" in data:
            data = self._line_feeds(data)
        if not self._started:
            data = self._without_bom(data)
        if not self._pending:
            frames, start = _frames(data, 0)
            self._keep(data[start:])
            return frames
        self._pending += data
        frames, start = _frames(self._pending, self._searched)
        if start:
            del self._pending[:start]
        self._keep(b"")
        return frames

    def end(self) -> list[SseFrame]:
        """The body is over: give the event that was not closed, if it has data."""
        frame = _frame(bytes(self._pending).strip(b"\n"))
        self._pending.clear()
        if frame is None:
            return []
        frame.whole = False
        return [frame]

    def _keep(self, rest: bytes) -> None:
        self._pending += rest
        # A blank line may be cut between its two line feeds.
        self._searched = max(0, len(self._pending) - 1)
        if len(self._pending) > FRAME_LIMIT:
            raise UpstreamChanged("The site sent an event of more than 16 MiB.")

    def _line_feeds(self, data: bytes) -> bytes:
        rest = data[1:] if self._after_cr and data.startswith(b"\n") else data
        if data:
            self._after_cr = rest.endswith(b"\r")
        return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_bom(self, data: bytes) -> bytes:
        head = bytes(self._pending) + data
        self._pending.clear()
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._pending += head
            return b""
        self._started = True
        return head.removeprefix(_BOM)


def _frames(source: bytes | bytearray, searched: int) -> tuple[list[SseFrame], int]:
    """Give the closed events of `source`, and where the open one begins."""
    frames: list[SseFrame] = []
    start = 0
    while (end := source.find(b"\n\n", searched)) >= 0:
        if end - start > FRAME_LIMIT:
            raise UpstreamChanged("The site sent an event of more than 16 MiB.")
        frame = _frame(bytes(source[start:end]))
        if frame is not None:
            frames.append(frame)
        start = searched = end + 2
    return frames, start


def _frame(block: bytes) -> SseFrame | None:
    """Read the lines of one event; None when it has no data."""
    event = ""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    if not data:
        return None
    return SseFrame(event, data[0] if len(data) == 1 else b"\n".join(data))
