"""The gateway: one loopback address behind which every simulated site answers.

A call to `https://host/path?query` arrives as `http://<gateway>/https/host/path?query` and is given to the
simulator that has this host. Everything is recorded, and whatever a real site would not accept is a violation.
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

from aiohttp import web
from multidict import CIMultiDict

from tests.simulators.answers import Answer, CutError
from tests.simulators.faults import Fault, Pass

S = TypeVar("S", bound="Simulator")

HOST_UNKNOWN_STATUS = 599
LINE_LIMIT = 2**20
"""Bytes of a request line: what a site takes of an address is for the site to say."""
TICK = 0.02
"""Seconds after which a condition is looked at again when no simulator has reported a change."""


@dataclass(eq=False)
class Call:
    """One call as it arrived. `path` and `query` are raw; `started` is of `time.monotonic()`.

    `answered` is set when the whole answer was sent, `closed` when the caller closed the connection before that,
    `ended` in any case.
    """

    method: str
    scheme: str
    host: str
    path: str
    query: str
    headers: CIMultiDict[str]
    body: bytes
    started: float = field(default_factory=time.monotonic)
    kind: str = ""
    params: dict[str, str] = field(default_factory=dict)
    outcome: str = "ok"
    fault: Fault = field(default_factory=Pass)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class RefusedError(Exception):
    """Ends the handling of a call with an answer; `outcome` names why."""

    def __init__(self, answer: Answer, outcome: str) -> None:
        super().__init__(outcome)
        self.answer = answer
        self.outcome = outcome


@dataclass(frozen=True)
class Route:
    """Which calls are of a kind; `path` is a regular expression, its named groups become `call.params`.

    The simulator's method `on_<kind>` answers them.
    """

    kind: str
    method: str
    host: str
    path: str

    def match(self, call: Call) -> dict[str, str] | None:
        """Give the path's parameters when the call is of this kind, else None."""
        found = re.fullmatch(self.path, call.path)
        fits = found and (call.method, call.host) == (self.method, self.host)
        return found.groupdict() if found and fits else None


