"""The calls to stepfun.com."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from services.step import refusals
from services.step.dialect import UPLOAD_TIMEOUT, Dialect, Uploaded
from services.step.models import Choice
from services.step.session import StepCredential, StepSession, exchanged
from shared.attachments import Attachment
from shared.errors import RequestRefused
from shared.terms import Conversation
from shared.upstream.multipart import Field, File, encode
from shared.upstream.shapes import as_object, text_of

REFRESH = "/passport/proto.api.passport.v1.PassportService/RefreshToken"
AGENT = "/api/agent/capy.agent.v1.AgentService"
RESOURCE = "/api/resource"


class Stepfun(Dialect):
    """stepfun.com."""

    ask_path = f"{AGENT}/ChatStream"
    page_headers: ClassVar[Mapping[str, str]] = {"Oasis-Language": "zh", "Canary": "false"}

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
        return exchanged(tokens, credential, now=time.time(), lifetime=self.site.session_lifetime, moves=True)

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
        return Uploaded({"resource": _resource(kind, refusals.accepted(answer, refusals.NOTHING), file)})

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
        except RequestRefused:
            await self.delete(session, conversation, path, {"chatSessionId": conversation.id})


def _resource(kind: str, uploaded: Mapping[str, Any], file: Attachment) -> dict[str, Any]:
    """Give what names an uploaded file in a message; `width` and `height` are a picture's, if the site told them."""
    name = text_of(uploaded, "rid", "id")
    sizes = {side: uploaded[side] for side in ("width", "height") if type(uploaded.get(side)) is int}
    named = {
        "rid": name,
        "meta": {"filename": file.name, "mimeType": file.type},
        "url": text_of(uploaded, "url"),
        **(sizes if kind == "image" else {}),
    }
    return {kind: named, "rid": name}
