"""Hailuo, as the contract of `shared.provider` asks for it."""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from services.hailuo import files, prompt, refusals, voices
from services.hailuo.calls import Calls
from services.hailuo.hearing import KNOWN, heard
from services.hailuo.reply import HailuoDecoder
from services.hailuo.session import HailuoAccount, HailuoLease, HailuoSession, read_credential
from services.hailuo.site import HailuoSite
from services.hailuo.speech import Speeches
from shared.accounts import Lease
from shared.errors import RequestRefused, UpstreamUnavailable
from shared.openai.requests import ChatRequest, SpeechRequest, TranscriptionRequest
from shared.provider import Provider
from shared.reply import FrameStream, Reply
from shared.terms import Conversation, Credential
from shared.upstream.client import Upstream
from shared.upstream.sse import SseFramer

_ID = re.compile(r"[0-9]{18,20}")


class Hailuo(Provider[Credential, HailuoSession]):
    """hailuoai.com: chat, speech, speech recognition."""

    name = "hailuo"
    site_type = HailuoSite
    site: HailuoSite
    default_model = "hailuo"
    models = (
        "hailuo",
        "hailuo-nosearch",
        "MiniMax-Text-01",
        "MiniMax-VL-01",
        "abab6-chat",
        "abab5.5s-chat",
        "abab5.5-chat",
        "abab-v1",
        "abab-v1-vision",
        "tts-1",
        "tts-1-hd",
        "whisper-1",
    )

    def __init__(self, site: HailuoSite, upstream: Upstream) -> None:
        super().__init__(site, upstream)
        self._calls = Calls(site, upstream)
        self._speeches = Speeches(self._calls)
        self._replacements = voices.read_replacements(site.replace_audio_model)

    def credential(self, token: str) -> Credential:
        """Take the token whole: it is a JWT, and names a device."""
        return read_credential(token)

    async def exchange(self, credential: Credential) -> tuple[HailuoSession, Credential]:
        """Register a device; the token stays as it is."""
        return await self._calls.register(credential), credential

    def read_id(self, text: str) -> Conversation | None:
        """Read 18 digits, or a few more."""
        return Conversation(text) if _ID.fullmatch(text) else None

    @asynccontextmanager
    async def chat(self, request: ChatRequest, lease: HailuoLease) -> AsyncIterator[Reply]:
        """Upload the files of the last message, then ask."""
        session = await lease.account.session()
        upload = partial(files.upload, self._calls, session)
        uploads = await request.attached.uploaded(lease.account.key, upload)
        continued = request.conversation
        named = continued is not None
        text = prompt.prompt(request.messages, continued=named)
        async with self._calls.chat(
            session,
            text,
            chat=continued.id if continued else "",
            search_mode=prompt.search_mode(request.model),
            form=prompt.form(uploads, text),
        ) as call:
            refuse = partial(refusals.refusal, named=named)
            frames = await FrameStream.open(call, SseFramer(), refuse=refuse)
            yield Reply(frames, HailuoDecoder(named=named), lease.made)

    async def forget(self, conversation: Conversation, account: HailuoAccount) -> None:
        """Delete a conversation."""
        await self._calls.forget(await account.session(), conversation.id)

    async def check(self, account: HailuoAccount) -> bool:
        """Ask whose account this is; one the site does not know registers its device anew the next time."""
        answer = await self._calls.user(await account.session())
        alive = refusals.is_alive(answer)
        # What is not the site's own says nothing of the device.
        if not alive and not refusals.is_foreign(answer):
            account.refuse_session()
        return alive

    def check_speech(self, request: SpeechRequest) -> None:
        """Refuse a voice the site does not have, and a text with nothing to be read out."""
        self._voice(request)
        if not any(map(str.isalnum, request.input)):
            raise RequestRefused("`input` has nothing that can be read out.")

    def speak(
        self, request: SpeechRequest, lease: Lease[Any, Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Have the site write the text, then read it out."""
        text, voice = prompt.spoken(request.input), self._voice(request)
        return self._speeches.speak(text, voice, lease, whole=request.whole)

    async def transcribe(self, request: TranscriptionRequest, lease: Lease[Any, Any]) -> str:
        """Speak to the site, and leave as soon as it has told what it heard."""
        session: HailuoSession = await lease.account.session()
        try:
            async with self._calls.hear(session, request.audio) as call:
                frames = await FrameStream.open(call, SseFramer(), refuse=refusals.refusal)
                while (batch := await frames.read()) is not None:
                    for frame in batch:
                        if (text := heard(frame)) is not None:
                            return text
                        if frame.event not in KNOWN:
                            lease.skipped(frame.event)
        except refusals.NothingHeard:
            return ""
        raise UpstreamUnavailable("The site did not tell what it heard.")

    def _voice(self, request: SpeechRequest) -> str:
        return voices.voice_of(request.voice, request.model, self._replacements, self.site.more_voices)
