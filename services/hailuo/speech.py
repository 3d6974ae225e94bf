"""Speech: the site reads out only what it has written itself, so it is asked to repeat the text first."""

import asyncio
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from services.hailuo import refusals
from services.hailuo.calls import Calls
from services.hailuo.prompt import repeat_prompt
from services.hailuo.reply import HailuoDecoder
from services.hailuo.session import HailuoLease, HailuoSession
from shared.deltas import Failed, Finish, Text, Unknown
from shared.errors import RequestRefused, SiteError, UpstreamChanged, UpstreamUnavailable
from shared.logs import get_logger
from shared.reply import FrameStream, Reply
from shared.upstream.refusals import code_of
from shared.upstream.shapes import as_list
from shared.upstream.sse import SseFramer

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

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @asynccontextmanager
    async def speak(
        self, text: str, voice: str, lease: HailuoLease, *, whole: bool
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Have a text read out; give its parts in order, each as soon as it can be fetched.

        `whole`: the first one only when no list of the site can replace it any more.
        """
        session = await lease.account.session()
        message = await self._written(session, text, lease)
        lease.free()
        parts = _Parts(partial(self._part, places=asyncio.Semaphore(FETCHES)))

        async def make() -> None:
            try:
                # The voice is a setting of the account: until this speech is made, no other may change it.
                async with lease.lock("voice"):
                    await self._set_voice(session, voice)
                    await self._look(session, message, voice, parts)
            finally:
                parts.end()

        making = asyncio.create_task(make())
        given = _given(parts, making, whole=whole)
        try:
            yield given
        finally:
            await given.aclose()
            making.cancel()
            await asyncio.gather(making, *parts.cancel(), return_exceptions=True)

    async def _written(self, session: HailuoSession, text: str, lease: HailuoLease) -> str:
        """Have the site write the text; give the id of the message.

        A model that answers the text instead is asked once more. Raise `SiteError` when it answers again.
        """
        said, message = await self._repeated(session, text, lease)
        if same(text, said):
            return message
        log.info("not_repeated", account=lease.account.key, likeness=round(alike(text, said), 2))
        lease.leave()
        said, message = await self._repeated(session, text, lease)
        if alike(text, said) < LIKENESS:
            raise SiteError("The site does not repeat this text to read it out, but answers it: word it differently.")
        return message

    async def _repeated(self, session: HailuoSession, text: str, lease: HailuoLease) -> tuple[str, str]:
        """Ask for the text; give what the site wrote, and the id of the message."""
        decoder = HailuoDecoder()
        said = ""
        whole = False
        async with self._calls.chat(session, repeat_prompt(text), chat="") as call:
            frames = await FrameStream.open(call, SseFramer(), refuse=refusals.refusal)
            async for deltas in Reply(frames, decoder, lease.made):
                for delta in deltas:
                    match delta:
                        case Text(words):
                            said += words
                        case Failed(error):
                            raise error
                        case Finish():
                            whole = True
                        case Unknown(kind):
                            lease.skipped(kind)
                        case _:
                            pass
        if not whole or not said:
            raise UpstreamUnavailable("The site broke off while it repeated the text.")
        if not decoder.message:
            raise UpstreamChanged("The site gave no id to its message.")
        return said, decoder.message

    async def _set_voice(self, session: HailuoSession, voice: str) -> None:
        site = self._calls.site
        setting = {"robotID": site.character_id, "config": {"robotVoiceID": voice}}
        try:
            await self._calls.post(session, site.voice_path, setting, kind="voice", default=RequestRefused)
        except RequestRefused as error:
            raise RequestRefused(f"The site does not take the voice {voice!r}. {error.message}") from error

    async def _look(self, session: HailuoSession, message: str, voice: str, parts: "_Parts") -> None:
        """Look until the speech is made; each look tells all its parts."""
        site = self._calls.site
        path = f"{site.speech_path}?msgID={message}&timbre={voice}"
        clock = asyncio.get_running_loop().time
        since = clock()
        most = missed = 0
        while True:
            try:
                seen = await self._calls.get(session, path, kind="speech", default=SiteError)
                missed = 0
            except UpstreamUnavailable:
                missed += 1
                if missed > MISSED_LOOKS:
                    raise
            else:
                urls = [url for url in as_list(seen.get("result")) if isinstance(url, str) and url]
                status = code_of(seen.get("requestStatus"))
                last = "requestStatus" not in seen or (status is not None and status >= DONE)
                parts.take(urls, last=last)
                if last:
                    return
                if len(urls) > most:
                    most, since = len(urls), clock()
            if clock() - since > site.speech_limit:
                raise SiteError(f"The site made no speech within {site.speech_limit:g} seconds (语音生成超时).")
            await asyncio.sleep(site.speech_pause)

    async def _part(self, url: str, *, places: asyncio.Semaphore) -> bytes:
        site = self._calls.site
        headers = {"User-Agent": site.user_agent, "Accept": "*/*", "Referer": f"{site.base}/"}
        async with places:
            answer = await self._calls.upstream.fetch(url, kind="part", headers=headers, limit=PART_LIMIT)
        if answer.status != HTTPStatus.OK or not answer.body or answer.content_type in _NO_SOUND:
            raise refusals.not_spoken(answer)
        return answer.body


_NO_SOUND = frozenset({"text/html", "application/xml", "application/json"})


class _Parts:
    """The parts of a speech that is being made: fetched as soon as they are named, given in order.

    Each list of the site replaces the one before, as far as none of that has been given.
    """

    def __init__(self, fetch: Callable[[str], Coroutine[Any, Any, bytes]]) -> None:
        self._fetch = fetch
        self._fetched: dict[tuple[int, str], asyncio.Task[bytes]] = {}
        self._listed: list[tuple[int, str]] = []
        self._given = 0
        self._final = False
        self._news = asyncio.Event()

    def take(self, urls: Sequence[str], *, last: bool) -> None:
        """Take the newest list. An address may be signed anew each time.

        One without what has been given is passed over: raise `SiteError` when it is the last.
        """
        listed = [(place, url.partition("?")[0]) for place, url in enumerate(urls)]
        if listed[: self._given] != self._listed[: self._given]:
            if last:
                raise SiteError("The site replaced a part of a speech that had been sent on already.")
            return
        for part, url in zip(listed, urls, strict=True):
            if part not in self._fetched or _failed(self._fetched[part]):
                self._fetched[part] = asyncio.create_task(self._fetch(url))
                self._fetched[part].add_done_callback(lambda _: self._news.set())
        self._listed = listed
        self._news.set()

    def end(self) -> None:
        """Take the newest list as the last one."""
        self._final = True
        self._news.set()

    async def next(self) -> bytes | None:
        """Give the next part, None after the last. A failed one is only missed when nothing can replace it any more."""
        while True:
            self._news.clear()
            if self._given < len(self._listed):
                part = self._fetched[self._listed[self._given]]
                if part.done() and (self._final or part.exception() is None):
                    self._given += 1
                    return part.result()
            elif self._final:
                return None
            await self._news.wait()

    def cancel(self) -> Iterable[asyncio.Task[bytes]]:
        """Cancel what is still being fetched; give what is to be waited for."""
        for part in self._fetched.values():
            part.cancel()
        return self._fetched.values()


def _failed(part: asyncio.Task[bytes]) -> bool:
    return part.done() and (part.cancelled() or part.exception() is not None)


async def _given(parts: _Parts, making: asyncio.Task[None], *, whole: bool) -> AsyncGenerator[bytes, None]:
    """Give the parts in order; raise what went wrong with one of them, or with the making."""
    if whole:
        await making
    none = True
    while (part := await parts.next()) is not None:
        yield part
        none = False
    await making
    if none:
        raise SiteError("The site made no speech of this text (语音未生成).")


def _letters(text: str) -> str:
    """Give the letters and digits of a text, each in one of its forms."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
