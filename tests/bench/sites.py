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
    """Every other call a service makes: the end of its path, and the JSON, or else text, it is answered with."""
    around: ClassVar[int]
    """Frames of an answer that add no text."""

    @abstractmethod
    def token(self, number: int) -> str:
        """Give the token of the account with this number."""

    @abstractmethod
    def frames(self, script: Script) -> list[bytes]:
        """Give the frames of an answer as they are in the body, `script.frames` of them."""

    def answer(self, script: Script) -> str:
        """Give the text that a client must have got in the end."""
        return self._texts(script)[-1]

    def _texts(self, script: Script) -> list[str]:
        """Give the text as it grows, one for each frame that adds some."""
        return script.texts(script.frames - self.around)

    def _pieces(self, script: Script) -> list[str]:
        """Give what each of these frames adds."""
        return script.pieces(script.frames - self.around)


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
    around = 2

    def token(self, number: int) -> str:
        """Give a refresh token: a JWT whose only content is the number."""
        parts = (orjson.dumps({"alg": "none"}), orjson.dumps({"n": number}), b"bench")
        return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

    def frames(self, script: Script) -> list[bytes]:
        """Give the growing text, then the frame that finishes its part, then the one that finishes the answer."""
        texts = self._texts(script)
        growing = [self._frame(text, "init", "init") for text in texts]
        return [*growing, self._frame(texts[-1], "finish", "init"), self._frame(texts[-1], "finish", "finish")]

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


class FakeStep(FakeSite):
    """yuewen.cn: connect frames, each with what is new of the text."""

    service = "step"
    model = "step"
    stream_url = "https://yuewen.cn/api/proto.chat.v1.ChatMessageService/SendMessageStream"
    content_type = "application/connect+json"
    replies: ClassVar[Mapping[str, Any]] = {
        "/RegisterDevice": {
            "accessToken": {"raw": "bench-access", "duration": 900},
            "refreshToken": {"raw": "bench-refresh", "duration": 2592000},
        },
        "/CreateChat": {"chatId": "154303117894709248"},
        "/DelChat": {},
    }
    around = 3

    def token(self, number: int) -> str:
        """Give a device and a pair of tokens."""
        return f"bench-{number}@bench-access...bench-refresh"

    def frames(self, script: Script) -> list[bytes]:
        """Give the frame with the message's id, the text, the event that ends it and the frame that ends the call."""
        start = {"messageId": "154303118201421824", "parentMessageId": "154303118129500160"}
        texts = [self._frame(0, {"textEvent": {"text": piece}}) for piece in self._pieces(script)]
        return [self._frame(0, {"startEvent": start}), *texts, self._frame(0, {"doneEvent": {}}), self._frame(2, {})]

    def _frame(self, flags: int, message: Mapping[str, Any]) -> bytes:
        data = orjson.dumps(message)
        return bytes((flags,)) + len(data).to_bytes(4, "big") + data


class FakeHailuo(FakeSite):
    """hailuoai.com: server-sent events, each with all of the text so far."""

    service = "hailuo"
    model = "hailuo"
    stream_url = "https://hailuoai.com/v4/api/chat/msg"
    content_type = "text/event-stream; charset=utf-8"
    chat = "290011223344556677"
    message = "290011223344556699"
    status: ClassVar[Mapping[str, Any]] = {"code": 0, "message": "成功"}
    replies: ClassVar[Mapping[str, Any]] = {
        "/device/register": {"statusInfo": status, "data": {"deviceIDStr": "290011223344550000"}},
        f"/chat/history/{chat}": {"statusInfo": status, "data": {}},
    }
    around = 2

    def token(self, number: int) -> str:
        """Give a word, which the site alone reads."""
        return f"bench-{number}"

    def frames(self, script: Script) -> list[bytes]:
        """Give the event that names the conversation, the growing text, and the event that ends the answer."""
        sent = {"chatID": self.chat, "systemMsgID": self.message, "chatTitle": "新对话"}
        growing = [self._result(text) for text in self._texts(script)]
        return [
            self._event("send_result", {"type": 1, "data": {"sendResult": sent}, "statusInfo": self.status}),
            *growing,
            self._event("close_chunk", {"type": 8, "data": {}}),
        ]

    def _result(self, text: str) -> bytes:
        result = {
            "chatID": self.chat,
            "msgID": self.message,
            "isEnd": 1,
            "content": text,
            "extra": {"netSearchStatus": {"linkDetail": []}},
        }
        return self._event("message_result", {"type": 2, "data": {"messageResult": result}, "statusInfo": self.status})

    def _event(self, name: str, value: Mapping[str, Any]) -> bytes:
        return b"event:" + name.encode() + b"\ndata:" + orjson.dumps(value) + b"\n\n"


class FakeMetaso(FakeSite):
    """metaso.cn: server-sent events, each with what is new of the text; the question is in the address."""

    service = "metaso"
    model = "detail"
    stream_url = "https://metaso.cn/api/searchV2"
    content_type = "text/event-stream"
    replies: ClassVar[Mapping[str, Any]] = {
        "/metaso.cn/": '<html><head><meta id="meta-token" content="bench"/></head></html>',
        "/api/session": {"errCode": 0, "errMsg": "success", "data": {"id": "8466827997659213824"}},
    }
    around = 2

    def token(self, number: int) -> str:
        """Give a `uid` and a `sid`."""
        return f"{number:024x}-{number:032x}"

    def frames(self, script: Script) -> list[bytes]:
        """Give the event with what was searched for, the text, and the end sign."""
        texts = [{"type": "append-text", "text": piece} for piece in self._pieces(script)]
        events = [{"type": "query", "data": [script.prompt()]}, *texts]
        return [*(b"data:" + orjson.dumps(event) + b"\n\n" for event in events), b"data:[DONE]\n\n"]


class FakeEmohaa(FakeSite):
    """ai-role.cn: server-sent events, each just what is new of the text; the prompt is in the address."""

    service = "emohaa"
    model = "emohaa"
    stream_url = "https://ai-role.cn/echo-prod/chat"
    content_type = "text/event-stream"
    replies: ClassVar[Mapping[str, Any]] = {
        "/generate/id": "f73f02e6-6b43-4a46-ac24-3a9ea8d15145",
        "/conv": "",
    }
    around = 1

    def token(self, number: int) -> str:
        """Give a word, which the site alone reads."""
        return f"bench-{number}"

    def frames(self, script: Script) -> list[bytes]:
        """Give the text, and the end sign."""
        return [*(f"data: {piece}\n\n".encode() for piece in self._pieces(script)), b"data:[DONE]\n\n"]


_SITES = (FakeGlm(), FakeStep(), FakeHailuo(), FakeMetaso(), FakeEmohaa())
SITES: Mapping[str, FakeSite] = {site.service: site for site in _SITES}
"""The fake site of each service that can be measured."""
