"""The process of the clients: `python -m tests.bench.load <job as JSON>`; prints its `Load` as JSON.

It does as little as it can for each frame, and reads the measured process's clock itself, at the moments that count.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self, cast

import attrs
import orjson
import uvloop
from attrs import frozen

from tests.bench.fake import COUNT_PATH
from tests.bench.processes import cpu_seconds
from tests.bench.script import Script
from tests.bench.sites import SITES

SETTLE = 0.15
"""Seconds for what a service still does after its answers (deletions), before the clock is read."""

TIMEOUT = 60.0
"""Seconds after which a run is given up."""

_BODY_END = b"\r\n0\r\n\r\n"
_TAIL = 32
"""Bytes of the end of an answer that are looked at."""


@frozen
class Job:
    """What to ask of whom.

    `slots` clients ask `script` again and again, each with an account of its own, the first of them at once and the
    last after `ramp` seconds. Then comes what is measured: `window` seconds, or without one the whole run, of `calls`
    by each client. A streamed answer must end with `end`.
    """

    service: str
    port: int
    pid: int
    fake_port: int
    script: Script
    slots: int
    stream: bool = True
    calls: int = 0
    ramp: float = 0.0
    window: float = 0.0
    end: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `write` writes."""
        fields = orjson.loads(text)
        return cls(**{**fields, "script": Script(**fields["script"])})

    def write(self) -> str:
        """Write the job for the command line."""
        return orjson.dumps(attrs.asdict(self)).decode()

    def request(self, number: int) -> bytes:
        """Give the request of one client as bytes."""
        site = SITES[self.service]
        message = {"role": "user", "content": self.script.prompt()}
        body = orjson.dumps({"model": site.model, "messages": [message], "stream": self.stream})
        head = (
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            f"Authorization: Bearer {site.token(number)}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "\r\n",
        )
        return "\r\n".join(head).encode() + body


@frozen
class Load:
    """What was measured: frames sent by the site, calls answered, and seconds.

    `elapsed`: in all; `cpu`: of the processor; `waited`: for the processor, which others had; `firsts`: to each first
    text.
    """

    elapsed: float
    cpu: float
    waited: float
    frames: int
    calls: int
    firsts: list[float]


class BrokenError(Exception):
    """An answer was not what it must be."""


class Client(asyncio.Protocol):
    """One client: a connection, kept alive, and the answer being read. `first` is when its first text came."""

    def __init__(
        self, request: bytes, end: bytes, answered: Callable[["Client"], None], broken: Callable[[str], None]
    ) -> None:
        self.asked = 0.0
        self.first = 0.0
        self._request = request
        self._end = end + _BODY_END
        self._answered = answered
        self._broken = broken
        self._head = b""
        self._tail = b""
        self._left: int | None = None
        self._closed = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Say so, unless it was this client that left."""
        if not self._closed:
            self._broken(f"the connection was closed ({error})")

    def ask(self) -> None:
        """Ask once more."""
        self.first = 0.0
        self._head = self._tail = b""
        self.asked = time.perf_counter()
        self._transport.write(self._request)

    def close(self) -> None:
        """Leave."""
        self._closed = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Look for the beginning and the end of the answer, at nothing else."""
        if not self.first:
            data = self._begin(data)
            if not data:
                return
            self.first = time.perf_counter()
        if self._left is not None:
            self._left -= len(data)
            if self._left == 0:
                self._answered(self)
            return
        tail = self._tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
        if tail.endswith(self._end):
            self._answered(self)
        elif tail.endswith(_BODY_END):
            self._broken("a stream ended without its last frame")

    def _begin(self, data: bytes) -> bytes:
        """Read the head; give what has come of the body."""
        self._head += data
        head, whole, body = self._head.partition(b"\r\n\r\n")
        if not whole:
            return b""
        if not head.startswith(b"HTTP/1.1 200 "):
            self._broken(repr(self._head[:500]))
            return b""
        _, found, rest = head.lower().partition(b"\r\ncontent-length:")
        self._left = int(rest.partition(b"\r\n")[0]) if found else None
        return body


class Clients:
    """All clients of a job. `firsts` are of the answers asked for since `measuring`."""

    def __init__(self, job: Job) -> None:
        self.measuring = 0.0
        self.answered = 0
        self.firsts: list[float] = []
        self._job = job
        self._stopping = False
        self._all: list[Client] = []
        self._left: dict[Client, int] = {}
        self._done = asyncio.Event()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Connect, then begin to ask, spread evenly over the ramp."""
        job, loop = self._job, asyncio.get_running_loop()
        for number in range(job.slots):
            client = Client(job.request(number), job.end.encode(), self._on_answer, self._on_break)
            await loop.create_connection(lambda client=client: client, "127.0.0.1", job.port)  # type: ignore[misc]
            self._all.append(client)
            self._left[client] = job.calls
        for number, client in enumerate(self._all):
            loop.call_later(number * job.ramp / job.slots, client.ask)

    async def run(self, seconds: float) -> None:
        """Go on for a while; raise `BrokenError` at the first answer that is not good."""
        await self._watch(asyncio.sleep(seconds))

    async def finish(self) -> None:
        """Wait until every client has what it asked for."""
        self._stopping = True
        await self._watch(self._done.wait())

    def close(self) -> None:
        """Leave."""
        for client in self._all:
            client.close()

    async def _watch(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        await asyncio.wait([task, self._broken], return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            self._broken.result()

    def _on_break(self, reason: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(BrokenError(reason))

    def _on_answer(self, client: Client) -> None:
        if self.measuring and client.asked >= self.measuring:
            self.firsts.append(client.first - client.asked)
        self.answered += 1
        self._left[client] -= 1
        if self._left[client] == 0 or (self._stopping and not self._job.calls):
            del self._left[client]
            if not self._left:
                self._done.set()
        else:
            client.ask()


async def measure(job: Job) -> Load:
    """Do the job."""
    async with asyncio.timeout(TIMEOUT):
        clients = Clients(job)
        before = await _read(job)
        await clients.start()
        if job.window:
            await clients.run(job.ramp + SETTLE)
            before = await _read(job)
            answered, clients.measuring = clients.answered, time.perf_counter()
            await clients.run(job.window)
            load = await _since(job, before, clients.answered - answered)
            await clients.finish()
        else:
            await clients.finish()
            await clients.run(SETTLE)
            load = await _since(job, before, clients.answered)
        clients.close()
        return attrs.evolve(load, firsts=clients.firsts)


async def _since(job: Job, before: Load, calls: int) -> Load:
    now = await _read(job)
    return Load(
        elapsed=now.elapsed - before.elapsed,
        cpu=now.cpu - before.cpu,
        waited=now.waited - before.waited,
        frames=now.frames - before.frames,
        calls=calls,
        firsts=[],
    )


async def _read(job: Job) -> Load:
    """Give what the measured process has used, and what the site has sent, from their beginnings until now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", job.fake_port)
    writer.write(b"GET %b HTTP/1.1\r\n\r\n" % COUNT_PATH)
    head = await reader.readuntil(b"\r\n\r\n")
    frames = int(await reader.readexactly(int(head.rpartition(b":")[2])))
    writer.close()
    cpu, waited = cpu_seconds(job.pid)
    return Load(time.perf_counter(), cpu, waited, frames, 0, [])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(orjson.dumps(attrs.asdict(runner.run(measure(Job.read(sys.argv[1]))))).decode())
