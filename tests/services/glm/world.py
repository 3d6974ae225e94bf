"""The GLM service over the fake chatglm.cn."""

import re
from io import BytesIO
from typing import Any

import orjson
from attrs import define
from multidict import CIMultiDict
from PIL import Image

from services.glm.provider import Glm
from tests import answers, world
from tests.answers import Json
from tests.simulators import Call
from tests.simulators.chatglm import GlmSite

MAIN = "65940acff94777010aa6b796"
DRAWING = "65a232c082ff90a2ad2f15e2"
AGENT = "65c046a531d3fcb034918abe"


@define
class Told(answers.Told):
    """What a client read."""

    @property
    def outcome(self) -> tuple[Any, ...]:
        """All that tells two answers apart, whatever pieces they came in, the thinking first."""
        return self.status, self.reasoning, self.content, self.finish, self.code


@define
class World(world.World[GlmSite]):
    """The running service and the site behind it. `bearer` is sent in the place of accounts' tokens."""

    provider = Glm
    simulator = GlmSite
    told_type = Told

    bearer: str | None = None

    def tokens(self, *names: str) -> str:
        """The tokens of these accounts, or `bearer`."""
        return self.bearer or super().tokens(*names)

    @classmethod
    def question(cls, said: Any) -> Json:
        return {**super().question(said), "model": "glm-4-plus"}

    async def metrics(self) -> dict[str, float]:
        """The metrics by name and labels, the provider's name left out."""
        lines = re.sub(r',?provider="glm",?', "", await self.scrape()).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def occupy(self, name: str) -> None:
        """Let an account be writing elsewhere, for as long as the test lasts."""
        self.site.account(name)
        call = Call("POST", "https", "chatglm.cn", "/", "", CIMultiDict(), b"")
        self.site.running[self.site.accounts[name]] = call

    def asked(self, kind: str = "stream") -> list[Json]:
        """The JSON bodies of the calls of one kind."""
        return [orjson.loads(call.body) for call in self.site.calls_of(kind)]

    def prompts(self) -> list[str]:
        """The text of every question the site was asked."""
        return [body["messages"][0]["content"][0]["text"] for body in self.asked()]


question = World.question


def png(width: int, height: int) -> bytes:
    target = BytesIO()
    Image.new("RGB", (width, height)).save(target, "PNG")
    return target.getvalue()


def headers_of(call: Call) -> dict[str, str]:
    """Give a call's headers, names in lower case, but for those of the transport and those new for each call."""
    out = {"host", "content-length", "x-device-id", "x-request-id", "x-sign", "x-timestamp", "x-nonce"}
    return {name.lower(): value for name, value in call.headers.items() if name.lower() not in out}
