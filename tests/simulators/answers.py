"""What a simulator answers: a head, and the steps that send its body one after the other."""

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, final

import orjson
from aiohttp import web

JSON_TYPE = "application/json; charset=utf-8"
SSE_TYPE = "text/event-stream; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"


class CutError(asyncio.CancelledError):
    """The handling ended because this side broke the connection, not because the caller left."""


@dataclass(frozen=True)
class Wire:
    """One call as the server sees it: the request and the response that is being sent."""

    request: web.BaseRequest
    response: web.StreamResponse


class Step(ABC):
    """One thing that happens while a body is sent; `size` is how many of its bytes that are."""

    size: int = 0

    @abstractmethod
    async def run(self, wire: Wire) -> None:
        """Do it."""


@final
@dataclass(frozen=True)
class Send(Step):
    """Write bytes, in one write."""

    data: bytes

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many bytes there are."""
        return len(self.data)

    async def run(self, wire: Wire) -> None:
        """Write them, waiting while the reader does not keep up."""
        await wire.response.write(self.data)


@final
@dataclass(frozen=True)
class Do(Step):
    """Change the site's state at this point of the body."""

    action: Callable[[], None]

    async def run(self, wire: Wire) -> None:
        """Call the action."""
        self.action()


@final
@dataclass(frozen=True)
class Wait(Step):
    """Send nothing for `seconds`, or until `until` is set, or (neither given) until the caller leaves."""

    seconds: float | None = None
    until: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, wire: Wire) -> None:
        """Set `reached` and wait."""
        self.reached.set()
        if self.seconds is not None:
            await asyncio.sleep(self.seconds)
        else:
            await (self.until or asyncio.Event()).wait()


@final
@dataclass(frozen=True)
class Abort(Step):
    """Break the connection; with `reset` the caller gets an RST instead of an early end."""

    reset: bool = False

    async def run(self, wire: Wire) -> None:
        """Close the transport, wait for the cancellation that follows and raise it as `CutError`."""
        transport = wire.request.transport
        if transport is not None:
            if self.reset:
                linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as lost:
            raise CutError from lost


@dataclass(frozen=True)
class Answer:
    """A whole answer: `before` runs ahead of the head, `steps` send the body, `ended` runs however it ended."""

    status: int = 200
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    before: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    chunked: bool = False
    ended: Callable[[], None] | None = None

    @classmethod
    def json(cls, payload: Any, status: int = 200) -> Self:
        """Answer with a JSON document."""
        return cls(status, steps=(Send(orjson.dumps(payload)),))

    @property
    def size(self) -> int:
        """How many bytes the body has."""
        return sum(step.size for step in self.steps)

    async def send(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send the answer to a request; return the finished response."""
        response = web.StreamResponse(status=self.status, headers=self.headers)
        response.headers["Content-Type"] = self.content_type
        if self.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = self.size
        wire = Wire(request, response)
        for step in self.before:
            await step.run(wire)
        await response.prepare(request)
        for step in self.steps:
            await step.run(wire)
        await response.write_eof()
        return response


def divide(steps: Sequence[Step], offset: int) -> tuple[list[Step], list[Step]]:
    """Split steps into those that send the first `offset` bytes of the body and the rest.

    A negative offset counts from the end. Steps without bytes at the border belong to the rest.
    """
    room = offset if offset >= 0 else max(0, sum(step.size for step in steps) + offset)
    before: list[Step] = []
    for position, step in enumerate(steps):
        if room == 0:
            return before, list(steps[position:])
        if isinstance(step, Send) and step.size > room:
            rest = [Send(step.data[room:]), *steps[position + 1 :]]
            return [*before, Send(step.data[:room])], rest
        before.append(step)
        room -= step.size
    return before, []


def in_pieces(steps: Iterable[Step], cuts: Iterable[int], gap: float) -> list[Step]:
    """Send the same body in writes that end exactly at the positions `cuts`, `gap` seconds apart.

    What happens within a piece happens just before it; pauses of the original are dropped.
    """
    rest: list[Step] = [step for step in steps if not isinstance(step, Wait)]
    total = sum(step.size for step in rest)
    borders = sorted({cut for cut in cuts if 0 < cut < total} | {total})
    pieces: list[Step] = []
    start = 0
    for border in borders:
        piece, rest = divide(rest, border - start)
        pieces += [step for step in piece if not isinstance(step, Send)]
        pieces += [Send(b"".join(step.data for step in piece if isinstance(step, Send))), Wait(gap)]
        start = border
    return pieces + rest
