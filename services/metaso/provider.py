"""Metaso, as the contract of `shared.provider` asks for it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.metaso import prompt, refusals
from services.metaso.reply import MetasoDecoder
from services.metaso.session import MetasoAccount, MetasoCredential, MetasoLease, MetasoSession, read_credential
from services.metaso.site import MetasoSite
from shared.errors import RequestRefused
from shared.openai.requests import ChatRequest
from shared.provider import Provider
from shared.reply import FrameStream, Reply
from shared.terms import Conversation
from shared.upstream.client import Answer
from shared.upstream.json import JSON, dumps
from shared.upstream.sse import EVENT_STREAM, SseFramer

_NO_WEBVIEW = {"Is-Mini-Webview": "0"}


class Metaso(Provider[MetasoCredential, MetasoSession]):
    """metaso.cn: one search, one answer with its sources."""

    name = "metaso"
    site_type = MetasoSite
    site: MetasoSite
    default_model = "detail"
    models = tuple(mode + engine for engine in ("", f"-{prompt.SCHOLAR}") for mode in prompt.INSTRUCTIONS)
    attachments = False
    deletes = False
    continues = False

    def credential(self, token: str) -> MetasoCredential:
        """Take `<uid>-<sid>` apart."""
        return read_credential(token)

    async def exchange(self, credential: MetasoCredential) -> tuple[MetasoSession, MetasoCredential]:
        """Open the home page as the account, for its meta-token."""
        headers = {**self.site.page_headers(), "Cookie": credential.cookie}
        answer = await self.upstream.call("GET", self.site.base + self.site.page_path, kind="page", headers=headers)
        token = refusals.meta_token(answer)
        return MetasoSession(time.time() + self.site.session_lifetime, token), credential

    def check_chat(self, request: ChatRequest) -> None:
        """Refuse what is no question, or too long for any address."""
        question = prompt.read_question(request).text
        if not question.strip():
            raise RequestRefused("The last message has no text: there is nothing to search for.")
        if len(question) > self.site.question_limit:
            raise RequestRefused(refusals.TOO_LONG)

    @asynccontextmanager
    async def chat(self, request: ChatRequest, lease: MetasoLease) -> AsyncIterator[Reply]:
        """Open a session at the site for the question, then search."""
        asked = prompt.read_question(request)
        session = await lease.account.session()
        cookie = {"Cookie": lease.account.credential.cookie}
        decoder = MetasoDecoder()
        try:
            conversation = Conversation(refusals.session_id(await self._open(asked, session, cookie)))
            lease.made(conversation)
            url = prompt.search_url(self.site, asked, conversation, session.meta_token)
            headers = {**self.site.headers(EVENT_STREAM), **cookie}
            async with self.upstream.stream("GET", url, kind="chat", headers=headers) as call:
                frames = await FrameStream.open(call, SseFramer(), refuse=refusals.refusal)
                yield Reply(frames, decoder, lease.made)
        finally:
            # How long the site takes a meta-token is not known: one that brought no answer is not used again.
            if not decoder.begun:
                lease.account.refuse_session()

    async def check(self, account: MetasoAccount) -> bool:
        """Ask the site who the account is."""
        headers = {**self.site.headers(), "Cookie": account.credential.cookie, **_NO_WEBVIEW}
        url = self.site.base + self.site.check_path
        return refusals.is_alive(await self.upstream.call("GET", url, kind="check", headers=headers))

    async def _open(self, asked: prompt.Question, session: MetasoSession, cookie: dict[str, str]) -> Answer:
        headers = {
            **self.site.headers(),
            "Content-Type": JSON,
            **cookie,
            "Token": session.meta_token,
            **_NO_WEBVIEW,
        }
        url = self.site.base + self.site.session_path
        body = dumps(prompt.session_body(asked))
        return await self.upstream.call("POST", url, kind="open", headers=headers, body=body)
