"""Drawing: a chat with the drawing agent, of which only the pictures are kept."""

import re
from collections.abc import Callable, Iterable

from services.glm.calls import Calls
from services.glm.prompt import drawing_assistant, drawing_body
from services.glm.refusals import refusal
from services.glm.reply import GlmDecoder
from shared.deltas import Delta, Failed, Finish, Image, Text
from shared.errors import ContentBlocked, UpstreamUnavailable
from shared.reply import FrameStream, Reply
from shared.terms import Conversation, TokenSession
from shared.upstream.client import Upstream
from shared.upstream.json import JSON, dumps
from shared.upstream.sse import EVENT_STREAM, SseFramer

_LINK = re.compile(r"\((https?://[^\s()]+)\)")
"""A picture that is only named in the text."""


class Pictures:
    """Collects the addresses of one reply's pictures. Pure."""

    def __init__(self) -> None:
        self._urls: dict[str, None] = {}
        self._text = ""

    def feed(self, deltas: Iterable[Delta]) -> None:
        """Take the next deltas; raise the refusal they bring, or `ContentBlocked`."""
        for delta in deltas:
            match delta:
                case Text(text):
                    self._text += text
                case Image(url):
                    self._read_text()
                    self._urls[url] = None
                case Failed(error):
                    raise error
                case Finish("content_filter"):
                    raise ContentBlocked
                case _:
                    pass

    def urls(self) -> list[str]:
        """Give the addresses, in order, each once."""
        self._read_text()
        return list(self._urls)

    def _read_text(self) -> None:
        self._urls |= dict.fromkeys(_LINK.findall(self._text))
        self._text = ""


async def draw(
    calls: Calls,
    upstream: Upstream,
    session: TokenSession,
    *,
    prompt: str,
    model: str,
    made: Callable[[Conversation], None],
) -> list[str]:
    """Draw, and give the addresses of the pictures: at least one, else raise what happened.

    `made` is told the conversation as soon as it has a name.
    """
    assistant = drawing_assistant(calls.site, model)
    headers = calls.headers(session.token, referer=f"/main/gdetail/{assistant}", content_type=JSON)
    body = dumps(drawing_body(calls.site, model, prompt))
    pictures = Pictures()
    url = calls.site.base + calls.site.chat_path
    async with upstream.stream("POST", url, kind="draw", headers=headers, body=body) as call:
        frames = await FrameStream.open(call, SseFramer(), content_type=EVENT_STREAM, refuse=refusal)
        async for deltas in Reply(frames, GlmDecoder(assistant), made):
            pictures.feed(deltas)
    if not (urls := pictures.urls()):
        raise UpstreamUnavailable("The site ended its answer without a picture.")
    return urls
