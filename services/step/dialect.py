"""What the two protocols of the site have in common: which calls there are, and the headers around each."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import define, field, frozen

from services.step import refusals
from services.step.models import Choice
from services.step.session import StepCredential, StepSession
from services.step.site import StepSite
from shared.attachments import Attachment
from shared.terms import Conversation
from shared.upstream.client import Answer, Upstream
from shared.upstream.connect import CONNECT_JSON, frame
from shared.upstream.json import JSON, dumps

NEW = "/chats/new"
"""The page where a chat begins."""

UPLOAD_TIMEOUT = 60.0
"""Seconds for a whole upload."""


@frozen
class Ask:
    """The call that asks: address, headers, body."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@define
class Uploaded:
    """A file at the site: what a message says of it, and whether the site has read it."""

    attachment: Mapping[str, Any]
    read: bool = False


class Dialect(ABC):
    """One protocol of the site."""

    chat: ClassVar[re.Pattern[str]]
    """What it calls a chat, as far as known."""
    ask_path: ClassVar[str]
    page_headers: ClassVar[Mapping[str, str]] = {}
    """What its page sends besides what both pages send."""

    def __init__(self, site: StepSite, upstream: Upstream, base: str) -> None:
        self.site = site
        self.upstream = upstream
        self.base = base

    @abstractmethod
    async def exchange(self, credential: StepCredential) -> tuple[StepSession, StepCredential]:
        """Exchange the account token for a new pair, which is the newest credential too."""

    @abstractmethod
    async def upload(self, session: StepSession, file: Attachment) -> Uploaded:
        """Upload a file."""

    @abstractmethod
    async def read(self, session: StepSession, files: Sequence[Uploaded]) -> None:
        """Wait until the site has read all files of a message."""

    @abstractmethod
    async def switch(self, session: StepSession, *, search: bool) -> None:
        """Switch the account's web search, where that is the account's and not the message's."""

    @abstractmethod
    async def begin(self, session: StepSession) -> Conversation:
        """Begin a chat."""

    @abstractmethod
    def message(
        self, conversation: Conversation, text: str, choice: Choice, attachments: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Give the message that asks, its fields in the order the site's page writes them. Pure."""

    @abstractmethod
    async def forget(self, session: StepSession, conversation: Conversation) -> None:
        """Delete a chat."""

    def ask(self, session: StepSession, conversation: Conversation, message: Mapping[str, Any]) -> Ask:
        """Give the call that asks, and is answered with a stream."""
        headers = self.headers(session.device, session.pair, page=_page(conversation), content_type=CONNECT_JSON)
        return Ask(self.base + self.ask_path, headers, frame(dumps(message)))

    def headers(
        self,
        device: str,
        pair: str,
        *,
        page: str = NEW,
        content_type: str = JSON,
        more: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Give the headers of one call, in the order the site's page sends them; `more` are the call's own."""
        return {
            "Accept": "*/*",
            "Content-Type": content_type,
            "Cookie": f"Oasis-Token={pair}; Oasis-Webid={device}",
            "Oasis-Webid": device,
            "Referer": f"{self.base}{page}",
            **self.page_headers,
            **(more or {}),
            **self.site.headers(self.base),
        }

    async def call(
        self, session: StepSession, path: str, body: Mapping[str, Any], *, kind: str, page: str = NEW
    ) -> Answer:
        """Make a unary call."""
        return await self.upstream.call(
            "POST",
            self.base + path,
            kind=kind,
            headers=self.headers(session.device, session.pair, page=page),
            body=dumps(body),
        )

    async def delete(
        self, session: StepSession, conversation: Conversation, path: str, body: Mapping[str, Any]
    ) -> None:
        """Make the call that deletes a chat."""
        answer = await self.call(session, path, body, kind="delete", page=_page(conversation))
        refusals.done(answer, refusals.CHAT)


def _page(conversation: Conversation) -> str:
    return f"/chats/{conversation.id}"
