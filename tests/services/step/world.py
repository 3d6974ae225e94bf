"""The Step service over the fake site, both on real sockets, and what a client reads from it."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
import orjson
from attrs import define, field

from services.step.provider import Step
from tests.house import House, running
from tests.simulators import Call, Gateway
from tests.simulators.step import StepSite
from tests.simulators.step_checks import TRANSPORT_HEADERS, lowered

Json = dict[str, Any]

QUICK = {"STEP_FILE_PAUSE": "0", "STEP_FILE_SETTLE": "0"}
"""No pauses that only the real site needs."""


@define
class Told:
    """What a client read: status, headers, and the JSON body or the chunks of a stream."""

    status: int
    headers: Mapping[str, str]
    value: Json = field(factory=dict)
    chunks: list[Json] = field(factory=list)
    done: bool = False

    @property
    def content(self) -> str:
        return self._joined("content")

    @property
    def reasoning(self) -> str:
        return self._joined("reasoning_content")

    @property
    def finish(self) -> str | None:
        reasons = [choice["finish_reason"] for choice in self._choices() if choice["finish_reason"]]
        return reasons[-1] if reasons else None

    @property
    def annotations(self) -> list[Json]:
        return [note["url_citation"] for said in self._said() for note in said.get("annotations", ())]

    @property
    def conversation_id(self) -> str | None:
        last = self.chunks[-1] if self.chunks else self.value
        return last.get("conversation_id")

    @property
    def code(self) -> str | None:
        code: str | None = self.value.get("error", {}).get("code")
        return code

    def _choices(self) -> list[Json]:
        return [choice for one in self.chunks or [self.value] for choice in one.get("choices", ())]

    def _said(self) -> list[Json]:
        return [choice.get("delta") or choice.get("message") or {} for choice in self._choices()]

    def _joined(self, name: str) -> str:
        return "".join(said.get(name, "") for said in self._said())


@define
class World:
    """The running service and the site behind it, which at the end must have had nothing to object to."""

    gateway: Gateway
    house: House
    kept: int = 0

    @classmethod
    @asynccontextmanager
    async def start(cls, **environ: str) -> AsyncIterator[Self]:
        async with Gateway.start(StepSite()) as gateway:
            async with running(Step, {"UPSTREAM_GATEWAY": gateway.url, **QUICK, **environ}) as house:
                yield (world := cls(gateway, house))
            assert gateway.violations == []
            assert len(world.site.live_chats()) == world.kept
            assert world.site.running == 0

    @property
    def site(self) -> StepSite:
        return self.gateway.site(StepSite)

    def post(self, path: str, body: Any, *names: str) -> Any:
        """Post as these accounts (`ann` if none is named); use as `async with`."""
        token = ",".join(map(self.site.account, names or ("ann",)))
        return self.house.post(path, body, token)

    async def ask(self, body: Any, *names: str, path: str = "/v1/chat/completions") -> Told:
        async with self.post(path, body, *names) as response:
            return await read(response)

    async def chat(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a stream; `said` is the user's content or all messages."""
        return await self.ask({**question(said), "stream": True, **more}, *names)

    async def whole(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a whole answer."""
        return await self.ask({**question(said), **more}, *names)

    async def both(self, said: Any, **more: Any) -> Told:
        """Ask both ways, which have to give the same; give the stream."""
        whole, stream = await self.whole(said, **more), await self.chat(said, **more)
        for name in ("content", "reasoning", "finish", "annotations"):
            assert getattr(whole, name) == getattr(stream, name)
        return stream

    def kinds(self) -> list[str]:
        """The kinds of all calls, in order."""
        return [call.kind for call in self.site.calls]

    def messages(self, kind: str = "send") -> list[Json]:
        """The messages the site was sent."""
        return [orjson.loads(call.body[5:]) for call in self.site.calls_of(kind)]

    async def deleted(self) -> None:
        """Wait until no chat is left at the site."""
        await self.site.wait_for(lambda: not self.site.live_chats())


def question(said: Any) -> Json:
    listed = isinstance(said, list) and all("role" in one for one in said)
    return {"model": "step", "messages": said if listed else [{"role": "user", "content": said}]}


async def read(response: aiohttp.ClientResponse) -> Told:
    """Read an answer to its proper end."""
    body = await response.read()
    if response.content_type != "text/event-stream":
        return Told(response.status, response.headers, orjson.loads(body))
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event and event[:1] != b":"]
    told = [orjson.loads(event) for event in events if event != b"[DONE]"]
    failed = [one for one in told if "error" in one]
    chunks = [one for one in told if "error" not in one]
    return Told(response.status, response.headers, failed[0] if failed else {}, chunks, events[-1] == b"[DONE]")


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def headers_of(call: Call) -> list[tuple[str, str]]:
    """The headers of a call in their order, those of the transport left out."""
    return [pair for pair in lowered(call.headers.items()) if pair[0] not in TRANSPORT_HEADERS]
