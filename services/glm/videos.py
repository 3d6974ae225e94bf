"""Videos: a job at the site, looked at until it is done."""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from attrs import evolve

from services.glm import images
from services.glm.calls import VIDEO, Calls
from services.glm.crop import first_frame
from services.glm.refusals import not_made
from services.glm.session import GlmLease
from shared.attachments import Attachment
from shared.errors import RequestRefused, SessionRefused, SiteError, UpstreamUnavailable
from shared.logs import get_logger
from shared.openai.requests import VideoRequest
from shared.terms import Conversation, Film, TokenSession
from shared.upstream.client import Upstream
from shared.upstream.shapes import as_text, text_of

log = get_logger(__name__)

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
"""Calls in a row that may fail before a video is given up: the site goes on making it."""

T = TypeVar("T")


def check(request: VideoRequest) -> None:
    """Raise `RequestRefused` for an option that the site does not have."""
    for name, values in OPTIONS.items():
        if request.extra.get(name) not in (None, "", *values):
            raise RequestRefused(f"`{name}` must be one of {'/'.join(values)}.")
    audio = request.extra.get("audio_id")
    if audio not in (None, "") and not _audio(audio):
        raise RequestRefused("`audio_id` must be `<key>-<id>`.")


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

    def __init__(self, calls: Calls, upstream: Upstream) -> None:
        self._calls = calls
        self._upstream = upstream
        self._cropping = ThreadPoolExecutor(max_workers=1, thread_name_prefix="crop")

    async def film(self, request: VideoRequest, lease: GlmLease) -> Film:
        """Make a video, and delete its record; the record of one that fails is left to clean-up."""
        source = await self._source(request, lease)
        video, conversation, left = await _to_its_end(self._order(job(request, source), lease))
        done = await self._wait(video, lease)
        url = text_of(done, "video_url")
        if key_and_id := _audio(request.extra.get("audio_id")):
            key, audio = key_and_id
            body = {"chat_id": video, "key": key, "audio_id": audio}
            composed = await self._call(lease, "POST", "/static/composite_video", body)
            url = text_of(composed, "url")
        await self._forget(left, lease)
        return Film(
            url,
            {
                "conversation_id": conversation,
                "cover_url": as_text(done.get("cover_url")),
                "video_url": url,
                "video_duration": as_text(done.get("video_duration")),
                "resolution": as_text(done.get("resolution")),
            },
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
        session = await lease.account.session()
        url, *_ = await images.draw(
            self._calls, self._upstream, session, prompt=request.prompt, model="", made=lease.made
        )
        return Attachment("first.png", "image/png", await self._calls.picture(url))

    async def _upload(self, session: TokenSession, picture: Attachment) -> str:
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._cropping, first_frame, picture.data)
        path = f"{self._calls.site.video_path}/static/upload"
        uploaded = await self._calls.upload(session, evolve(picture, data=data), path=path, referer="/video")
        return text_of(uploaded, "source_id")

    async def _order(self, body: Mapping[str, Any], lease: GlmLease) -> tuple[str, str, Conversation]:
        """Order the video; give its id, its conversation's, and all that is to be deleted once it is done."""
        ordered = await self._calls.video(await lease.account.session(), "POST", "/chat", body)
        video, conversation = text_of(ordered, "chat_id"), as_text(ordered.get("conversation_id"))
        drawn = lease.conversation or Conversation(conversation or video)
        left = evolve(drawn, about={**drawn.about, VIDEO: video})
        lease.made(left)
        return video, conversation, left

    async def _call(
        self, lease: GlmLease, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Call about a video that is ordered.

        What fails is called again here, and fails for good in the end: else the whole video would be ordered anew.
        """
        missed = SiteError()
        for _ in range(MISSED_CALLS):
            try:
                return await self._calls.video(await lease.account.session(), method, path, body)
            except SessionRefused as error:
                lease.account.refuse_session()
                missed = error
            except UpstreamUnavailable as error:
                missed = error
            await asyncio.sleep(self._calls.site.video_pause)
        raise SiteError(f"The site could not be asked for the video it makes. {missed.message}")

    async def _forget(self, left: Conversation, lease: GlmLease) -> None:
        """Delete what a finished video leaves at the site, the video's file excepted. A failure is only logged."""
        try:
            await self._calls.forget(await lease.account.session(), left)
        except SiteError as error:
            log.warning("video_not_deleted", account=lease.account.key, reason=error.code)

    async def _wait(self, video: str, lease: GlmLease) -> Mapping[str, Any]:
        """Look at the video until it is done; give what the site then says of it."""
        site = self._calls.site
        loop = asyncio.get_running_loop()
        until = loop.time() + site.video_limit
        while loop.time() < until:
            seen = await self._call(lease, "GET", f"/chat/status/{video}")
            if seen.get("status") not in RUNNING:
                return _finished(seen)
            await asyncio.sleep(site.video_pause)
        raise SiteError(f"The site did not finish the video within {site.video_limit:g} seconds.")


def _finished(seen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a finished video's fields; raise what the site says of one that failed."""
    if seen.get("status") != "finished":
        raise not_made(as_text(seen.get("msg")))
    return seen


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
