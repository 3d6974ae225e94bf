"""The GLM service over the fake chatglm.cn, both on real sockets, and what a client reads from it."""

import asyncio
import base64
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, Self

import aiohttp
import orjson
from attrs import define, field
from multidict import CIMultiDict
from PIL import Image
from structlog.testing import capture_logs

from services.glm.provider import Glm
from tests.house import House, running
from tests.simulators import Call, Gateway
from tests.simulators.chatglm import GlmSite

Json = dict[str, Any]

MAIN = "65940acff94777010aa6b796"
DRAWING = "65a232c082ff90a2ad2f15e2"
AGENT = "65c046a531d3fcb034918abe"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
PATIENCE = 10.0
"""Seconds within which every answer has to be whole."""


@define
class Told:
    """What a client read: status, headers and JSON body, or the chunks of a stream and how that ended."""

    status: int
    headers: Mapping[str, str]
    value: Any = None
    chunks: list[Json] = field(factory=list)
    pings: int = 0

    @property
    def error(self) -> Json:
        """The error object, of the body or of the last frame."""
        error: Json = self.value["error"]
        return error

    @property
    def content(self) -> str:
        return self._joined("content")

    @property
    def reasoning(self) -> str:
        return self._joined("reasoning_content")

    @property
    def finish(self) -> str | None:
        """The finish reason; None when a stream ended with an error frame."""
        choices = self._choices()
        reason: str | None = choices[-1]["finish_reason"] if choices else None
        return reason

    @property
    def annotations(self) -> list[Json]:
        return [note for said in self._said() for note in said.get("annotations", ())]

    @property
    def id(self) -> str:
        name: str = (self.chunks[0] if self.chunks else self.value)["id"]
        return name

    @property
    def pieces(self) -> list[str]:
        """The content of each chunk that has one, the opening one excepted."""
        return [said["content"] for said in self._said()[1:] if "content" in said]

    @property
    def outcome(self) -> tuple[int, str, str, str | None, str | None]:
        """All that tells two answers apart, whatever pieces they came in."""
        code = self.value["error"]["code"] if self.value and "error" in self.value else None
        return self.status, self.reasoning, self.content, self.finish, code

    def _choices(self) -> list[Json]:
        if self.chunks:
            return [choice for chunk in self.chunks for choice in chunk["choices"]]
        choices: list[Json] = self.value.get("choices", [])
        return choices

    def _said(self) -> list[Json]:
        return [choice.get("delta") or choice.get("message") or {} for choice in self._choices()]

    def _joined(self, name: str) -> str:
        return "".join(said.get(name, "") for said in self._said())


