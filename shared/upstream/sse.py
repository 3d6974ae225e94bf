"""Server-sent events, taken apart: bytes in, frames out. Pure."""

from typing import ClassVar

from attrs import define

from shared.errors import UpstreamChanged

EVENT_STREAM = "text/event-stream"

FRAME_LIMIT = 16 * 1024 * 1024
"""Bytes of one frame above which the site is taken to have changed."""

_AT_ONCE = 32
"""Events of a burst that are taken apart in one go: where other ones come between, the rest is taken apart again."""

_BOM = b"\xef\xbb\xbf"
_PLAIN = b"!"
"""What is not less than this begins with no space, which may be the framing's, and is not empty."""
_SPACE = 0x20
_CR = 0x0D
_LF = 0x0A


@define
class SseFrame:
    """One event. `whole` is False for what was left, without its closing blank line, when the body ended.

    Of that there may have been no data yet.
    """

    event: str
    data: bytes
    whole: bool = True

    @property
    def blank(self) -> bool:
        """Whether it says nothing, as heartbeats do. One that was cut off might have."""
        return self.whole and not self.data.strip()


class SseFramer:
    """Split a body into events, however its bytes arrive.

    Line ends may be LF, CRLF or CR; comments, `id` and `retry` are dropped; several `data` lines are joined with LF.
    An event that is too long raises `UpstreamChanged`, after the events before it were given.
    """

    content_type: ClassVar[str] = EVENT_STREAM

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._started = False
        self._between = False
        self._head = b""
        self._head_event = ""

    def feed(self, data: bytes) -> list[SseFrame]:
        """Take the next bytes of the body; give the events they complete."""
        # A byte is looked for as a number: looked for as bytes it costs ten times as much.
        if self._after_cr or _CR in data:
            data = self._line_feeds(data)
        if self._between:
            # Nearly every read is one event that differs from one before in its one line of data only.
            body = data.removeprefix(self._head)
            if body != data:
                line, _, rest = body.partition(b"\n")
                if rest == b"\n" and line >= _PLAIN and len(line) <= FRAME_LIMIT:
                    return [SseFrame(self._head_event, line)]
        elif not self._started:
            data = self._without_bom(data)
        frames: list[SseFrame] = []
        if self._size > FRAME_LIMIT:
            raise _too_long()
        if self._line and _LF in data:
            # Pieces of a line are joined once, when its end has come: a long line costs no more than its length.
            data = b"".join((*self._line, data))
            self._line.clear()
            self._size = sum(map(len, self._data))
        start = self._lines(data, frames)
        if start < len(data):
            self._line.append(data[start:])
            self._size += len(data) - start
        if self._size > FRAME_LIMIT and not frames:
            raise _too_long()
        self._between = not (self._line or self._data or self._event)
        return frames

    def end(self) -> list[SseFrame]:
        """The body is over: give the event that was not closed, if it had begun."""
        if self._size > FRAME_LIMIT:
            raise _too_long()
        line = b"".join(self._line)
        self._line.clear()
        frames: list[SseFrame] = []
        if line:
            self._lines(line + b"\n", frames)
        if self._data or self._event or (line and not line.startswith(b":")):
            frames.append(SseFrame(self._event, b"\n".join(self._data), whole=False))
        self._data.clear()
        self._event = ""
        return frames

    def _lines(self, source: bytes, frames: list[SseFrame]) -> int:
        """Take the whole lines of `source`, add the events they close, and tell where the open line begins."""
        data = self._data
        fresh = not data and not self._event
        start = opened = self._alike(source, 0, frames) if fresh else 0
        begin = 0
        # A search for one byte is many times faster than one for a blank line, or than a split.
        while (end := source.find(b"\n", start)) >= 0:
            if source.startswith(b"data:", start):
                begin = start + 6 if source[start + 5] == _SPACE else start + 5
                data.append(source[begin:end])
                self._size += end - begin
                if self._size > FRAME_LIMIT:
                    return len(source)
            elif end == start:
                # An event without data is none.
                if data:
                    frames.append(SseFrame(self._event, data[0] if len(data) == 1 else b"\n".join(data)))
                    if fresh and len(data) == 1 and begin + len(data[0]) + 1 == start:
                        self._head, self._head_event = source[opened:begin], self._event
                    data.clear()
                    self._size = 0
                self._event = ""
                fresh = True
                start = opened = self._alike(source, end + 1, frames)
                continue
            elif source.startswith(b"event:", start):
                self._event = source[start + 6 : end].removeprefix(b" ").decode("utf-8", "replace")
            elif end == start + 4 and source.startswith(b"data", start):
                data.append(b"")
            start = end + 1
        return start

    def _alike(self, source: bytes, start: int, frames: list[SseFrame]) -> int:
        """Take events from `start` on that differ from one before in their one line of data only, as most do.

        Tell where the first other one begins.
        """
        head = self._head
        if not head or not source.startswith(head, start):
            return start
        *lines, rest = source[start + len(head) :].split(b"\n\n" + head, _AT_ONCE)
        line, _, rest = rest.partition(b"\n")
        if rest.startswith(b"\n"):
            lines.append(line)
        for line in lines:
            if line < _PLAIN or _LF in line or len(line) > FRAME_LIMIT:
                break
            frames.append(SseFrame(self._head_event, line))
            start += len(head) + len(line) + 2
        return start

    def _line_feeds(self, data: bytes) -> bytes:
        rest = data[1:] if self._after_cr and data.startswith(b"\n") else data
        if data:
            self._after_cr = rest.endswith(b"\r")
        return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_bom(self, data: bytes) -> bytes:
        head = b"".join((*self._line, data))
        self._line.clear()
        self._size = 0
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._line.append(head)
            return b""
        self._started = True
        return head.removeprefix(_BOM)


def _too_long() -> UpstreamChanged:
    return UpstreamChanged("The site sent an event of more than 16 MiB.")
