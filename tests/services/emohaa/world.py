"""The Emohaa service over the fake site."""

from attrs import define

from services.emohaa.provider import Emohaa
from tests import world
from tests.simulators import Call
from tests.simulators.emohaa import EmohaaSite


@define
class World(world.World[EmohaaSite]):
    """The running service and the site behind it."""

    provider = Emohaa
    simulator = EmohaaSite
    kept: int | None = None

    def chats(self) -> list[Call]:
        return self.site.calls_of("chat")
