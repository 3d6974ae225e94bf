"""Events of one answer, to deltas. Pure.

The data of an event is the next piece of the text, as it is, until one that begins with `[DONE]`.
"""

from services.emohaa.refusals import problem
from shared.deltas import Delta, Failed, Finish, Text
from shared.terms import Conversation
from shared.upstream.json import loads
from shared.upstream.sse import SseFrame

_DONE = b"[DONE]"


class EmohaaDecoder:
    """Decodes one answer. The conversation has its name before."""

    conversation: Conversation | None = None

    def feed(self, frame: SseFrame) -> list[Delta]:
        """Take the next event, give what it adds; half an event at the end of the body adds nothing."""
        data = frame.data
        if data.startswith(_DONE):
            return [Finish()]
        if not data or not frame.whole:
            return []
        return (_refused(data) if data.startswith(b"{") else []) or [Text(data.decode("utf-8", "replace"))]

    def end(self) -> list[Delta]:
        """The body is over: nothing was held back."""
        return []


def _refused(data: bytes) -> list[Delta]:
    """Tell an error of the site from a text with braces."""
    try:
        error = problem(loads(data))
    except ValueError:
        return []
    return [] if error is None else [Failed(error)]
