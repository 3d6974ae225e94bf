"""A provider of our own making, the smallest that has every part, and how tests ask it.

`python -m tests.shared.toy` serves it.

Its frames are the deltas, as JSON: `{"text": ...}`, `{"think": ...}`, `{"ref": [key, title, url]}`, `{"cite": key}`,
`{"image": url}`, `{"odd": kind}`, `{"refuse": class, ...}`, `{"finish": reason}`, and `{"conversation": id}`.
"""

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field, frozen

from shared import errors
from shared.accounts import Account, Lease
from shared.app import run
from shared.deltas import Cite, Delta, Failed, Finish, Image, Reference, Text, Thinking, Unknown
from shared.openai.requests import ChatRequest, ImageRequest, VideoRequest
from shared.provider import Provider
from shared.reply import FrameStream, Reply
from shared.terms import Conversation, Credential, Film, Picture, Session, Site
from shared.upstream.client import Answer
from shared.upstream.json import dumps
from shared.upstream.sse import SseFramer
from tests.house import House, running
from tests.shared.toysite import EVENTS, World


@frozen
class ToySite(Site):
    hosts: frozenset[str] = frozenset({"toy.test"})
    base: str = "https://toy.test"


@frozen
class ToySession(Session):
    access: str = field(default="", repr=False)


def error_of(told: Mapping[str, Any]) -> errors.SiteError:
    kind: type[errors.SiteError] = getattr(errors, told["refuse"])
    if kind is errors.UpstreamChanged:
        return errors.UpstreamChanged(told.get("message", ""), shape="{toy str}")
    return kind(told.get("message", ""), retry_after=told.get("retry_after"))


def refusal(answer: Answer) -> errors.SiteError:
    try:
        told = json.loads(answer.body)
    except ValueError:
        return errors.UpstreamUnavailable(f"The site answered with {answer.content_type}.")
    if "refuse" in told:
        return error_of(told)
    return errors.UpstreamChanged(shape="{" + ", ".join(told) + "}")


class ToyDecoder:
    def __init__(self) -> None:
        self.conversation: Conversation | None = None
        self.held = ""

    def feed(self, frame: Any) -> list[Delta]:
        try:
            told = json.loads(frame.data)
        except ValueError:
            if not frame.whole:
                raise errors.UpstreamUnavailable("The site broke off in the middle of a frame.") from None
            raise errors.UpstreamChanged(shape="no JSON") from None
        out: list[Delta] = []
        for name, value in told.items():
            if name == "conversation":
                self.conversation = Conversation(value)
            elif name == "held":
                self.held += value
            elif name == "bug":
                raise KeyError(value)
            else:
                out += _DELTAS[name](value, told)
        return out

    def end(self) -> list[Delta]:
        held, self.held = self.held, ""
        return [Text(held)] if held else []


_DELTAS: Mapping[str, Callable[[Any, Any], list[Delta]]] = {
    "text": lambda value, _: [Text(value)],
    "think": lambda value, _: [Thinking(value)],
    "ref": lambda value, _: [Reference(*value)],
    "cite": lambda value, _: [Cite(value)],
    "image": lambda value, _: [Image(value)],
    "odd": lambda value, _: [Unknown(value)],
    "finish": lambda value, _: [Finish(value)],
    "refuse": lambda _, told: [Failed(error_of(told))],
    "message": lambda *_: [],
    "retry_after": lambda *_: [],
}


