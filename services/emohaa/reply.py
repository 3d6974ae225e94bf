"""Events of one answer, to deltas. Pure.

The data of an event is the next piece of the text, as it is, until one that begins with `[DONE]`.
"""

from services.emohaa.refusals import problem
from shared.deltas import Delta, Failed, Finish, Text
from shared.errors import SiteError
from shared.terms import Conversation
from shared.upstream.json import loads
from shared.upstream.refusals import unreadable
from shared.upstream.sse import SseFrame

_DONE = b"[DONE]"


class EmohaaDecoder:
    """Decodes one answer. The conversation has its name before."""

    conversation: Conversation | None = None

    def feed(self, frame: SseFrame) -> list[Delta]:
        """Take the next event, give what it adds. A body that ends in an event broke off."""
        data = frame.data
        if data.startswith(_DONE):
            return [Finish()]
        if (error := _error(data)) is not None:
            return [Failed(error)]
        if not frame.whole:
            return [Failed(unreadable(frame))]
        return [Text(data.decode("utf-8", "replace"))] if data else []

    def end(self) -> list[Delta]:
        """The body is over: nothing was held back."""
        return []


def _error(data: bytes) -> SiteError | None:
    """Tell an error of the site from a text with braces."""
    if data.lstrip()[:1] != b"{":
        return None
    try:
        return problem(loads(data))
    except ValueError:
        return None
