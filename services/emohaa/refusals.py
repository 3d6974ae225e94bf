"""What the site says when it says no, as classes of `shared.errors`: the one place that knows its words."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from shared.errors import (
    AccountBarred,
    AccountExpired,
    AccountLimited,
    ConversationUnknown,
    RequestRefused,
    SiteError,
    UpstreamChanged,
    UpstreamUnavailable,
)
from shared.upstream.client import Answer
from shared.upstream.json import loads
from shared.upstream.refusals import ADDRESS_TOO_LONG, no_data, one_line, unknown_call, unknown_shape
from shared.upstream.shapes import as_object

EXPIRED = (
    "The site does not take this account token: log in at echo.turing-world.com again and copy `token` from its "
    "Local Storage."
)
TOO_LONG = "The messages are too long for the site, which takes them in an address: send fewer, or shorter ones."

_BY_STATUS: Mapping[float, type[SiteError]] = {
    401: AccountExpired,
    403: AccountBarred,
    404: ConversationUnknown,
    429: AccountLimited,
}
"""By the `status` of an error object, else the HTTP status."""

_CLIENT_ERROR, _SERVER_ERROR = 400, 500

_ID = re.compile(r"(?=.*[0-9])[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
"""A conversation's id: a UUID as far as known; a word without a digit says something else."""


def problem(value: Any, status: int = 0, retry_after: float | None = None) -> SiteError | None:
    """Say what a JSON value refuses, None when it refuses nothing; HTTP status and `Retry-After` came with it."""
    told = as_object(value)
    stated: Any = told.get("status")
    # As a text it may be a word of the answer.
    code: float = stated if type(stated) in (int, float) and stated >= _CLIENT_ERROR else status
    if code < _CLIENT_ERROR:
        return None
    kind = _BY_STATUS.get(code, UpstreamUnavailable if code >= _SERVER_ERROR else RequestRefused)
    words = [words for name in ("title", "detail") if isinstance(words := told.get(name), str)]
    text = one_line(" ".join(words))
    message = f"The site says: {text}" if text else f"The site refused with status {code}."
    return kind(EXPIRED if kind is AccountExpired else message, retry_after=retry_after)


def refusal(answer: Answer, *, named: bool) -> SiteError:
    """Say what a reply means that is not what was asked for; `named` as in `said`."""
    try:
        value = said(answer, named=named)
    except SiteError as error:
        return error
    return _unknown(value, answer)


def said(answer: Answer, *, named: bool = False) -> Any:
    """Give what a reply says, JSON or else a text; raise what it refuses.

    `named`: its call named a conversation, so that a 404 means that there is none; else the call itself is not known.
    """
    value: Any = answer.body.decode("utf-8-sig", "replace").strip()
    if answer.status in ADDRESS_TOO_LONG:
        raise RequestRefused(TOO_LONG)
    if value.startswith("<") and answer.status != AccountLimited.status:
        raise no_data(answer)
    # Most replies are nothing or a bare id: to find that these are no JSON takes longer than the rest of it.
    if value and not _ID.fullmatch(value):
        with suppress(ValueError):
            value = loads(value)
    error = problem(value, answer.status, answer.retry_after)
    if isinstance(error, ConversationUnknown) and not named:
        raise unknown_call(value)
    if error is not None:
        raise error
    return value


def conversation_id(answer: Answer) -> str:
    """Give the id of a new conversation: bare text, a JSON string, or the `id` of an object; else raise."""
    value = said(answer)
    name = str(value.get("id") if isinstance(value, dict) else value)
    if not _ID.fullmatch(name):
        raise _unknown(value, answer)
    return name


def is_alive(answer: Answer) -> bool:
    """Tell by the list of its conversations whether an account's token works; raise when that was not answered."""
    try:
        value = said(answer)
    except (AccountExpired, AccountBarred, RequestRefused, UpstreamChanged):
        return False
    if not isinstance(value, (list, dict)):
        raise _unknown(value, answer)
    return isinstance(value, list)


def _unknown(value: Any, answer: Answer) -> SiteError:
    if value in (None, ""):
        return no_data(answer)
    return unknown_shape(value)
