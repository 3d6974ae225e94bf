"""The fake sites: one class each, just enough of its protocol for a service to be kept busy."""

from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from tests.bench.script import Script


class FakeSite(ABC):
    """One site, as bytes that are ready before they are asked for."""

    service: ClassVar[str]
    """The service that calls it."""
    model: ClassVar[str]
    stream_url: ClassVar[str]
    """The call that streams, as the relay makes it; what a service calls ends like it."""
    content_type: ClassVar[str]
    replies: ClassVar[Mapping[str, Any]]
    """Every other call a service makes: the end of its path, and the JSON it is answered with."""

    @abstractmethod
    def token(self, number: int) -> str:
        """Give the token of the account with this number."""

    @abstractmethod
    def frames(self, script: Script) -> list[bytes]:
        """Give the frames of an answer as they are in the body, `script.frames` of them."""

    @abstractmethod
    def answer(self, script: Script) -> str:
        """Give the text that a client must have got in the end."""


class FakeGlm(FakeSite):
    """chatglm.cn: server-sent events, each with all of the text so far."""

    service = "glm"
    model = "glm-4-plus"
    stream_url = "https://chatglm.cn/chatglm/backend-api/assistant/stream"
    content_type = "text/event-stream; charset=utf-8"
    replies: ClassVar[Mapping[str, Any]] = {
        "/user/refresh": {
            "message": "success",
            "result": {"access_token": "eyJ.bench.access", "refresh_token": "eyJ.bench.refresh"},
            "status": 0,
        },
        "/conversation/delete": {"message": "success", "result": {}, "status": 0},
    }

    def token(self, number: int) -> str:
        """Give a refresh token: a JWT whose only content is the number."""
        parts = (orjson.dumps({"alg": "none"}), orjson.dumps({"n": number}), b"bench")
        return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

    def frames(self, script: Script) -> list[bytes]:
        """Give the growing text, then the frame that finishes its part, then the one that finishes the answer."""
        texts = script.texts(script.frames - 2)
        growing = [self._frame(text, "init", "init") for text in texts]
        return [*growing, self._frame(texts[-1], "finish", "init"), self._frame(texts[-1], "finish", "finish")]

    def answer(self, script: Script) -> str:
        """Give the last of the growing texts."""
        return script.texts(script.frames - 2)[-1]

    def _frame(self, text: str, part_status: str, status: str) -> bytes:
        created_at = "2025-04-28 14:12:31"
        part = {
            "id": "680f1c2f9a4b7d3e5f60718b",
            "logic_id": "0b6c1f5e-6d0a-11f0-8c8f-9d5300000001",
            "role": "assistant",
            "content": [{"type": "text", "text": text, "status": part_status}],
            "model": "chatglm-all-tools",
            "recipient": "all",
            "created_at": created_at,
            "meta_data": {"toolCallRecipient": None},
            "status": part_status,
        }
        message = {
            "id": "680f1c2f9a4b7d3e5f60718b",
            "conversation_id": "680f1c2e9a4b7d3e5f60718a",
            "assistant_id": "65940acff94777010aa6b796",
            "parts": [part],
            "created_at": created_at,
            "meta_data": {},
            "status": status,
            "last_error": {},
        }
        return b"event:message\ndata: " + orjson.dumps(message) + b"\n\n"


SITES: Mapping[str, FakeSite] = {site.service: site for site in (FakeGlm(),)}
"""The fake site of each service that can be measured."""
