"""The Metaso service over the fake site, both on real sockets, and what a client reads from it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
import orjson
from attrs import define, field
from structlog.testing import capture_logs

from services.metaso.provider import Metaso
from tests.house import House, running
from tests.simulators import Gateway
from tests.simulators.metaso import MetasoSite
from tests.simulators.metaso_scenes import Asked

Json = dict[str, Any]

PATIENCE = 10.0
"""Seconds within which every answer has to be whole."""


@define
class Told:
    """What a client read. `finish` is None after an error; `pieces` are those of a stream, or the whole text."""

    status: int
    headers: Mapping[str, str]
    id: str = ""
    model: str = ""
    finish: str | None = None
    pieces: list[str] = field(factory=list)
    notes: list[Json] = field(factory=list)
    error: Json = field(factory=dict)

    @property
    def content(self) -> str:
        return "".join(self.pieces)

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Title and address of every annotation."""
        return [(note["url_citation"]["title"], note["url_citation"]["url"]) for note in self.notes]

    @property
    def outcome(self) -> tuple[int, str, str | None, str | None]:
        """All that tells two answers apart, whatever pieces they came in."""
        return self.status, self.content, self.finish, self.error.get("code")


async def read(response: aiohttp.ClientResponse) -> Told:
    """Read an answer to its end, which a stream has to have, as an error frame or as `[DONE]`."""
    body = await response.read()
    told = Told(response.status, response.headers)
    if response.content_type != "text/event-stream":
        value = orjson.loads(body)
        if response.status != 200:
            told.error = value["error"]
            return told
        (choice,) = value["choices"]
        assert value["conversation_id"] == value["id"]
        told.id, told.model, told.finish = value["id"], value["model"], choice["finish_reason"]
        told.pieces, told.notes = [choice["message"]["content"]], choice["message"].get("annotations", [])
        return told
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if not event.startswith(b":")]
    assert events.pop() == b"", "the body does not end with a whole event"
    done = events[-1] == b"[DONE]"
    for value in map(orjson.loads, events[: -1 if done else None]):
        if "error" in value:
            told.error = value["error"]
        else:
            (choice,) = value["choices"]
            told.id, told.model, told.finish = value["id"], value["model"], choice["finish_reason"]
            told.pieces += filter(None, [choice["delta"].get("content")])
            told.notes += choice["delta"].get("annotations", [])
    assert done == (told.finish is not None) == (not told.error)
    return told


@define
class World:
    """The running service and the site behind it. `errors` is all that may be logged as an error."""

    site: MetasoSite
    house: House
    errors: list[str] = field(factory=list)

    @classmethod
    @asynccontextmanager
    async def start(cls, site: MetasoSite | None = None, **environ: str) -> AsyncIterator[Self]:
        """Run both with these settings; at the end nothing was wrong at the site."""
        with capture_logs() as lines:
            async with Gateway.start(site or MetasoSite()) as gateway:
                async with running(Metaso, {"UPSTREAM_GATEWAY": gateway.url, **environ}) as house:
                    yield (world := cls(gateway.site(MetasoSite), house))
                assert gateway.violations == []
        assert [line["event"] for line in lines if line["log_level"] in ("error", "critical")] == world.errors

    def post(self, said: Any, *names: str, **more: Any) -> Any:
        """Ask as these accounts (`ann` if none is named); `said` is the user's content or all messages."""
        listed = isinstance(said, list) and all("role" in one for one in said)
        body = {"model": "detail", "messages": said if listed else [{"role": "user", "content": said}], **more}
        token = ",".join(self.site.account(name) for name in names or ("ann",))
        return self.house.post("/v1/chat/completions", body, token)

    async def ask(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask, and read the whole answer."""
        async with asyncio.timeout(PATIENCE), self.post(said, *names, **more) as response:
            return await read(response)

    async def both(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask both ways, which have to give the same; give the stream."""
        whole = await self.ask(said, *names, **more)
        stream = await self.ask(said, *names, stream=True, **more)
        assert whole.outcome == stream.outcome
        assert whole.notes == stream.notes
        return stream

    async def check(self, name: str = "ann") -> tuple[int, Json]:
        """Check an account's token; give status and body."""
        async with self.house.post("/token/check", {"token": self.site.account(name)}, None) as response:
            return response.status, await response.json()

    async def metrics(self) -> str:
        async with self.house.client.get(f"{self.house.url}/metrics") as response:
            return await response.text()

    def kinds(self) -> list[str]:
        """The calls so far, by kind."""
        return [call.kind for call in self.site.calls]

    def asked(self) -> list[Asked]:
        """What the site was asked, each both ways."""
        asked = self.site.questions()
        assert asked[::2] == asked[1::2]
        return asked[::2]
