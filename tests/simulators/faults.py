"""Faults that any site can be told to have: `site.script("stream", Cut(after=100))`.

A fault either replaces the site's answer (after its checks have passed and before anything is changed at the
site) or bends the answer on its way out. `Together` gives one call several of them.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import orjson

from tests.simulators.answers import HTML_TYPE, JSON_TYPE, Abort, Answer, Send, Step, Wait, divide, in_pieces

F = TypeVar("F", bound="Fault")


class Fault:
    """Nothing unusual: scripted before another fault it lets one call pass."""

    def replacement(self) -> Answer | None:
        """Give the answer that is sent instead of the site's own, or None."""
        return None

    def bend(self, answer: Answer) -> Answer:
        """Give the answer as it is really sent."""
        return answer

    def find(self, kind: type[F]) -> F | None:
        """Give this fault, or the part of it, that is of the given kind."""
        return self if isinstance(self, kind) else None


class Pass(Fault):
    """Let one call through unchanged."""


class Together(Fault):
    """Several faults for one call, applied in order."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults

    def replacement(self) -> Answer | None:
        """Give the first replacement there is."""
        return next((answer for fault in self.faults if (answer := fault.replacement())), None)

    def bend(self, answer: Answer) -> Answer:
        """Bend by each in turn."""
        for fault in self.faults:
            answer = fault.bend(answer)
        return answer

    def find(self, kind: type[F]) -> F | None:
        """Give the first part of that kind."""
        return next((found for fault in self.faults if (found := fault.find(kind))), None)


@dataclass(frozen=True)
class Reply(Fault):
    """An arbitrary answer instead of the site's: bytes, text, or anything JSON can hold."""

    body: bytes | str | Mapping[str, Any] | list[Any] = b""
    status: int = 200
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()

    def replacement(self) -> Answer:
        """Give that answer."""
        body = self.body.encode() if isinstance(self.body, str) else self.body
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return Answer(self.status, self.content_type, self.headers, steps=(Send(data),))


def server_error(status: int = 503) -> Reply:
    """Give the failure of a gateway before the site: a 5xx with a page."""
    return html(status)


def html(status: int = 200) -> Reply:
    """Give a page where the caller expects data."""
    page = f"<!DOCTYPE html><html><head><title>{status}</title></head><body>请稍后再试</body></html>"
    return Reply(page, status, HTML_TYPE)


@dataclass(frozen=True)
class ContentType(Fault):
    """The site's own body under another content type."""

    value: str

    def bend(self, answer: Answer) -> Answer:
        """Change the header only."""
        return replace(answer, content_type=self.value)


@dataclass(frozen=True)
class SlowHead(Fault):
    """Hold the head back for `seconds`, until `until` is set, or (neither given) for ever."""

    seconds: float | None = None
    until: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def bend(self, answer: Answer) -> Answer:
        """Wait before the head."""
        return replace(answer, before=(*answer.before, Wait(self.seconds, self.until, self.reached)))


@dataclass(frozen=True)
class Stall(Fault):
    """Fall silent after `after` bytes of the body (negative: from its end), as long as `SlowHead` does.

    `reached` is set as soon as the bytes before it were written.
    """

    after: int = 0
    seconds: float | None = None
    until: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def bend(self, answer: Answer) -> Answer:
        """Put the silence at its place."""
        before, rest = divide(answer.steps, self.after)
        wait = Wait(self.seconds, self.until, self.reached)
        return replace(answer, steps=(*before, wait, *rest))


@dataclass(frozen=True)
class Cut(Fault):
    """Break the connection after `after` bytes of the body (negative: from its end), or before the head (None)."""

    after: int | None = 0
    reset: bool = False

    def bend(self, answer: Answer) -> Answer:
        """Drop the rest of the answer."""
        abort: tuple[Step, ...] = (Abort(self.reset),)
        if self.after is None:
            return replace(answer, before=answer.before + abort)
        before, _ = divide(answer.steps, self.after)
        # An answer without its length cannot end early: the caller has to notice the missing rest.
        return replace(answer, chunked=True, steps=(*before, *abort))


@dataclass(frozen=True)
class Split(Fault):
    """Write the body in pieces that end at the positions `at`, or that are `size` bytes long."""

    at: tuple[int, ...] = ()
    size: int | None = None
    gap: float = 0.002

    def bend(self, answer: Answer) -> Answer:
        """Cut the writes anew, each far enough from the next to be read on its own."""
        cuts = self.at if self.size is None else range(self.size, answer.size, self.size)
        return replace(answer, steps=tuple(in_pieces(answer.steps, cuts, self.gap)))