def read_stream(status: int, headers: Mapping[str, str], body: bytes) -> Told:
    """Take a stream apart, holding it to its form: one opening, one end, and the same face on every chunk."""
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    events = body.split(b"\n\n")
    assert events.pop() == b"", "the body does not end with a whole event"
    pings = [event for event in events if event.startswith(b":")]
    datas = [event.removeprefix(b"data: ") for event in events if not event.startswith(b":")]
    assert all(event.startswith((b"data: ", b":")) for event in events)
    if datas[-1] != b"[DONE]":
        *datas, last = datas
        chunks, told = [orjson.loads(data) for data in datas], orjson.loads(last)
        check_error(told)
        assert all(choice["finish_reason"] is None for chunk in chunks for choice in chunk["choices"])
    else:
        chunks, told = [orjson.loads(data) for data in datas[:-1]], None
        ends = [place for place, chunk in enumerate(chunks) for c in chunk["choices"] if c["finish_reason"]]
        assert len(ends) == 1
        rest = chunks[ends[0] + 1 :]
        assert rest == [] or [chunk["choices"] for chunk in rest] == [[]]
        assert [chunk["usage"] for chunk in chunks[ends[0] :] if "usage" in chunk] == [USAGE]
    if chunks:
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert len({(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks}) == 1
    return Told(status, headers, told, chunks, len(pings))


def check_error(value: Any) -> None:
    """Hold an error to OpenAI's envelope."""
    assert list(value) == ["error"]
    assert list(value["error"]) == ["message", "type", "param", "code"]
    assert value["error"]["message"]
    assert value["error"]["code"]


@define
class World:
    """The running service and the site behind it.

    At the end the site must have had nothing to object to, `errors` must be all that was logged at ERROR, and `kept`
    the number of conversations left at the site (None: any). `bearer` is sent in the place of accounts' tokens.
    """

    gateway: Gateway
    house: House
    errors: list[str] = field(factory=list)
    kept: int | None = 0
    bearer: str | None = None

    @classmethod
    @asynccontextmanager
    async def start(cls, site: GlmSite | None = None, **environ: str) -> AsyncIterator[Self]:
        """Run both with these settings, and check at the end what the class says."""
        logged = _Errors()
        logging.getLogger().addHandler(logged)
        try:
            with capture_logs() as lines:
                async with Gateway.start(site or GlmSite()) as gateway:
                    async with running(Glm, {"UPSTREAM_GATEWAY": gateway.url, **environ}) as house:
                        yield (world := cls(gateway, house))
                    assert gateway.violations == []
                    assert world.kept in (None, len(world.site.live_conversations()))
        finally:
            logging.getLogger().removeHandler(logged)
        told = [line["event"] for line in lines if line["log_level"] in ("error", "critical")]
        assert logged.found + told == world.errors

    @property
    def site(self) -> GlmSite:
        return self.gateway.site(GlmSite)

    def post(self, path: str, body: Any, *names: str, **headers: str) -> Any:
        """Post as these accounts (`ann` if none is named); use as `async with`."""
        return self.house.post(path, body, self._token(names), **headers)

    async def ask(self, path: str, body: Any, *names: str, **headers: str) -> Told:
        """Post and read the whole answer, which has to come, and to be closed, in time."""
        async with asyncio.timeout(PATIENCE), self.post(path, body, *names, **headers) as response:
            return await read(response)

    async def send(self, path: str, data: bytes, *names: str) -> Told:
        """Post these bytes, whatever they are, and read the whole answer."""
        headers = {"Authorization": f"Bearer {self._token(names)}"}
        url = self.house.url + path
        async with (
            asyncio.timeout(PATIENCE),
            self.house.client.post(url, data=BytesIO(data), headers=headers) as response,
        ):
            return await read(response)

    async def chat(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a stream; `said` is the user's content or all messages."""
        return await self.ask("/v1/chat/completions", {**question(said), "stream": True, **more}, *names)

    async def whole(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask for a whole answer."""
        return await self.ask("/v1/chat/completions", {**question(said), **more}, *names)

    async def both(self, said: Any, *names: str, **more: Any) -> Told:
        """Ask both ways, which have to give the same; give the stream."""
        whole, stream = await self.whole(said, *names, **more), await self.chat(said, *names, **more)
        assert whole.outcome == stream.outcome
        assert whole.annotations == stream.annotations
        return stream

    async def metrics(self) -> dict[str, float]:
        """The metrics by name and labels, the provider's name left out."""
        async with self.house.client.get(f"{self.house.url}/metrics") as response:
            lines = re.sub(r',?provider="glm",?', "", await response.text()).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def deleted(self, within: float = 5.0) -> None:
        """Wait until no conversation is left at the site."""
        await self.site.wait_for(lambda: not self.site.live_conversations(), within)

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

    def _token(self, names: Sequence[str]) -> str:
        return self.bearer or ",".join(map(self.site.account, names or ("ann",)))


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
    return {"model": "glm-4-plus", "messages": said if listed else [{"role": "user", "content": said}]}


async def read(response: aiohttp.ClientResponse) -> Told:
    """Read an answer to its proper end."""
    body = await response.read()
    assert response.headers["Access-Control-Allow-Origin"]
    if response.content_type == "text/event-stream":
        return read_stream(response.status, response.headers, body)
    value = orjson.loads(body)
    if response.status != 200:
        check_error(value)
    return Told(response.status, response.headers, value)


def png(width: int, height: int) -> bytes:
    target = BytesIO()
    Image.new("RGB", (width, height)).save(target, "PNG")
    return target.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def headers_of(call: Call) -> dict[str, str]:
    """Give a call's headers, names in lower case, but for those of the transport and those new for each call."""
    out = {"host", "content-length", "x-device-id", "x-request-id", "x-sign", "x-timestamp", "x-nonce"}
    return {name.lower(): value for name, value in call.headers.items() if name.lower() not in out}
