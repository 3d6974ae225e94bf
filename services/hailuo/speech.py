"""Speech: the site reads out only what it has written itself, so it is asked to repeat the text first."""

import asyncio
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from services.hailuo import refusals
from services.hailuo.calls import Calls
from services.hailuo.prompt import repeat_prompt
from services.hailuo.reply import HailuoDecoder
from services.hailuo.session import HailuoLease, HailuoSession
from shared.deltas import Failed, Finish, Text
from shared.errors import RequestRefused, SiteError, UpstreamChanged, UpstreamUnavailable
from shared.logs import get_logger
from shared.reply import FrameStream, Reply
from shared.upstream.client import Upstream
from shared.upstream.shapes import as_list
from shared.upstream.sse import EVENT_STREAM, SseFramer

log = get_logger(__name__)

DONE = 2
"""The `requestStatus` from which on a speech is finished."""
MISSED_LOOKS = 3
"""Looks in a row that may fail before a speech is given up: the site goes on making it."""
FETCHES = 4
"""Parts of one speech that are fetched at the same time."""
PART_LIMIT = 64 * 1024 * 1024
"""Bytes of one part, which is some seconds long."""
LIKENESS = 0.8
"""How alike a text and its second repetition must be: a slip of the pen is spoken, an answer is not."""


def same(text: str, said: str) -> bool:
    """Tell whether one text repeats the other, whatever the punctuation."""
    return _letters(text) == _letters(said)


def alike(text: str, said: str) -> float:
    """Tell how alike two texts are, from 0 to 1: the share of neighbouring letters they have in common (Dice)."""
    ours, theirs = (Counter(pairwise(f" {_letters(words)} ")) for words in (text, said))
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


