"""The calls to yuewen.cn."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from services.step import refusals
from services.step.dialect import UPLOAD_TIMEOUT, Dialect, Uploaded
from services.step.models import Choice
from services.step.session import StepCredential, StepSession, exchanged
from shared.attachments import Attachment
from shared.errors import AttachmentRefused
from shared.terms import Conversation
from shared.upstream.refusals import check_size
from shared.upstream.shapes import text_of

REGISTER = "/passport/proto.api.passport.v1.PassportService/RegisterDevice"
CREATE = "/api/proto.chat.v1.ChatService/CreateChat"
DELETE = "/api/proto.chat.v1.ChatService/DelChat"
STORAGE = "/api/storage"
FILE_STATUS = "/api/proto.file.v1.FileService/GetFileStatus"
SEARCH = {
    True: "/api/proto.user.v1.UserService/EnableSearch",
    False: "/api/proto.user.v1.UserService/DisableSearch",
}

CHAT_NAME = "新会话"
SIZE = "undefined"
"""What the site's page writes for a width and height it does not know, which is always."""


class Yuewen(Dialect):
    """yuewen.cn."""

    chat = re.compile(r"[0-9]{1,20}")
    ask_path = "/api/proto.chat.v1.ChatMessageService/SendMessageStream"

    async def exchange(self, credential: StepCredential) -> tuple[StepSession, StepCredential]:
        """Register the device anew with its old token."""
        headers = self.headers(credential.device, credential.pair)
        # Without the device in the cookie, and its header last.
        headers["Cookie"] = f"Oasis-Token={credential.pair}"
        headers["Oasis-Webid"] = headers.pop("Oasis-Webid")
        answer = await self.upstream.call("POST", self.base + REGISTER, kind="register", headers=headers, body=b"{}")
        tokens = refusals.accepted(answer, refusals.TOKEN)
        return exchanged(tokens, credential, now=time.time(), lifetime=self.site.session_lifetime)

    async def upload(self, session: StepSession, file: Attachment) -> Uploaded:
        """Store a file."""
        size = str(len(file.data))
        more = {"Stepchat-Meta-Width": SIZE, "Stepchat-Meta-Height": SIZE, "Stepchat-Meta-Size": size}
        answer = await self.upstream.call(
            "PUT",
            f"{self.base}{STORAGE}?file_name={quote(file.name, safe='')}",
            kind="upload",
            headers=self.headers(session.device, session.pair, content_type=file.type, more=more),
            body=file.data,
            timeout=UPLOAD_TIMEOUT,
        )
        check_size(answer)
        attachment = {
            "attachmentType": file.type,
            "attachmentId": text_of(refusals.accepted(answer, refusals.NOTHING), "id"),
            "name": file.name,
            "width": SIZE,
            "height": SIZE,
            "size": size,
        }
        return Uploaded(attachment)

    async def read(self, session: StepSession, files: Sequence[Uploaded]) -> None:
        """Wait until the site has read all files, and then a while; those of an earlier try are not waited for."""
        unread = [file for file in files if not file.read]
        if not unread:
            return
        until = asyncio.get_running_loop().time() + self.site.file_limit
        for file in unread:
            await self._read(session, file.attachment["attachmentId"], until)
        await asyncio.sleep(self.site.file_settle)
        for file in unread:
            file.read = True

    async def switch(self, session: StepSession, *, search: bool) -> None:
        """Switch the account's web search."""
        refusals.switched(await self.call(session, SEARCH[search], {}, kind="switch"))

    async def begin(self, session: StepSession) -> Conversation:
        """Create a chat."""
        answer = await self.call(session, CREATE, {"chatName": CHAT_NAME}, kind="create")
        return Conversation(refusals.chat_id(refusals.accepted(answer, refusals.NOTHING), "chatId"))

    def message(
        self, conversation: Conversation, text: str, choice: Choice, attachments: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Give the message; a chosen model makes it one of the newer form, which can name it."""
        number = self.site.model_ids.get(choice.name)
        info: dict[str, Any] = {"text": text}
        newer: dict[str, Any] = {}
        if number is not None:
            info["author"] = {"role": "user"}
            newer = {"messageMode": "SEND_MESSAGE", "modelId": number}
        if attachments:
            info["attachments"] = attachments
        return {"chatId": conversation.id, "messageInfo": info, **newer}

    async def forget(self, session: StepSession, conversation: Conversation) -> None:
        """Delete a chat."""
        await self.delete(session, conversation, DELETE, {"chatIds": [conversation.id]})

    async def _read(self, session: StepSession, name: str, until: float) -> None:
        """Wait until the site has read a file, which at `until` (the loop's time) has taken too long."""
        loop = asyncio.get_running_loop()
        while refusals.still_reading(await self.call(session, FILE_STATUS, {"id": name}, kind="file")):
            if loop.time() > until:
                raise AttachmentRefused(f"The site did not read a file within {self.site.file_limit:g} seconds.")
            await asyncio.sleep(self.site.file_pause)
