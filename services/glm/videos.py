"""Videos: a job at the site, looked at until it is done."""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from attrs import evolve

from services.glm import images
from services.glm.calls import DRAWN, VIDEO, Calls
from services.glm.crop import first_frame
from services.glm.refusals import EXPIRED, not_made
from services.glm.session import GlmLease
from shared.attachments import Attachment
from shared.errors import (
    AccountBusy,
    AccountExpired,
    AccountLimited,
    SessionRefused,
    SiteError,
    UpstreamUnavailable,
)
from shared.filetypes import safe_name, type_of
from shared.openai.fields import Fields
from shared.openai.requests import VideoRequest
from shared.terms import Conversation, Film, TokenSession
from shared.upstream.shapes import as_text, text_of

PRO = "cogvideox-pro"
"""The model name that has the first frame drawn from the prompt; every other name means the plain model."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "emotional_atmosphere": ("温馨和谐", "生动活泼", "紧张刺激", "凄凉寂寞"),
    "mirror_mode": ("水平", "垂直", "推近", "拉远"),
    "video_style": ("卡通3D", "黑白老照片", "油画", "电影感"),
}
"""The site's options, and what each may be besides absent."""

RUNNING = ("init", "processing")
"""States of a video that is not done."""

MISSED_CALLS = 5
"""Calls in a row that fail before a video is given up: the site goes on making it."""

PASSING = (AccountBusy, AccountLimited, UpstreamUnavailable)
"""What such a call can meet and still succeed later."""

LONGEST_PAUSE = 60.0
"""Seconds the site may ask to be left alone for; what is to last longer is told at once."""

T = TypeVar("T")


def check(request: VideoRequest) -> None:
    """Raise `BadRequest` for an option that the site does not have; drop a first frame that is drawn anyway."""
    if request.model == PRO:
        request.image = None
    options = Fields({name: value for name, value in request.extra.items() if value != ""})
    for name, values in OPTIONS.items():
        options.choice(name, values)
    if options.has("audio_id") and not _audio(options.text("audio_id")):
        raise options.wrong("audio_id", "`<key>-<id>`")


def job(request: VideoRequest, source: str | None) -> dict[str, Any]:
    """Give the body that orders a video; `source` is the uploaded first frame, if any. Pure."""
    return {
        "conversation_id": request.conversation.id if request.conversation else "",
        "prompt": request.prompt,
        **({} if source is None else {"source_list": [source]}),
        "advanced_parameter_extra": {name: request.extra.get(name) or "" for name in OPTIONS},
    }


class Videos:
    """Makes videos."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._cropping = ThreadPoolExecutor(max_workers=1, thread_name_prefix="crop")

    async def film(self, request: VideoRequest, lease: GlmLease) -> Film:
        """Make a video. What it leaves at the site is deleted, whatever becomes of it: its record, not its file."""
        source = await self._source(request, lease)
        conversation, left = await _to_its_end(self._order(request, source, lease))
        limit = self._calls.site.video_limit
        try:
            async with asyncio.timeout(limit):
                done, url = await self._made(request, left.about[VIDEO], lease)
        except TimeoutError:
            raise SiteError(f"The site did not finish the video within {limit:g} seconds.") from None
        return Film(
            url,
            {
                "conversation_id": conversation,
                "cover_url": as_text(done.get("cover_url")),
                "video_url": url,
                "video_duration": _written(done.get("video_duration")),
                "resolution": as_text(done.get("resolution")),
            },
            left,
        )

    async def _source(self, request: VideoRequest, lease: GlmLease) -> str | None:
        """Upload the first frame, if there is one; give its id at the site."""
        session = await lease.account.session()
        if request.model == PRO:
            return await self._upload(session, await self._drawn(request, lease))
        if not request.attached:
            return None

        async def upload(picture: Attachment) -> str:
            return await self._upload(session, picture)

        (source,) = await request.attached.uploaded(lease.account.key, upload)
        return source

    async def _drawn(self, request: VideoRequest, lease: GlmLease) -> Attachment:
        url, *_ = await images.draw(self._calls, lease, prompt=request.prompt, model="", own=True)
        data = await self._calls.picture(url)
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        type_ = type_of(data, "", name)
        return Attachment(safe_name(name, type_), type_, data)

    async def _upload(self, session: TokenSession, picture: Attachment) -> str:
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._cropping, first_frame, picture.data)
        path = f"{self._calls.site.video_path}/static/upload"
        uploaded = await self._calls.upload(session, evolve(picture, data=data), path=path, referer="/video")
        return text_of(uploaded, "source_id")

    async def _order(self, request: VideoRequest, source: str | None, lease: GlmLease) -> tuple[str, Conversation]:
        """Order the video; give the name of its conversation, and what it leaves."""
        drawn = None if request.keep else lease.conversation
        ordered = await self._calls.video(await lease.account.session(), "POST", "/chat", job(request, source))
        lease.commit()
        video, conversation = text_of(ordered, "chat_id"), as_text(ordered.get("conversation_id"))
        about = {} if drawn is None else {**drawn.about, DRAWN: drawn.id}
        left = Conversation(conversation or video, about={**about, VIDEO: video})
        lease.made(left, own=True)
        return conversation, left

    async def _made(self, request: VideoRequest, video: str, lease: GlmLease) -> tuple[Mapping[str, Any], str]:
        """Look at the video until it is done; give what the site then says of it, and its address."""
        seen = await self._call(lease, "GET", f"/chat/status/{video}")
        while seen.get("status") in RUNNING:
            await asyncio.sleep(self._calls.site.video_pause)
            seen = await self._call(lease, "GET", f"/chat/status/{video}")
        if seen.get("status") != "finished":
            raise not_made(as_text(seen.get("msg")))
        url = text_of(seen, "video_url")
        if key_and_id := _audio(request.extra.get("audio_id")):
            key, audio = key_and_id
            body = {"chat_id": video, "key": key, "audio_id": audio}
            url = text_of(await self._call(lease, "POST", "/static/composite_video", body), "url")
        return seen, url

    async def _call(
        self, lease: GlmLease, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Call about a video that is ordered, and again where that fails in passing; raise what the last call met."""
        missed, renewed = 0, False
        while True:
            try:
                return await self._calls.video(await lease.account.session(), method, path, body)
            except SessionRefused as error:
                if renewed:
                    raise AccountExpired(EXPIRED) from error
                renewed = True
                lease.account.refuse_session()
            except PASSING as error:
                missed += 1
                pause = max(self._calls.site.video_pause, error.retry_after or 0.0)
                if missed == MISSED_CALLS or pause > LONGEST_PAUSE:
                    raise
                await asyncio.sleep(pause)


def _written(value: Any) -> str:
    """Give a text, or a number as one."""
    return str(value) if type(value) in (int, float) else as_text(value)


def _audio(value: Any) -> tuple[str, str] | None:
    """Take `<key>-<id>` apart: the first two pieces between hyphens."""
    key, _, rest = value.partition("-") if isinstance(value, str) else ("", "", "")
    audio = rest.partition("-")[0]
    return (key, audio) if key and audio else None


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that a cancel of the caller does not cut: what it makes at the site must be known."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