class Toy(Provider[Credential, ToySession]):
    name = "toy"
    models = ("toy", "toy/large")
    default_model = "toy"
    site_type = ToySite
    site: ToySite

    def credential(self, token: str) -> Credential:
        if not re.fullmatch(r"[a-z0-9-]{1,40}", token):
            raise errors.AccountExpired
        return Credential(token)

    async def exchange(self, credential: Credential) -> tuple[ToySession, Credential]:
        told = await self._call("session", {}, {"token": credential.token})
        return ToySession(time.time() + told["seconds"], told["access"]), Credential(told["token"])

    def read_id(self, text: str) -> Conversation | None:
        return Conversation(text) if re.fullmatch(r"c[0-9]+", text) else None

    @asynccontextmanager
    async def chat(self, request: ChatRequest, lease: Lease[Credential, ToySession]) -> AsyncIterator[Reply]:
        headers = await self._headers(lease.account)
        asked = {
            "text": [text for message in request.messages for text in message.texts],
            "conversation": request.conversation and request.conversation.id,
        }
        url = f"{self.site.base}/chat"
        async with self.upstream.stream("POST", url, kind="chat", headers=headers, body=dumps(asked)) as call:
            frames = await FrameStream.open(call, SseFramer(), refuse=refusal)
            yield Reply(frames, ToyDecoder(), lease.made)

    async def forget(self, conversation: Conversation, account: Account[Credential, ToySession]) -> None:
        await self._call("forget", await self._headers(account), {"conversation": conversation.id})

    async def check(self, account: Account[Credential, ToySession]) -> bool:
        told = await self._call("check", await self._headers(account), {})
        return bool(told["live"])

    async def draw(self, request: ImageRequest, lease: Lease[Credential, ToySession]) -> list[Picture]:
        told = await self._call("draw", await self._headers(lease.account), {"prompt": request.prompt})
        lease.made(Conversation(told["conversation"]))
        return [Picture(url) for url in told["urls"]]

    async def picture(self, url: str) -> bytes:
        return (await self.upstream.fetch(url, kind="picture")).body

    def check_film(self, request: VideoRequest) -> None:
        if "style" in request.extra:
            raise errors.RequestRefused("No styles here.")

    async def film(self, request: VideoRequest, lease: Lease[Credential, ToySession]) -> Film:
        headers = await self._headers(lease.account)
        asked = {"prompt": request.prompt, "conversation": request.conversation and request.conversation.id}
        told = await self._call("film", headers, asked)
        lease.made(Conversation(told["conversation"]))
        lease.commit()
        told = await self._call("film/look", headers, {"conversation": told["conversation"]})
        return Film(told["url"], {"conversation_id": told["conversation"]})

    async def _headers(self, account: Account[Credential, ToySession]) -> dict[str, str]:
        return {"Authorization": (await account.session()).access, "Content-Type": "application/json"}

    async def _call(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Any:
        url = f"{self.site.base}/{path}"
        answer = await self.upstream.call("POST", url, kind=path, headers=headers, body=dumps(body))
        told = refusal(answer) if answer.content_type != "application/json" else None
        if told is not None or b'"refuse"' in answer.body:
            raise told or refusal(answer)
        return answer.json()


@asynccontextmanager
async def toy(**environ: str) -> AsyncIterator[tuple[World, House]]:
    """The site and the service before it."""
    async with World().serve() as world, running(Toy, {"UPSTREAM_GATEWAY": world.url, **environ}) as house:
        yield world, house


def asks(stream: bool = False, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}], "stream": stream, **fields}


def events(body: bytes) -> list[Any]:
    """The events of a streamed answer: JSON values, and "[DONE]"; comments are left out."""
    assert body.endswith(b"\n\n")
    blocks = [block for block in body.split(b"\n\n") if block and not block.startswith(b":")]
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    return ["[DONE]" if block == b"data: [DONE]" else json.loads(block[6:]) for block in blocks]


def text_of(told: list[Any], name: str = "content") -> str:
    """The text of the events of a streamed answer."""
    chunks = [event for event in told if event != "[DONE]" and "choices" in event]
    return "".join(choice["delta"].get(name) or "" for chunk in chunks for choice in chunk["choices"])


@define
class Told:
    """An answer of the service."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return events(self.body)

    @property
    def code(self) -> str:
        """Of the error, from the envelope or the last frame; empty when it went well."""
        told = self.events[-1] if self.headers["Content-Type"].startswith(EVENTS) else self.json
        return str(told["error"]["code"]) if told != "[DONE]" and "error" in told else ""

    @property
    def text(self) -> str:
        if self.headers["Content-Type"].startswith(EVENTS):
            return text_of(self.events)
        return str(self.json["choices"][0]["message"]["content"])


async def ask(house: House, body: Any = None, token: str | None = "t1", path: str = "/v1/chat/completions") -> Told:
    """Ask, and read the whole answer."""
    async with house.post(path, asks() if body is None else body, token) as response:
        return Told(response.status, response.headers, await response.read())


if __name__ == "__main__":
    run(Toy)
