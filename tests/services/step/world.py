"""The Step service over the fake site."""

import orjson
from attrs import define

from services.step.provider import Step
from tests import world
from tests.answers import Json
from tests.simulators import Call
from tests.simulators.step import StepSite
from tests.simulators.step_checks import TRANSPORT_HEADERS, lowered

QUICK = {"STEP_FILE_PAUSE": "0", "STEP_FILE_SETTLE": "0"}
"""No pauses that only the real site needs."""


@define
class World(world.World[StepSite]):
    """The running service and the site behind it, which at the end must have nothing running."""

    provider = Step
    simulator = StepSite
    settings = QUICK

    def check_end(self) -> None:
        super().check_end()
        assert self.site.running == 0

    def messages(self, kind: str = "send") -> list[Json]:
        """The messages the site was sent."""
        return [orjson.loads(call.body[5:]) for call in self.site.calls_of(kind)]


def headers_of(call: Call) -> list[tuple[str, str]]:
    """The headers of a call in their order, those of the transport left out."""
    return [pair for pair in lowered(call.headers.items()) if pair[0] not in TRANSPORT_HEADERS]