class Simulator(ABC):
    """A fake site: its routes, what it was asked (`calls`) and what was wrong about it (`violations`)."""

    name: ClassVar[str]
    hosts: ClassVar[set[str]]
    routes: ClassVar[tuple[Route, ...]]

    def __init__(self) -> None:
        self.pace = 0.0
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self._scripts: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._change = asyncio.Event()

    @abstractmethod
    def demo_tokens(self) -> list[str]:
        """Give account tokens that this site accepts."""

    @abstractmethod
    def account(self, name: str) -> str:
        """Give the token of an account, which is opened when it does not exist."""

    def live_conversations(self) -> list[Any]:
        """Give the conversations that were not deleted; none where the site lets none be deleted."""
        return []

    def script(self, where: str, *faults: Fault) -> None:
        """Queue faults for the next calls of a kind, or to a path; each call takes one."""
        self._scripts[where].extend(faults)

    def calls_of(self, kind: str) -> list[Call]:
        """Give the calls of one kind, in the order of their arrival."""
        return [call for call in self.calls if call.kind == kind]

    def outcomes(self, kind: str) -> Counter[str]:
        """Count how the calls of one kind were answered: `ok`, `scripted`, or the site's reason to refuse."""
        return Counter(call.outcome for call in self.calls_of(kind))

    def changed(self) -> None:
        """Wake those who wait for a condition."""
        self._change.set()
        self._change = asyncio.Event()

    async def wait_for(self, condition: Callable[[], object], within: float = 5.0) -> None:
        """Return as soon as the condition holds; fail, saying what happened here, when it does not in time."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                happened = [(call.kind, call.outcome, call.ended.is_set()) for call in self.calls]
                raise AssertionError(f"not within {within} s; calls: {happened}; {self.violations}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._change.wait(), TICK)

    def respond(self, call: Call) -> Answer:
        """Answer a call: find its kind, let the site handle it, bend the answer as scripted."""
        for route in self.routes:
            params = route.match(call)
            if params is not None:
                call.kind, call.params, call.fault = route.kind, params, self._next_fault(route.kind, call.path)
                return call.fault.bend(self._handled(call))
        call.outcome = "unknown address"
        self.violations.append(f"unknown address: {call.method} {call.host}{call.path}")
        return Answer.json({"message": "Not Found", "status": 404}, 404)

    def interrupt(self, call: Call) -> None:
        """End the handling here when another answer was scripted for this call.

        Handlers call it when their checks have passed and nothing was changed yet.
        """
        answer = call.fault.replacement()
        if answer is not None:
            raise RefusedError(answer, "scripted")

    def _handled(self, call: Call) -> Answer:
        handler: Callable[[Call], Answer] = getattr(self, f"on_{call.kind}")
        try:
            return handler(call)
        except RefusedError as refused:
            call.outcome = refused.outcome
            return refused.answer

    def _next_fault(self, *places: str) -> Fault:
        queues = [self._scripts[place] for place in places if self._scripts[place]]
        return queues[0].popleft() if queues else Pass()


class Gateway:
    """A server on one address that gives each call to the site whose host it is for."""

    def __init__(self, sites: tuple[Simulator, ...]) -> None:
        self.sites = sites
        self.url = ""
        self._own_violations: list[str] = []
        self._by_host = {host: site for site in sites for host in site.hosts}
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def start(cls, *sites: Simulator, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Self]:
        """Serve the sites behind one address (`gateway.url`, any free port for 0) while the context lasts."""
        gateway = cls(sites)
        runner = web.ServerRunner(
            # A caller that leaves has to be noticed at once, not at the next write.
            web.Server(gateway._serve, handler_cancellation=True, access_log=None, max_line_size=LINE_LIMIT),
            shutdown_timeout=0.1,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            gateway.url = f"http://{host}:{runner.addresses[0][1]}"
            yield gateway
        finally:
            gateway._closing = True
            await runner.cleanup()

    def site(self, kind: type[S]) -> S:
        """Give the site of that class."""
        return next(site for site in self.sites if isinstance(site, kind))

    @property
    def calls(self) -> list[Call]:
        """Every call to every site, in the order of arrival."""
        return sorted((call for site in self.sites for call in site.calls), key=lambda call: call.started)

    @property
    def violations(self) -> list[str]:
        """Every violation at every site, and calls to hosts that are none of them."""
        return self._own_violations + [f"{site.name}: {text}" for site in self.sites for text in site.violations]

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        call = await _received(request)
        site = self._by_host.get(call.host)
        if site is None or call.scheme != "https":
            text = f"no site at {call.scheme}://{call.host} ({call.method} {call.path})"
            self._own_violations.append(text)
            return await Answer.json({"error": text}, HOST_UNKNOWN_STATUS).send(request)
        site.calls.append(call)
        site.changed()
        try:
            answer = site.respond(call)
        except Exception as error:
            site.violations.append(f"{call.kind}: the simulator failed: {error!r}")
            raise
        return await self._send(request, call, site, answer)

    async def _send(self, request: web.BaseRequest, call: Call, site: Simulator, answer: Answer) -> web.StreamResponse:
        site.changed()
        try:
            response = await answer.send(request)
            call.answered.set()
        except CutError:
            raise
        except (asyncio.CancelledError, ConnectionError) as left:
            if not self._closing:
                call.closed.set()
            # A caller who leaves while it is written to is no fault of the server, which would log it as one.
            raise asyncio.CancelledError from left
        else:
            return response
        finally:
            if answer.ended is not None:
                answer.ended()
            call.ended.set()
            site.changed()


async def _received(request: web.BaseRequest) -> Call:
    target, _, query = request.raw_path.partition("?")
    _, scheme, host, path = [*target.split("/", 3), "", "", ""][:4]
    return Call(
        request.method,
        scheme,
        host,
        "/" + path,
        query,
        CIMultiDict(request.headers),
        await request.content.read(),
    )
