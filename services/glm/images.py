"""Drawing: a chat with the drawing agent, of which only the pictures are kept."""

import asyncio
import re
from collections.abc import Callable, Iterable
from functools import partial

from services.glm.calls import Calls
from services.glm.parts import KNOWN
from services.glm.prompt import drawing_assistant, drawing_body
from services.glm.refusals import refusal
from services.glm.reply import GlmDecoder
from services.glm.session import GlmLease
from shared.deltas import Delta, Failed, Finish, Image, Text, Unknown
from shared.errors import ContentBlocked, SiteError, UpstreamChanged, UpstreamUnavailable
from shared.reply import FrameStream, Reply
from shared.upstream.json import JSON, dumps
from shared.upstream.sse import SseFramer

_LINK = re.compile(r"\((https?://(?:[^\s()]|\([^\s()]*\))+)\)")
"""A picture that is only named in the text; its address may hold brackets, in pairs."""

CLOSE_TIMEOUT = 3.0
"""Seconds that more pictures are waited for after a finish, if the site does not close the body."""

_LOOKED_AT = frozenset({"image", "text"})
"""The kinds of items that pictures are looked for in."""


class Pictures:
    """Collects the addresses of one reply's pictures; `unknown` is told what the decoder skipped. Pure.

    `said` is whether there has been any text.
    """

    def __init__(self, unknown: Callable[[str], None]) -> None:
        self.said = False
        self._unknown = unknown
        self._urls: dict[str, None] = {}
        self._text = ""

    def feed(self, deltas: Iterable[Delta]) -> None:
        """Take the next deltas; raise the refusal they bring, or `ContentBlocked`."""
        for delta in deltas:
            match delta:
                case Text(text):
                    self._text += text
                    self.said = True
                case Image(url):
                    self._urls |= self._links()
                    self._text = ""
                    self._urls[url] = None
                case Unknown(kind):
                    self._unknown(kind)
                case Failed(error):
                    raise error
                case Finish("content_filter"):
                    raise ContentBlocked
                case _:
                    pass

    def urls(self) -> list[str]:
        """Give the addresses, in order, each once."""
        return list(self._urls | self._links())

    def _links(self) -> dict[str, None]:
        return dict.fromkeys(_LINK.findall(self._text))


async def _to_the_close(reply: Reply, decoder: GlmDecoder, pictures: Pictures) -> None:
    """Read a reply to its close, for `CLOSE_TIMEOUT` at most once it has finished with a picture.

    Raise what it fails with; a break after such a finish is no failure.
    """
    try:
        async with asyncio.timeout(None) as limit:
            async for deltas in reply:
                pictures.feed(deltas)
                # A finish comes before the picture, too: only with both may there be nothing to wait for.
                if limit.when() is None and decoder.finished and pictures.urls():
                    limit.reschedule(asyncio.get_running_loop().time() + CLOSE_TIMEOUT)
    except (TimeoutError, UpstreamUnavailable, UpstreamChanged):
        if not (decoder.finished and pictures.urls()):
            raise


async def draw(calls: Calls, lease: GlmLease, *, prompt: str, model: str, own: bool = False) -> list[str]:
    """Draw, and give the addresses of the pictures: at least one, else raise what happened.

    `own`: the drawing is made for something else, whose conversation is another.
    """
    session = await lease.account.session()
    assistant = drawing_assistant(calls.site, model)
    headers = calls.headers(session.token, referer=f"/main/gdetail/{assistant}", content_type=JSON)
    body = dumps(drawing_body(calls.site, model, prompt))
    pictures = Pictures(lease.skipped)
    decoder = GlmDecoder(assistant, to_the_close=True, silenced=KNOWN - _LOOKED_AT)
    url = calls.site.base + calls.site.chat_path
    async with calls.upstream.stream("POST", url, kind="draw", headers=headers, body=body) as call:
        frames = await FrameStream.open(call, SseFramer(), refuse=refusal)
        await _to_the_close(Reply(frames, decoder, partial(lease.made, own=own)), decoder, pictures)
    urls = pictures.urls()
    if not urls and decoder.finished and pictures.said:
        # The agent has answered in words: asked again, it would say the same in another conversation.
        raise SiteError("The site has drawn nothing (图像生成失败).")
    if not urls:
        raise UpstreamUnavailable("The site ended its answer without a picture.")
    return urls
