"""The Metaso service over the fake site."""

from attrs import define

from services.metaso.provider import Metaso
from tests import world
from tests.answers import Json
from tests.simulators.metaso import MetasoSite
from tests.simulators.metaso_scenes import Asked


@define
class World(world.World[MetasoSite]):
    """The running service and the site behind it."""

    provider = Metaso
    simulator = MetasoSite
    kept: int | None = None

    async def check(self, name: str = "ann") -> tuple[int, Json]:
        """Check an account's token; give status and body."""
        told = await self.request("/token/check", {"token": self.site.account(name)})
        return told.status, told.value

    def asked(self) -> list[Asked]:
        """What the site was asked, each both ways."""
        asked = self.site.questions()
        assert asked[::2] == asked[1::2]
        return asked[::2]
