"""Emohaa, as the contract of `shared.provider` asks for it."""

import math
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from services.emohaa import refusals
from services.emohaa.prompt import prompt, query
from services.emohaa.reply import EmohaaDecoder
from services.emohaa.session import EmohaaAccount, EmohaaLease, read_credential
from services.emohaa.sign import signature
from services.emohaa.site import EmohaaSite
from shared.errors import RequestRefused
from shared.openai.requests import ChatRequest
from shared.provider import Provider
from shared.reply import FrameStream, Reply
from shared.terms import Conversation, Credential, TokenSession
from shared.upstream.client import Answer
from shared.upstream.sse import SseFramer

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Emohaa(Provider[Credential, TokenSession]):
    """echo.turing-world.com: chat."""

    name = "emohaa"
    site_type = EmohaaSite
    site: EmohaaSite
    default_model = "emohaa"
    models = ("emohaa",)
    attachments = False

    def credential(self, token: str) -> Credential:
        """Take the token whole: it is a JWT that the site alone reads."""
        return read_credential(token)

    async def exchange(self, credential: Credential) -> tuple[TokenSession, Credential]:
        """Exchange nothing: the calls carry the token itself."""
        return TokenSession(math.inf, credential.token), credential

    def read_id(self, text: str) -> Conversation | None:
        """Read a UUID."""
        return Conversation(text) if _ID.fullmatch(text) else None

    def check_chat(self, request: ChatRequest) -> None:
        """Refuse what is too long for any address."""
        if len(self._prompt(request)) > self.site.prompt_limit:
            raise RequestRefused(refusals.TOO_LONG)

    @asynccontextmanager
    async def chat(self, request: ChatRequest, lease: EmohaaLease) -> AsyncIterator[Reply]:
        """Open a conversation unless the request continues one, then ask."""
        session = await lease.account.session()
        conversation = request.conversation or await self._open(session)
        lease.made(conversation)
        headers = self._headers(session)
        asked = query(
            token=session.token,
            cid=conversation.id,
            prompt=self._prompt(request),
            role=self.site.role,
            xts=headers["X-Xss-Ts"],
            xid=headers["X-Xss-Id"],
            xreal=headers["X-Xss-Real"],
        )
        url = f"{self.site.base}/chat?{asked}"
        async with self.upstream.stream("GET", url, kind="chat", headers=headers) as call:
            refuse = partial(refusals.refusal, named=request.conversation is not None)
            frames = await FrameStream.open(call, SseFramer(), refuse=refuse)
            yield Reply(frames, EmohaaDecoder(), lease.made)

    async def forget(self, conversation: Conversation, account: EmohaaAccount) -> None:
        """Delete a conversation."""
        path = f"/conv?{query(cid=conversation.id)}"
        refusals.said(await self._call(await account.session(), "DELETE", path, kind="delete"), named=True)

    async def check(self, account: EmohaaAccount) -> bool:
        """Ask for the list of the account's conversations."""
        path = f"/convs?{query(role=self.site.role)}"
        return refusals.is_alive(await self._call(await account.session(), "GET", path, kind="check"))

    async def _open(self, session: TokenSession) -> Conversation:
        answer = await self._call(session, "GET", "/generate/id?create=true", kind="open")
        return Conversation(refusals.conversation_id(answer))

    async def _call(self, session: TokenSession, method: str, path: str, *, kind: str) -> Answer:
        return await self.upstream.call(method, self.site.base + path, kind=kind, headers=self._headers(session))

    def _headers(self, session: TokenSession) -> dict[str, str]:
        # From 0.1 on Python writes a float as JavaScript does, never with an exponent.
        nonce = repr(random.uniform(0.1, 1))
        return self.site.headers(session.token) | signature(time.time_ns() // 1_000_000, nonce)

    def _prompt(self, request: ChatRequest) -> str:
        return prompt(self.site, request.messages, continued=request.conversation is not None)