class Speeches:
    """Makes speeches."""

    def __init__(self, calls: Calls, upstream: Upstream) -> None:
        self._calls = calls
        self._upstream = upstream

    @asynccontextmanager
    async def speak(self, text: str, voice: str, lease: HailuoLease) -> AsyncIterator[AsyncIterator[bytes]]:
        """Have a text read out; give its parts in order, each as soon as it can be fetched."""
        session = await lease.account.session()
        message = await self._written(session, text, lease)
        lease.free()
        parts: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        tasks: list[asyncio.Task[Any]] = []
        places = asyncio.Semaphore(FETCHES)

        async def make() -> None:
            try:
                # The voice is a setting of the account: until this speech is made, no other may change it.
                async with lease.lock("voice"):
                    await self._set_voice(session, voice)
                    async for url in self._look(session, message, voice):
                        tasks.append(asyncio.create_task(self._part(url, places)))
                        parts.put_nowait(tasks[-1])
            finally:
                parts.put_nowait(None)

        making = asyncio.create_task(make())
        tasks.append(making)
        given = _given(parts, making)
        try:
            yield given
        finally:
            await given.aclose()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _written(self, session: HailuoSession, text: str, lease: HailuoLease) -> str:
        """Have the site write the text; give the id of the message.

        A model that answers the text instead is asked once more. Raise `SiteError` when it answers again.
        """
        said, message = await self._repeated(session, text, lease)
        if same(text, said):
            return message
        log.info("not_repeated", account=lease.account.key, likeness=round(alike(text, said), 2))
        before = lease.conversation
        try:
            said, message = await self._repeated(session, text, lease)
        finally:
            if before is not None and before != lease.conversation:
                await self._forget(session, before.id, lease)
        if alike(text, said) < LIKENESS:
            raise SiteError("The site does not repeat this text to read it out, but answers it: word it differently.")
        return message

    async def _repeated(self, session: HailuoSession, text: str, lease: HailuoLease) -> tuple[str, str]:
        """Ask for the text; give what the site wrote, and the id of the message."""
        decoder = HailuoDecoder()
        said = ""
        whole = False
        async with self._calls.chat(session, repeat_prompt(text), chat="") as call:
            frames = await FrameStream.open(call, SseFramer(), content_type=EVENT_STREAM, refuse=refusals.refusal)
            async for deltas in Reply(frames, decoder, lease.made):
                for delta in deltas:
                    match delta:
                        case Text(words):
                            said += words
                        case Failed(error):
                            raise error
                        case Finish():
                            whole = True
                        case _:
                            pass
        if not whole or not said:
            raise UpstreamUnavailable("The site broke off while it repeated the text.")
        if not decoder.message:
            raise UpstreamChanged("The site gave no id to its message.")
        return said, decoder.message

    async def _forget(self, session: HailuoSession, chat: str, lease: HailuoLease) -> None:
        """Delete the conversation of a first try. A failure is only logged."""
        try:
            await self._calls.forget(session, chat)
        except SiteError as error:
            log.warning("conversation_not_deleted", account=lease.account.key, reason=error.code)

    async def _set_voice(self, session: HailuoSession, voice: str) -> None:
        site = self._calls.site
        setting = {"robotID": site.character_id, "config": {"robotVoiceID": voice}}
        try:
            await self._calls.post(session, site.voice_path, setting, kind="voice", default=RequestRefused)
        except RequestRefused as error:
            raise RequestRefused(f"The site does not take the voice {voice!r}. {error.message}") from error

    async def _look(self, session: HailuoSession, message: str, voice: str) -> AsyncIterator[str]:
        """Look until the speech is made; give the address of each part as it appears."""
        site = self._calls.site
        path = f"{site.speech_path}?msgID={message}&timbre={voice}"
        clock = asyncio.get_running_loop().time
        since = clock()
        known: list[str] = []
        missed = 0
        while True:
            try:
                seen = await self._calls.get(session, path, kind="speech")
                missed = 0
            except UpstreamUnavailable:
                missed += 1
                if missed > MISSED_LOOKS:
                    raise
            else:
                urls = _urls(seen.get("result"), known)
                for url in urls[len(known) :]:
                    since = clock()
                    yield url
                known = urls
                status = seen.get("requestStatus")
                if not isinstance(status, int) or status >= DONE:
                    return
            if clock() - since > site.speech_limit:
                raise SiteError(f"The site made no speech within {site.speech_limit:g} seconds (语音生成超时).")
            await asyncio.sleep(site.speech_pause)

    async def _part(self, url: str, places: asyncio.Semaphore) -> bytes:
        site = self._calls.site
        headers = {"User-Agent": site.user_agent, "Accept": "*/*", "Referer": f"{site.base}/"}
        async with places:
            answer = await self._upstream.fetch(url, kind="part", headers=headers, limit=PART_LIMIT)
        if answer.status != HTTPStatus.OK or not answer.body or answer.content_type in _NO_SOUND:
            raise refusals.not_spoken(answer)
        return answer.body


_NO_SOUND = frozenset({"text/html", "application/xml", "application/json"})


async def _given(
    parts: asyncio.Queue[asyncio.Task[bytes] | None], making: asyncio.Task[None]
) -> AsyncGenerator[bytes, None]:
    """Give the parts in order; raise what went wrong with one of them, or with the making."""
    none = True
    while (part := await parts.get()) is not None:
        yield await part
        none = False
    await making
    if none:
        raise UpstreamUnavailable("The site made no speech of this text (语音未生成).")


def _urls(value: Any, known: Sequence[str]) -> list[str]:
    """Read the list of parts, which only grows; an address may be signed anew each time."""
    urls = [url for url in as_list(value) if isinstance(url, str) and url]
    if len(urls) < len(known):
        urls += known[len(urls) :]
    if any(_path(new) != _path(old) for new, old in zip(urls, known, strict=False)):
        raise UpstreamChanged("The site replaced a part of a speech it was still making.")
    return urls


def _path(url: str) -> str:
    return url.partition("?")[0]


def _letters(text: str) -> str:
    """Give the letters and digits of a text, each in one of its forms."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
