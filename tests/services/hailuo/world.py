"""The Hailuo service over the fake hailuoai.com, both on real sockets, and what a client reads from it."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, Self

import aiohttp
import orjson
from attrs import define, field
from structlog.testing import capture_logs

from services.hailuo.provider import Hailuo
from tests.house import House, running
from tests.simulators import Call, Gateway
from tests.simulators.hailuo import HailuoSite
from tests.simulators.hailuo_checks import form_of

Json = dict[str, Any]

PATIENCE = 10.0
"""Seconds within which every answer has to be whole."""
GIF = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAACADs=")


@define
class Told:
    """What a client read: the status, the body, and that of it which is JSON or chunks."""

    status: int
    type: str
    body: bytes = field(repr=False)

    @property
    def value(self) -> Json:
        value: Json = orjson.loads(self.body)
        return value

    @property
    def chunks(self) -> list[Json]:
        events = self.body.split(b"\n\n")
        assert events.pop() == b"", "the body does not end with a whole event"
        datas = [event.removeprefix(b"data: ") for event in events if not event.startswith(b":")]
        return [orjson.loads(data) for data in datas if data != b"[DONE]"]

    @property
    def whole(self) -> bool:
        """Whether a stream ended as it should."""
        return self.body.endswith(b"data: [DONE]\n\n")

    @property
    def code(self) -> str | None:
        """The code of the error, of the body or of the last event."""
        told = self.chunks[-1] if self.type == "text/event-stream" else self.value
        return told["error"]["code"] if "error" in told else None

    @property
    def message(self) -> str:
        message: str = self.value["error"]["message"]
        return message

    @property
    def content(self) -> str:
        if self.type == "text/event-stream":
            choices = [choice for chunk in self.chunks for choice in chunk.get("choices", ())]
            return "".join(choice["delta"].get("content", "") for choice in choices)
        content: str = self.value["choices"][0]["message"]["content"]
        return content

    @property
    def annotations(self) -> list[Json]:
        last = self.chunks[-1] if self.type == "text/event-stream" else self.value
        choice = last["choices"][0]
        said = choice.get("delta") or choice.get("message") or {}
        return [note["url_citation"] for note in said.get("annotations", ())]


@define
class World:
    """The running service and the site behind it.

    At the end the site must have had nothing to object to, `errors` must be all that was logged at ERROR, and `kept`
    the number of conversations left at the site.
    """

    gateway: Gateway
    house: House
    errors: list[str] = field(factory=list)
    kept: int = 0

    @classmethod
    @asynccontextmanager
    async def start(cls, **environ: str) -> AsyncIterator[Self]:
        """Run both with these settings, and check at the end what the class says."""
        environ = {"HAILUO_SPEECH_PAUSE": "0.001", **environ}
        logged = _Errors()
        logging.getLogger().addHandler(logged)
        try:
            with capture_logs() as lines:
                async with Gateway.start(HailuoSite()) as gateway:
                    async with running(Hailuo, {"UPSTREAM_GATEWAY": gateway.url, **environ}) as house:
                        yield (world := cls(gateway, house))
                    assert gateway.violations == []
                    assert len(world.site.live_chats()) == world.kept
        finally:
            logging.getLogger().removeHandler(logged)
        told = [line["event"] for line in lines if line["log_level"] in ("error", "critical")]
        assert logged.found + told == world.errors

    @property
    def site(self) -> HailuoSite:
        return self.gateway.site(HailuoSite)

    def tokens(self, *names: str) -> str:
        """The tokens of these accounts, `ann` if none is named."""
        return ",".join(map(self.site.account, names or ("ann",)))

    async def post(self, path: str, body: Any, *names: str) -> Told:
        """Post JSON as these accounts, and read the whole answer, which has to come, and to be closed, in time."""
        async with asyncio.timeout(PATIENCE), self.house.post(path, body, self.tokens(*names)) as response:
            return Told(response.status, response.content_type, await response.read())

    async def chat(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a stream; `said` is the user's content or all messages."""
        return await self.post("/v1/chat/completions", {**question(said), "stream": True, **more}, *names)

    async def whole(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a whole answer."""
        return await self.post("/v1/chat/completions", {**question(said), **more}, *names)

    async def both(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask both ways, which have to give the same; give the stream."""
        whole, stream = await self.whole(said, *names, **more), await self.chat(said, *names, **more)
        assert stream.whole
        assert (whole.content, whole.annotations) == (stream.content, stream.annotations)
        return stream

    async def speak(self, text: str, *names: str, voice: str = "alloy", **more: Any) -> Told:
        """Have a text read out."""
        return await self.post("/v1/audio/speech", {"model": "tts-1", "input": text, "voice": voice, **more}, *names)

    async def hear(self, data: bytes | None, *names: str, name: str = "audio", **fields: str) -> Told:
        """Upload a sound."""
        form = aiohttp.FormData(default_to_multipart=True)
        for field_name, value in {"model": "whisper-1", **fields}.items():
            form.add_field(field_name, value)
        if data is not None:
            form.add_field("file", BytesIO(data), filename=name, content_type="application/octet-stream")
        headers = {"Authorization": f"Bearer {self.tokens(*names)}"}
        url = f"{self.house.url}/v1/audio/transcriptions"
        async with asyncio.timeout(PATIENCE), self.house.client.post(url, data=form, headers=headers) as response:
            return Told(response.status, response.content_type, await response.read())

    async def settled(self) -> None:
        """Wait until every conversation is deleted and every call has ended."""
        await self.site.wait_for(
            lambda: not self.site.live_chats() and all(call.ended.is_set() for call in self.site.calls)
        )

    def kinds(self) -> list[str]:
        """The kinds of all calls to the site, in their order."""
        return [call.kind for call in self.site.calls]

    def fields(self, kind: str = "chat") -> list[dict[str, str]]:
        """The forms of the calls of one kind."""
        return [form_fields(call) for call in self.site.calls_of(kind)]


def form_fields(call: Call) -> dict[str, str]:
    """Give the text fields of a form."""
    parts = form_of(call.headers["Content-Type"], call.body)
    return {part.name: part.data.decode() for part in parts if part.filename is None}


class _Errors(logging.Handler):
    """Keeps what Python's own logging is told at ERROR."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


def question(said: Any) -> Json:
    """Give the body of a chat."""
    listed = isinstance(said, list) and all(isinstance(one, dict) and "content" in one for one in said)
    return {"model": "hailuo", "messages": said if listed else [{"role": "user", "content": said}]}


def with_file(words: str, data: bytes = GIF, type_: str = "image/gif", kind: str = "image_url") -> list[Json]:
    """Give a content with a text and a file."""
    url = f"data:{type_};base64,{base64.b64encode(data).decode()}"
    return [{"type": "text", "text": words}, {"type": kind, ("file_url" if kind == "file" else kind): {"url": url}}]
