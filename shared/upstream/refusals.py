"""What refusals have in common at all sites: their words, and replies that are no proper refusal either. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shared.errors import AttachmentTooLarge, SiteError, UpstreamChanged, UpstreamUnavailable
from shared.logs import shape
from shared.redaction import TEXT_LIMIT, mask
from shared.surrogates import whole
from shared.upstream.client import Answer

WORDS_LIMIT = 200
"""Characters of a site's words that are passed on."""

ADDRESS_TOO_LONG = (413, 414, 431)
"""HTTP statuses with which a web server refuses an address by its length."""

_CODE = re.compile("-?[0-9]{1,18}")

ByWords = Sequence[tuple[re.Pattern[str], type[SiteError]]]
"""What stands in a site's words, and what that means; the first match counts."""


class Frame(Protocol):
    """A frame of any framing; `whole` is False for what had come of it when the body ended."""

    data: bytes
    whole: bool


def kind_by_words(table: ByWords, words: str) -> type[SiteError] | None:
    """Tell by a site's words what they mean; None when they tell nothing."""
    return next((kind for pattern, kind in table if pattern.search(words)), None)


def one_line(words: str) -> str:
    """Write a site's words on one line, not too many of them, and without the secrets they may quote."""
    # Masked before it is cut: half a token is not known as one.
    return mask(whole(" ".join(words.split())[:TEXT_LIMIT]))[:WORDS_LIMIT]


def own_words(value: Any) -> str:
    """Give the site's own words, on one line and not too many; empty when there are none, or a page."""
    return one_line(value) if isinstance(value, str) and not value.lstrip().startswith("<") else ""


def words_of(told: Mapping[str, Any], names: Sequence[str]) -> str:
    """Give the site's own words: the first there are under one of these names, or in an object's `message` there."""
    values = (told.get(name) for name in names)
    found = (own_words(value.get("message") if isinstance(value, dict) else value) for value in values)
    return next(filter(None, found), "")


def code_of(value: Any) -> int | None:
    """Read a code, which may be written as a text or with a decimal point; None when it is none."""
    written = isinstance(value, str) and _CODE.fullmatch(value)
    if written or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value if type(value) is int else None


def check_size(answer: Answer) -> None:
    """Raise `AttachmentTooLarge` when the site, or what stands before it, takes no file of this size."""
    if answer.status == AttachmentTooLarge.status:
        raise AttachmentTooLarge("The site takes no file of this size.")


def is_page(answer: Answer) -> bool:
    """Tell a page, mostly of a guard or gateway before the site, from a reply of the site."""
    return "html" in answer.content_type or answer.body.lstrip()[:1] == b"<"


def no_data(answer: Answer) -> SiteError:
    """Say what it means that a page came, or nothing, or an error that is not the site's; its words are not told."""
    size = len(answer.body)
    what = "a page" if is_page(answer) else f"{size} bytes" if size else "nothing"
    return UpstreamUnavailable(
        f"The site answered with {what} (HTTP {answer.status}) instead of data; "
        "it may be down, or may not take calls from this network address."
    )


def no_json(answer: Answer) -> SiteError:
    """Say what it means that the site itself answered with something else than JSON."""
    return UpstreamChanged(
        "The site answered with something else than JSON.", shape=f"{answer.content_type}: {len(answer.body)} bytes"
    )


def unknown_shape(value: Any) -> SiteError:
    """Say what it means that JSON is neither what was asked for nor a refusal."""
    return UpstreamChanged("The site answered in an unknown shape.", shape=shape(value))


def unknown_call(value: Any) -> SiteError:
    """Say what it means that the site no longer takes a call. Its words are not told: they would reach the log."""
    return UpstreamChanged("The site no longer knows this call.", shape=shape(value))


def unreadable(frame: Frame) -> SiteError:
    """Say what a frame means that is not JSON: the body ended in it, or the site has changed."""
    if not frame.whole:
        return UpstreamUnavailable("The site broke off in the middle of its answer.")
    return UpstreamChanged("The site sent a frame that is not JSON.", shape=f"{len(frame.data)} bytes")
