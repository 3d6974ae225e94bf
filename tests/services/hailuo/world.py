"""The Hailuo service over the fake hailuoai.com."""

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any, ClassVar

import aiohttp
from attrs import define

from services.hailuo.provider import Hailuo
from tests import world
from tests.answers import Json, Told, data_url
from tests.simulators import Call
from tests.simulators.hailuo import HailuoSite
from tests.simulators.hailuo_checks import form_of

GIF = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAACADs=")


@define
class World(world.World[HailuoSite]):
    """The running service and the site behind it."""

    provider = Hailuo
    simulator = HailuoSite
    settings: ClassVar[Mapping[str, str]] = {"HAILUO_SPEECH_PAUSE": "0.001"}

    async def both(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask both ways, which have to give the same, and all of it; give the stream."""
        stream = await super().both(said, *names, **more)
        assert stream.done
        return stream

    async def speak(self, text: str, *names: str, voice: str = "alloy", **more: Any) -> Told:
        """Have a text read out."""
        return await self.request("/v1/audio/speech", {"model": "tts-1", "input": text, "voice": voice, **more}, *names)

    async def hear(self, data: bytes | None, *names: str, name: str = "audio", **fields: str) -> Told:
        """Upload a sound."""
        form = aiohttp.FormData(default_to_multipart=True)
        for field_name, value in {"model": "whisper-1", **fields}.items():
            form.add_field(field_name, value)
        if data is not None:
            form.add_field("file", BytesIO(data), filename=name, content_type="application/octet-stream")
        return await self.send("/v1/audio/transcriptions", form, *names)

    async def settled(self) -> None:
        """Wait until every conversation is deleted and every call has ended."""
        await self.deleted()
        await self.site.wait_for(lambda: all(call.ended.is_set() for call in self.site.calls))

    def fields(self, kind: str = "chat") -> list[dict[str, str]]:
        """The forms of the calls of one kind."""
        return [form_fields(call) for call in self.site.calls_of(kind)]


question = World.question


def form_fields(call: Call) -> dict[str, str]:
    """Give the text fields of a form."""
    parts = form_of(call.headers["Content-Type"], call.body)
    return {part.name: part.data.decode() for part in parts if part.filename is None}


def with_file(words: str, data: bytes = GIF, type_: str = "image/gif", kind: str = "image_url") -> list[Json]:
    """Give a content with a text and a file."""
    named = {"file_url" if kind == "file" else kind: {"url": data_url(data, type_)}}
    return [{"type": "text", "text": words}, {"type": kind, **named}]
