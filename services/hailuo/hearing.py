"""Speech recognition: the site is called as if by telephone; it first tells what it has heard. Pure."""

from services.hailuo.refusals import refused, status_of
from shared.errors import UpstreamChanged
from shared.surrogates import whole
from shared.upstream.json import loads
from shared.upstream.refusals import unreadable
from shared.upstream.shapes import inner
from shared.upstream.sse import SseFrame

_HEARD_EVENT = "asr_chunk"
KNOWN = frozenset({_HEARD_EVENT, "text_chunk", "audio_chunk", "heartbeat"})
"""Known events: what was heard, and the site's spoken answer, which nobody asked for."""


def heard(frame: SseFrame) -> str | None:
    """Give the words that an event says were heard; None for one that does not say.

    Raise what a refusal means: `NothingHeard` is one.
    """
    if frame.blank:
        return None
    try:
        payload = loads(frame.data)
    except ValueError:
        raise unreadable(frame) from None
    status = status_of(payload)
    if status is not None and status.code != 0:
        raise refused(status)
    text = inner(payload, "data", "text")
    if frame.event != _HEARD_EVENT or text is None:
        return None
    if not isinstance(text, str):
        raise UpstreamChanged("The site told what it heard by something else than a text.")
    return whole(text)
