"""GLM, as the contract of `shared.provider` asks for it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from services.glm import files, images, prompt, videos
from services.glm.calls import Calls, NoSession
from services.glm.parts import SILENCED
from services.glm.refusals import refusal
from services.glm.reply import GlmDecoder
from services.glm.session import GlmAccount, GlmLease, read_credential
from services.glm.site import GlmSite
from shared.accounts import Lease
from shared.openai.requests import ChatRequest, ImageRequest, VideoRequest
from shared.provider import Provider
from shared.reply import FrameStream, Reply
from shared.terms import Conversation, Credential, Film, Picture, TokenSession
from shared.upstream.client import Upstream
from shared.upstream.json import JSON, dumps
from shared.upstream.sse import SseFramer

_ID = re.compile(r"(?=.{1,64}$)[0-9A-Za-z_-]*[0-9A-Za-z]{24}[0-9A-Za-z_-]*")
_SILENT = "silent"
"""In a model name: no thinking, no sources."""


class Glm(Provider[Credential, TokenSession]):
    """chatglm.cn: chat, drawing, video."""

    name = "glm"
    site_type = GlmSite
    site: GlmSite
    default_model = "glm"
    models = (
        "glm",
        "glm-4-plus",
        "glm-4",
        "glm-4v",
        "glm-4-zero",
        "glm-4-think",
        "glm-4-deepresearch",
        "glm-4-plus-silent",
        "glm-4-zero-silent",
        "glm-4-think-silent",
        "glm-4-deepresearch-silent",
        "glm-3-turbo",
        "glm-v1",
        "glm-v1-vision",
        "cogview-3",
        "cogvideox",
        videos.PRO,
    )

    def __init__(self, site: GlmSite, upstream: Upstream) -> None:
        super().__init__(site, upstream)
        self._calls = Calls(site, upstream)
        self._videos = videos.Videos(self._calls)

    def credential(self, token: str) -> Credential:
        """Take the token whole: it is a JWT that the site alone reads."""
        return read_credential(token)

    async def exchange(self, credential: Credential) -> tuple[TokenSession, Credential]:
        """Exchange the refresh token for an access token and the next refresh token."""
        return await self._calls.refresh(credential)

    def read_id(self, text: str) -> Conversation | None:
        """Read what has 24 letters and digits in a row."""
        return Conversation(text) if _ID.fullmatch(text) else None

    def has_model(self, name: str) -> bool:
        """Know the listed names, and every agent's id."""
        return super().has_model(name) or prompt.is_agent(name)

    @asynccontextmanager
    async def chat(self, request: ChatRequest, lease: GlmLease) -> AsyncIterator[Reply]:
        """Upload the files of the last message, then ask."""
        session = await lease.account.session()
        uploads = await request.attached.uploaded(lease.account.key, partial(files.upload, self._calls, session))
        text = prompt.prompt(request.messages, continued=request.conversation is not None)
        message = prompt.user_message(text, files.elements(uploads))
        body = dumps(prompt.chat_body(self.site, request.model, message, request.conversation))
        assistant = prompt.assistant(self.site, request.model)
        headers = self._calls.headers(session.token, referer=self._calls.page(assistant), content_type=JSON)
        url = self.site.base + self.site.chat_path
        async with self.upstream.stream("POST", url, kind="chat", headers=headers, body=body) as call:
            frames = await FrameStream.open(call, SseFramer(), refuse=refusal)
            silenced = SILENCED if _SILENT in request.model else frozenset[str]()
            yield Reply(frames, GlmDecoder(assistant, silenced=silenced), lease.made)

    async def forget(self, conversation: Conversation, account: GlmAccount) -> None:
        """Delete a conversation, or what a video leaves."""
        await self._calls.forget(await account.session(), conversation)

    async def check(self, account: GlmAccount) -> bool:
        """Exchange the token anew; what the site then gives is kept, since the old token may have ended by it."""
        try:
            await account.renew(self._calls.check)
        except NoSession:
            return False
        return True

    async def draw(self, request: ImageRequest, lease: Lease[Any, Any]) -> list[Picture]:
        """Ask the drawing agent, or the agent that the model names."""
        urls = await images.draw(self._calls, lease, prompt=request.prompt, model=request.model)
        return [Picture(url) for url in urls]

    async def picture(self, url: str) -> bytes:
        """Fetch a drawn picture."""
        return await self._calls.picture(url)

    def check_film(self, request: VideoRequest) -> None:
        """Refuse options the site does not have."""
        videos.check(request)

    async def film(self, request: VideoRequest, lease: Lease[Any, Any]) -> Film:
        """Order a video and wait for it."""
        return await self._videos.film(request, lease)
