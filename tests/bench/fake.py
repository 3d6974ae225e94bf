"""The process of the fake site: `python -m tests.bench.fake <service> <port>`, reached as an `UPSTREAM_GATEWAY`.

It answers from bytes made beforehand, and keeps no state but a count of the frames it has sent.
"""

import asyncio
import sys
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import uvloop

from tests.bench.script import Script
from tests.bench.sites import SITES, FakeSite

COUNT_PATH = b"/frames-sent"
HEALTH_PATH = b"/healthz"


class Server:
    """What all connections of one fake site share. `sent` counts frames."""

    def __init__(self, site: FakeSite) -> None:
        self.sent = 0
        self.stream_path = urlsplit(site.stream_url).path.encode()
        self.replies = {path.encode(): _whole(reply) for path, reply in site.replies.items()}
        self.writes = cache(lambda script: _writes(site, script))

    def reply(self, path: bytes) -> bytes:
        """Give the whole reply to a call that does not stream."""
        if path in (COUNT_PATH, HEALTH_PATH):
            return _whole(self.sent)
        return next((reply for end, reply in self.replies.items() if path.endswith(end)), _NOT_FOUND)


class Connection(asyncio.Protocol):
    """One connection, kept alive; calls without a body or with a `Content-Length`, one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pending = b""
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Stop a stream that nobody reads any more."""
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer the call once it is whole."""
        self._pending += data
        head, _, rest = self._pending.partition(b"\r\n\r\n")
        length = _length(head)
        if len(self._pending) < len(head) + 4 + length:
            return
        call, self._pending = self._pending, rest[length:]
        path = head.split(b" ", 2)[1].partition(b"?")[0]
        if path.endswith(self._server.stream_path):
            self._stream(Script.read(call))
        else:
            self._transport.write(self._server.reply(path))

    def _stream(self, script: Script) -> None:
        writes: list[bytes] = self._server.writes(script)
        frames = script.frames // len(writes)
        begun = self._loop.time()

        def send(at: int) -> None:
            self._transport.write(writes[at])
            self._server.sent += frames
            if at + 1 < len(writes):
                # From the beginning, not from the last frame: being late once makes no later frame late.
                self._next = self._loop.call_at(begun + (at + 1) * script.every / 1000, send, at + 1)

        send(0)


def _writes(site: FakeSite, script: Script) -> list[bytes]:
    """Give what is written for one answer: the head with the first frame, the end with the last."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {site.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    writes = [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in site.frames(script)]
    writes[0] = head + writes[0]
    writes[-1] += b"0\r\n\r\n"
    return writes if script.every else [b"".join(writes)]


def _whole(value: Any, status: str = "200 OK") -> bytes:
    """Give a reply of one piece: a text as a page, anything else as JSON."""
    is_page = isinstance(value, str)
    body = value.encode() if is_page else orjson.dumps(value)
    type_ = "text/html" if is_page else "application/json"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {type_}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_NOT_FOUND = _whole({"message": "Not Found", "status": 404}, "404 Not Found")


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def serve(service: str, port: int) -> None:
    """Serve the fake site of this service until the process is ended."""
    server = Server(SITES[service])
    listener = await asyncio.get_running_loop().create_server(lambda: Connection(server), "127.0.0.1", port)
    await listener.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], int(sys.argv[2])))
