"""The calls to stepfun.com."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from services.step import refusals
from services.step.dialect import UPLOAD_TIMEOUT, Dialect, Uploaded
from services.step.models import Choice
from services.step.session import StepCredential, StepSession, exchanged
from services.step.site import StepSite
from services.step.stepfun import pictures
from shared.attachments import Attachment
from shared.errors import ConversationUnknown, RequestRefused
from shared.terms import Conversation
from shared.upstream.client import Answer, Upstream
from shared.upstream.multipart import Field, File, encode
from shared.upstream.refusals import check_size
from shared.upstream.shapes import as_object, text_of

REFRESH = "/passport/proto.api.passport.v1.PassportService/RefreshToken"
AGENT = "/api/agent/capy.agent.v1.AgentService"
RESOURCE = "/api/resource"


class Stepfun(Dialect):
    """stepfun.com."""

    chat = re.compile(r"[0-9A-Za-z_-]{4,64}")
    ask_path = f"{AGENT}/ChatStream"
    page_headers: ClassVar[Mapping[str, str]] = {"Oasis-Language": "zh", "Canary": "false"}

    def __init__(self, site: StepSite, upstream: Upstream, base: str) -> None:
        super().__init__(site, upstream, base)
        self._measuring = ThreadPoolExecutor(max_workers=1, thread_name_prefix="picture")

    async def exchange(self, credential: StepCredential) -> tuple[StepSession, StepCredential]:
        """Refresh the pair."""
        answer = await self.upstream.call(
            "POST",
            self.base + REFRESH,
            kind="refresh",
            headers=self.headers(credential.device, credential.pair),
            body=b"{}",
        )
        tokens = refusals.accepted(answer, refusals.TOKEN)
        lifetime = self.site.session_lifetime
        return exchanged(tokens, credential, now=time.time(), lifetime=lifetime, cookies=_cookies(answer))

    async def upload(self, session: StepSession, file: Attachment) -> Uploaded:
        """Upload a file to where its kind belongs."""
        kind, scene, path = (
            ("image", "image", "image") if file.type.startswith("image/") else ("doc", "file", "document")
        )
        content_type, body = encode(
            [
                File("file", file.name, file.type, file.data),
                Field("scene_id", scene),
                Field("mime_type", file.type),
            ]
        )
        answer = await self.upstream.call(
            "POST",
            f"{self.base}{RESOURCE}/{path}",
            kind="upload",
            headers=self.headers(session.device, session.pair, content_type=content_type),
            body=body,
            timeout=UPLOAD_TIMEOUT,
        )
        check_size(answer)
        uploaded = refusals.accepted(answer, refusals.NOTHING)
        sizes = await self._sizes(uploaded, file) if kind == "image" else {}
        return Uploaded({"resource": _resource(kind, uploaded, file, sizes)})

    async def read(self, session: StepSession, files: Sequence[Uploaded]) -> None:
        """Do nothing: the site has read what it has taken."""

    async def switch(self, session: StepSession, *, search: bool) -> None:
        """Do nothing: the message says whether to search."""

    async def begin(self, session: StepSession) -> Conversation:
        """Create a session of the agent."""
        answer = await self.call(session, f"{AGENT}/CreateChatSession", {}, kind="create")
        created = refusals.accepted(answer, refusals.NOTHING)
        return Conversation(refusals.chat_id(as_object(created.get("chatSession")) or created, "chatSessionId"))

    def message(
        self, conversation: Conversation, text: str, choice: Choice, attachments: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Give the message, and how it is to be answered."""
        question: dict[str, Any] = {"content": text}
        if attachments:
            question["attachments"] = attachments
        config: dict[str, Any] = {
            "model": self.site.stepfun_models.get(choice.name, self.site.stepfun_model),
            "enableReasoning": True,
        }
        if choice.search is not None:
            config["enableSearch"] = choice.search
        content = {"userMessage": {"qa": question}}
        return {"message": {"chatSessionId": conversation.id, "content": content}, "config": config}

    async def forget(self, session: StepSession, conversation: Conversation) -> None:
        """Delete a session of the agent, whose name clients of the site send in one form or the other."""
        path = f"{AGENT}/DeleteChatSession"
        try:
            await self.delete(session, conversation, path, {"chatSessionIds": [conversation.id]})
        except (RequestRefused, ConversationUnknown):
            await self.delete(session, conversation, path, {"chatSessionId": conversation.id})

    async def _sizes(self, uploaded: Mapping[str, Any], file: Attachment) -> Mapping[str, int]:
        """Give the `width` and `height` of a picture: those the site told, or else its own."""
        told = {side: value for side in pictures.SIDES if type(value := uploaded.get(side)) is int and value > 0}
        if len(told) == len(pictures.SIDES):
            return told
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._measuring, pictures.sizes, file.data)


def _cookies(answer: Answer) -> Mapping[str, str]:
    """Give the cookies that a reply sets."""
    # Each has a header of its own, and a look-up by name would find one of them.
    headers = [value for name, value in answer.headers.items() if name.lower() == "set-cookie"]
    parts = [header.partition(";")[0].partition("=") for header in headers]
    return {name.strip(): value.strip().strip('"') for name, _, value in parts}


def _resource(kind: str, uploaded: Mapping[str, Any], file: Attachment, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Give what names an uploaded file in a message."""
    name = text_of(uploaded, "rid", "id")
    meta = {"filename": file.name, "mimeType": file.type}
    return {kind: {"rid": name, "meta": meta, "url": text_of(uploaded, "url"), **sizes}, "rid": name}
