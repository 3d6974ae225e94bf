"""A fake chatglm.cn: it checks what the site checks, refuses like the site, and keeps what the site keeps."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import orjson

from tests.simulators import chatglm_checks as checks
from tests.simulators.answers import SSE_TYPE, Answer, Do, Send, Step, Wait
from tests.simulators.base import Call, RefusedError, Route
from tests.simulators.chatglm_core import (
    ACCESS_REFUSED,
    FILES,
    REFRESH_EXPIRED,
    SITE,
    ok,
    ownership_problems,
)
from tests.simulators.chatglm_media import GlmMedia
from tests.simulators.chatglm_scenes import Filter, Frame, Frames, Question, Scene, complete, play
from tests.simulators.chatglm_state import Account, Conversation, object_id
from tests.simulators.faults import Reply

__all__ = ["Filter", "Frames", "GlmSite", "access_refused", "busy", "refresh_expired"]

BUSY = {"message": "当前还有其他请求正在进行", "result": [], "status": 10006}
CONVERSATION_UNKNOWN = {"message": "对话不存在", "result": None, "status": 10005}
END_STATUSES = ("finish", "intervene")
STREAM_FIELDS = ("assistant_id", "conversation_id", "messages", "meta_data")


def busy() -> Reply:
    """Give the refusal of a second output, as a scripted answer."""
    return Reply(BUSY)


def access_refused() -> Reply:
    """Give the refusal of an access token, as a scripted answer."""
    return Reply(ACCESS_REFUSED, 401)


def refresh_expired() -> Reply:
    """Give the refusal of an expired refresh token, as a scripted answer."""
    return Reply(REFRESH_EXPIRED, 401)


class GlmSite(GlmMedia):
    """chatglm.cn and its file host."""

    name = "glm"
    hosts: ClassVar[set[str]] = {SITE, FILES}
    routes = (
        Route("refresh", "POST", SITE, r"/chatglm/user-api/user/refresh"),
        Route("stream", "POST", SITE, r"/chatglm/backend-api/assistant/stream"),
        Route("delete", "POST", SITE, r"/chatglm/backend-api/assistant/conversation/delete"),
        Route("upload", "POST", SITE, r"/chatglm/backend-api/assistant/file_upload"),
        Route("video_upload", "POST", SITE, r"/chatglm/video-api/v1/static/upload"),
        Route("video_chat", "POST", SITE, r"/chatglm/video-api/v1/chat"),
        Route("video_status", "GET", SITE, r"/chatglm/video-api/v1/chat/status/(?P<id>[^/]+)"),
        Route("video_compose", "POST", SITE, r"/chatglm/video-api/v1/static/composite_video"),
        Route("video_delete", "DELETE", SITE, r"/chatglm/video-api/v1/chat/(?P<id>[^/]+)"),
        Route("file", "GET", FILES, r"/.+"),
    )

    def demo_tokens(self) -> list[str]:
        """Give the tokens of two accounts."""
        return [self.account("demo-1"), self.account("demo-2")]

    def live_conversations(self, name: str | None = None) -> list[Conversation]:
        """Give the conversations that were not deleted, of all accounts or of one."""
        return [
            conversation
            for conversation in self.conversations.values()
            if not conversation.deleted and name in (None, conversation.owner.name)
        ]

    def on_stream(self, call: Call) -> Answer:
        """Answer a question with a stream of frames, one at a time for an account."""
        body = self._json(call)
        self._check_headers(call, checks.HEADER_RULES["stream"], checks.page_of(body.get("assistant_id")))
        account = self._authorized(call)
        self._check_stream_body(call, body)
        self._check_references(call, account, body)
        conversation = self._conversation_for(call, account, body)
        if account in self.running:
            raise RefusedError(Answer.json(BUSY), "busy")
        self.interrupt(call)
        self.running[account] = call
        question = _question(body)
        scene = call.fault.find(Scene) or Scene()
        begin = partial(self._begin, conversation, question)
        free = partial(self._free, account, call)
        steps = self._stream_steps(scene.edit(play(question)), conversation, Do(free))
        # The site names the conversation in its first frame; without one there is none to delete.
        begun = (Do(begin), *steps) if steps else ()
        return Answer(200, SSE_TYPE, steps=begun, chunked=True, ended=free)

    def on_delete(self, call: Call) -> Answer:
        """Delete a conversation, which can be done once."""
        body = self._json(call)
        self._check_headers(call, checks.HEADER_RULES["delete"], checks.MAIN_PAGE)
        account = self._authorized(call)
        self._require(call, checks.field_problems("body", body, ("assistant_id", "conversation_id")))
        found = self.conversations.get(str(body["conversation_id"]))
        problems = ownership_problems(found, account, "conversation")
        if found is not None:
            problems += ["deleted for the second time"] * found.deleted
            problems += ["the assistant_id is another one"] * (found.assistant_id != body["assistant_id"])
        self._require(call, problems)
        self.interrupt(call)
        if found is not None:
            found.deleted = True
        return ok({})

    def _check_stream_body(self, call: Call, body: Mapping[str, Any]) -> None:
        missing = [name for name in STREAM_FIELDS if name not in body]
        errors = [{"loc": [name], "msg": "field required", "type": "value_error.missing"} for name in missing]
        refusal = Answer.json({"validation_error": {"body_params": errors}}, 400) if missing else None
        self._require(call, checks.stream_problems(body), refusal)

    def _check_references(self, call: Call, account: Account, body: Mapping[str, Any]) -> None:
        """Require that every reference is word for word what an upload of this account returned."""
        for item in body["messages"][0]["content"][1:]:
            for reference in item[item["type"]]:
                upload = self.uploads.get(reference.get("file_id", ""))
                self._require(call, ownership_problems(upload, account, "file"))
                result = upload.result if upload else {}
                picture = {"image_url": result["file_url"]} if item["type"] == "image" else {}
                self._require(call, [f"reference {reference}"] * (reference != {**result, **picture}))
                self._require(call, ["a picture as a file"] * (not picture and "width" in result))

    def _conversation_for(self, call: Call, account: Account, body: Mapping[str, Any]) -> Conversation:
        """Give the conversation that a stream continues, or a new one that the site does not list yet."""
        identity = body["conversation_id"]
        if not identity:
            return Conversation(object_id(), account, body["assistant_id"])
        unknown = Answer.json(CONVERSATION_UNKNOWN)
        found = self.conversations.get(identity)
        if found is None or found.deleted:
            raise RefusedError(unknown, "conversation unknown")
        self._require(call, ownership_problems(found, account, "conversation"), unknown)
        self._require(call, ["another assistant_id"] * (found.assistant_id != body["assistant_id"]), unknown)
        return found

    def _stream_steps(self, frames: Sequence[Frame | bytes], conversation: Conversation, free: Do) -> list[Step]:
        """Give the steps that send the frames; the account is free just before the end sign."""
        named = next((frame for frame in frames if isinstance(frame, dict)), {})
        conversation.id = named.get("conversation_id") or conversation.id
        defaults = {
            "id": object_id(),
            "conversation_id": conversation.id,
            "assistant_id": conversation.assistant_id,
        }
        ends = [isinstance(frame, dict) and frame.get("status") in END_STATUSES for frame in frames]
        last = ends.index(True) if True in ends else len(frames) - 1
        steps: list[Step] = []
        for position, frame in enumerate(frames):
            steps += [Wait(self.pace)] * (position > 0 and self.pace > 0)
            # A caller that has read the end sign may ask again at once.
            steps += [free] * (position == last)
            steps.append(Send(_event(frame, defaults)))
        return steps

    def _begin(self, conversation: Conversation, question: Question) -> None:
        self.conversations[conversation.id] = conversation
        conversation.turns.append(question.text)

    def _free(self, account: Account, call: Call) -> None:
        if self.running.get(account) is call:
            del self.running[account]


def _event(frame: Frame | bytes, defaults: Frame) -> bytes:
    if isinstance(frame, bytes):
        return frame.replace(b"$CONVERSATION_ID", str(defaults["conversation_id"]).encode())
    return b"event:message\ndata: " + orjson.dumps(complete(frame, defaults)) + b"\n\n"


def _question(body: Mapping[str, Any]) -> Question:
    text, *references = body["messages"][0]["content"]
    said = re.split(r"<\|user\|>\n", text["text"])[-1].removesuffix("<|assistant|>\n").strip()
    names = tuple(reference["file_name"] for item in references for reference in item[item["type"]])
    return Question(said, body["assistant_id"], body["meta_data"].get("chat_mode"), names)
