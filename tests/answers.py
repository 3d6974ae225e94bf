"""What a client reads from a service: answers taken apart, and held to their form."""

import base64
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from attrs import define, field

from shared.upstream.client import Answer
from shared.upstream.json import JSON
from shared.upstream.sse import EVENT_STREAM

Json = dict[str, Any]

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


@define
class Told:
    """What a client read: status, headers and body; of a stream the chunks, and how that ended.

    `value` is the JSON body, or the error frame of a stream; None where there is neither.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    value: Any = None
    chunks: list[Json] = field(factory=list)
    pings: int = 0
    done: bool = False

    @property
    def type(self) -> str:
        return self.headers["Content-Type"].partition(";")[0]

    @property
    def error(self) -> Json:
        """The error object, of the body or of the last frame; empty when all went well."""
        error: Json = self.value.get("error", {}) if self.value else {}
        return error

    @property
    def code(self) -> str | None:
        return self.error.get("code")

    @property
    def message(self) -> str:
        message: str = self.error["message"]
        return message

    @property
    def content(self) -> str:
        return self._joined("content")

    @property
    def reasoning(self) -> str:
        return self._joined("reasoning_content")

    @property
    def pieces(self) -> list[str]:
        """The content of each chunk that has one, the opening one excepted."""
        return [said["content"] for said in self._said()[1:] if "content" in said]

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
    def citations(self) -> list[Json]:
        """What every annotation says of its source."""
        return [note["url_citation"] for note in self.annotations]

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Title and address of every annotation."""
        return [(cited["title"], cited["url"]) for cited in self.citations]

    @property
    def id(self) -> str:
        name: str = self._face()["id"]
        return name

    @property
    def model(self) -> str:
        model: str = self._face()["model"]
        return model

    @property
    def conversation_id(self) -> str | None:
        last = self.chunks[-1] if self.chunks else self.value
        return last.get("conversation_id")

    @property
    def outcome(self) -> tuple[Any, ...]:
        """All that tells two answers apart, whatever pieces they came in."""
        return self.status, self.content, self.finish, self.code

    def _face(self) -> Json:
        face: Json = self.chunks[0] if self.chunks else self.value
        return face

    def _choices(self) -> list[Json]:
        return [choice for one in self.chunks or [self.value or {}] for choice in one.get("choices", ())]

    def _said(self) -> list[Json]:
        return [choice.get("delta") or choice.get("message") or {} for choice in self._choices()]

    def _joined(self, name: str) -> str:
        return "".join(said.get(name, "") for said in self._said())


async def read(response: aiohttp.ClientResponse, kind: type[Told] = Told) -> Told:
    """Read an answer to its proper end."""
    body = await response.read()
    assert response.headers["Access-Control-Allow-Origin"]
    told = kind(response.status, response.headers, body)
    if told.type == EVENT_STREAM:
        _read_stream(told)
    elif told.type == JSON:
        told.value = orjson.loads(body)
        if told.status != 200:
            _check_error(told.value)
    return told


def _read_stream(told: Told) -> None:
    """Take a stream apart, holding it to its form: one opening, one end, and the same face on every chunk."""
    assert told.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    events = told.body.split(b"\n\n")
    assert events.pop() == b"", "the body does not end with a whole event"
    datas = [event.removeprefix(b"data: ") for event in events if not event.startswith(b":")]
    assert all(event.startswith((b"data: ", b":")) for event in events)
    told.pings = len(events) - len(datas)
    *datas, last = datas
    told.chunks = chunks = [orjson.loads(data) for data in datas]
    told.done = last == b"[DONE]"
    if told.done:
        ends = [place for place, chunk in enumerate(chunks) for c in chunk["choices"] if c["finish_reason"]]
        assert len(ends) == 1
        rest = chunks[ends[0] + 1 :]
        assert rest == [] or [chunk["choices"] for chunk in rest] == [[]]
        assert [chunk["usage"] for chunk in chunks[ends[0] :] if "usage" in chunk] == [USAGE]
    else:
        told.value = orjson.loads(last)
        _check_error(told.value)
        assert all(choice["finish_reason"] is None for chunk in chunks for choice in chunk["choices"])
    if chunks:
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert len({(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks}) == 1


def _check_error(value: Any) -> None:
    """Hold an error to OpenAI's envelope."""
    assert list(value) == ["error"]
    assert list(value["error"]) == ["message", "type", "param", "code"]
    assert value["error"]["message"]
    assert value["error"]["code"]


def messages(said: Any) -> list[Json]:
    """Give the messages of a request; `said` is the user's content or all messages."""
    listed = isinstance(said, list) and all(isinstance(one, dict) and {"role", "content"} & set(one) for one in said)
    return said if listed else [{"role": "user", "content": said}]


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def site_answer(body: Any, status: int = 200, content_type: str = JSON, **headers: str) -> Answer:
    """Give a whole reply of a site; `body` is its bytes or its JSON value, `headers` are written with underscores."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Answer(status, content_type, {name.replace("_", "-"): value for name, value in headers.items()}, data)
