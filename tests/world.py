"""A service over its fake site, both on real sockets, as its tests use them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from attrs import define, field
from structlog.testing import capture_logs

from shared.provider import Provider
from tests.answers import Json, Told, messages, read
from tests.house import House, running
from tests.simulators import Gateway
from tests.simulators.base import Simulator

PATIENCE = 10.0
"""Seconds within which every answer has to be whole."""
CHAT = "/v1/chat/completions"

SiteT = TypeVar("SiteT", bound=Simulator)


@define
class World(Generic[SiteT]):
    """The running service and the site behind it. A service's tests extend it.

    At the end the site must have had nothing to object to, `errors` must be all that was logged at ERROR, and `kept`
    the number of conversations left at the site (None: any).
    """

    provider: ClassVar[type[Provider[Any, Any]]]
    simulator: ClassVar[type[Simulator]]
    settings: ClassVar[Mapping[str, str]] = {}
    told_type: ClassVar[type[Told]] = Told

    gateway: Gateway
    house: House
    errors: list[str] = field(factory=list)
    kept: int | None = 0

    @classmethod
    @asynccontextmanager
    async def start(cls, site: SiteT | None = None, /, **environ: str) -> AsyncIterator[Self]:
        """Run both with these settings, and check at the end what the class says."""
        logged = _Errors()
        logging.getLogger().addHandler(logged)
        try:
            with capture_logs() as lines:
                async with Gateway.start(site or cls.simulator()) as gateway:
                    environ = {"UPSTREAM_GATEWAY": gateway.url, **cls.settings, **environ}
                    async with running(cls.provider, environ) as house:
                        yield (world := cls(gateway, house))
                    world.check_end()
        finally:
            logging.getLogger().removeHandler(logged)
        told = [line["event"] for line in lines if line["log_level"] in ("error", "critical")]
        assert logged.found + told == world.errors

    def check_end(self) -> None:
        """Check, once the service has ended, what is left at the site."""
        assert self.gateway.violations == []
        if self.kept is not None:
            assert len(self.site.live_conversations()) == self.kept

    @property
    def site(self) -> SiteT:
        (site,) = self.gateway.sites
        return cast("SiteT", site)

    def tokens(self, *names: str) -> str:
        """The tokens of these accounts, `ann` if none is named."""
        return ",".join(map(self.site.account, names or ("ann",)))

    @classmethod
    def question(cls, said: Any) -> Json:
        """Give the body of a chat; `said` is the user's content or all messages."""
        return {"model": cls.provider.default_model, "messages": messages(said)}

    def post(self, path: str, body: Any, *names: str, **headers: str) -> Any:
        """Post as these accounts (`ann` if none is named); use as `async with`."""
        return self.house.post(path, body, self.tokens(*names), **headers)

    async def request(self, path: str, body: Any, *names: str, **headers: str) -> Told:
        """Post and read the whole answer, which has to come, and to be closed, in time."""
        async with asyncio.timeout(PATIENCE), self.post(path, body, *names, **headers) as response:
            return await read(response, self.told_type)

    async def send(self, path: str, data: Any, *names: str) -> Told:
        """Post something else than JSON, and read the whole answer."""
        headers = {"Authorization": f"Bearer {self.tokens(*names)}"}
        url = self.house.url + path
        data = BytesIO(data) if isinstance(data, bytes) else data
        async with asyncio.timeout(PATIENCE), self.house.client.post(url, data=data, headers=headers) as response:
            return await read(response, self.told_type)

    async def ask(self, said: Any, *names: str, **more: Any) -> Told:
        """Chat, with these fields; `said` is the user's content or all messages."""
        return await self.request(CHAT, {**self.question(said), **more}, *names)

    async def whole(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a whole answer."""
        return await self.ask(said, *names, **more)

    async def chat(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a stream."""
        return await self.ask(said, *names, stream=True, **more)

    async def both(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask both ways, which have to give the same; give the stream."""
        whole, stream = await self.whole(said, *names, **more), await self.chat(said, *names, **more)
        assert (whole.outcome, whole.reasoning) == (stream.outcome, stream.reasoning)
        assert whole.annotations == stream.annotations
        return stream

    async def scrape(self) -> str:
        """The metrics, as they are given."""
        async with self.house.client.get(f"{self.house.url}/metrics") as response:
            return await response.text()

    async def deleted(self) -> None:
        """Wait until no conversation is left at the site."""
        await self.site.wait_for(lambda: not self.site.live_conversations())

    def kinds(self) -> list[str]:
        """The calls so far, by kind."""
        return [call.kind for call in self.site.calls]


class _Errors(logging.Handler):
    """Keeps what Python's own logging is told at ERROR."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())
