"""Frames as the site writes them, for the decoder's tests."""

from collections.abc import Iterable
from typing import Any

import orjson

from services.glm.parts import SILENCED
from services.glm.reply import GlmDecoder
from shared.deltas import Cite, Delta, Image, Reference, Text, Thinking
from shared.upstream.sse import SseFrame, SseFramer
from tests.decoding import decoded

CONVERSATION = "680f1c2e9a4b7d3e5f60718a"
ASSISTANT = "65940acff94777010aa6b796"

Json = dict[str, Any]


def item(kind: str, value: Any, status: str | None = None) -> Json:
    """One item: `value` is its text, its picture's address, or all its other fields."""
    fields: Json = {"type": kind}
    if kind in ("text", "think", "code"):
        fields[kind] = value
    elif kind == "execution_output":
        fields["content"] = value
    elif kind == "image":
        fields["image"] = [{"image_url": url} for url in value]
    else:
        fields |= value
    return fields if status is None else {**fields, "status": status}


def part(name: str | None, *items: Any, status: str | None = "init", meta: Json | None = None) -> Json:
    fields: Json = {"id": "680f1c2f9a4b7d3e5f60718b", "logic_id": name, "role": "assistant", "content": list(items)}
    if meta is not None:
        fields["meta_data"] = meta
    return fields if status is None else {**fields, "status": status}


def message(*parts: Any, status: str = "init", **more: Any) -> bytes:
    return orjson.dumps(
        {
            "id": "680f1c2f9a4b7d3e5f60718b",
            "conversation_id": CONVERSATION,
            "assistant_id": ASSISTANT,
            "parts": list(parts),
            "created_at": "2025-04-28 14:12:31",
            "meta_data": {},
            "status": status,
            "last_error": {},
            **more,
        }
    )


FINISH = message(status="finish")


def decode(datas: Iterable[bytes], *, silent: bool = False) -> list[Delta]:
    """All deltas of a body that holds these frames, its end included."""
    decoder = GlmDecoder(ASSISTANT, silenced=SILENCED if silent else frozenset())
    out: list[Delta] = []
    for data in datas:
        out += decoder.feed(SseFrame("message", data))
    return out + decoder.end()


def decode_bytes(pieces: Iterable[bytes]) -> list[Delta]:
    """All deltas of a body that arrives in these pieces."""
    return decoded(pieces, SseFramer(), GlmDecoder(ASSISTANT))


def body(datas: Iterable[bytes]) -> bytes:
    return b"".join(b"event:message\ndata: " + data + b"\n\n" for data in datas)


def written(deltas: Iterable[Delta]) -> str:
    """What a reader sees: thinking in `«»`, marks as `[key]`, sources as `{key}`, pictures as `<url>` and line end."""
    out = ""
    for delta in deltas:
        match delta:
            case Text(text):
                out += text
            case Thinking(text):
                out += f"«{text}»"
            case Cite(key):
                out += f"[{key}]"
            case Reference(key):
                out += f"{{{key}}}"
            case Image(url):
                out += f"<{url}>\n"
            case _:
                pass
    return out.replace("»«", "")
