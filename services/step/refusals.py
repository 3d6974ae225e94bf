"""What the site says when it says no, as classes of `shared.errors`: the one place that knows its words."""

import re
from collections.abc import Mapping
from typing import Any

from shared.errors import (
    AccountBarred,
    AccountExpired,
    AccountLimited,
    AttachmentRefused,
    ConversationUnknown,
    RequestRefused,
    SessionRefused,
    SiteError,
    UpstreamChanged,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from shared.upstream import json
from shared.upstream.client import Answer
from shared.upstream.connect import COMPRESSED, END, ConnectFramer
from shared.upstream.refusals import (
    WORDS_LIMIT,
    code_of,
    is_page,
    no_data,
    no_json,
    one_line,
    unknown_call,
    unknown_shape,
)
from shared.upstream.shapes import as_text, inner, text_of

MALFORMED = (
    "An account token is `<deviceId>@<Oasis-Token>`: the site's `deviceId` from Local Storage without its quotes, "
    "an @, and the cookie Oasis-Token."
)
EXPIRED = "The site does not take this Oasis-Token. Log in at the site again and copy the cookie Oasis-Token."
GUEST = "The site takes this Oasis-Token for nobody's. Log in at the site again and copy the cookie Oasis-Token."
DEVICE = (
    "The site says that this Oasis-Token was made for another device: copy deviceId and Oasis-Token from the same "
    "browser, at the same time."
)
HALVES = (
    "The site says that this Oasis-Token is not whole, or not of one piece: copy the cookie Oasis-Token again, with "
    "the three dots in its middle."
)
SIGN_IN = "The site asks this account to sign in: the token is a guest's, or the account is not activated."

_BY_WORDS: tuple[tuple[re.Pattern[str], type[SiteError], str], ...] = (
    (re.compile("embezzled", re.IGNORECASE), AccountExpired, DEVICE),
    (re.compile("token is illegal", re.IGNORECASE), SessionRefused, HALVES),
    (re.compile("need.?sign.?in", re.IGNORECASE), AccountBarred, SIGN_IN),
    (re.compile("token is missing", re.IGNORECASE), SessionRefused, EXPIRED),
)
"""By what stands in the code and the message, first match first, with what the client is told."""

_BY_CODE: Mapping[str, type[SiteError]] = {
    "canceled": UpstreamUnavailable,
    "unknown": UpstreamUnavailable,
    "invalid_argument": RequestRefused,
    "deadline_exceeded": UpstreamTimeout,
    "not_found": ConversationUnknown,
    "already_exists": RequestRefused,
    "permission_denied": AccountBarred,
    "resource_exhausted": AccountLimited,
    "failed_precondition": RequestRefused,
    "aborted": UpstreamUnavailable,
    "out_of_range": RequestRefused,
    "unimplemented": UpstreamChanged,
    "internal": UpstreamUnavailable,
    "unavailable": UpstreamUnavailable,
    "data_loss": UpstreamUnavailable,
    "unauthenticated": SessionRefused,
}
"""The codes of the Connect protocol."""

_BY_STATUS: Mapping[int, type[SiteError]] = {
    400: RequestRefused,
    401: SessionRefused,
    403: AccountBarred,
    404: UpstreamChanged,
    408: UpstreamTimeout,
    429: AccountLimited,
    501: UpstreamChanged,
    504: UpstreamTimeout,
}
"""For a reply without a code of its own."""

_ID = re.compile("[0-9A-Za-z_-]{1,64}")
"""What the site may call a chat."""

SUCCESS = "RESULT_CODE_SUCCESS"

_FILE_FAILED = frozenset({12, 22, 59, 404})
"""A file's states from which nothing more comes; what the other numbers mean is not known."""

_OK = range(200, 300)

_FLAGS = bytes((COMPRESSED | END,))
"""The highest first byte of a frame."""

Named = Mapping[type[SiteError], type[SiteError]]
"""What of the client's a call named: what refusals mean there that mean something else than they say."""

NOTHING: Named = {ConversationUnknown: UpstreamChanged}
CHAT: Named = {}
FILE: Named = {ConversationUnknown: AttachmentRefused}
TOKEN: Named = {**NOTHING, SessionRefused: AccountExpired, RequestRefused: AccountExpired}
"""The account token: its exchange has nothing else in it that could be refused."""


def refusal(answer: Answer, named: Named) -> SiteError:
    """Say what a reply means that is not what was asked for."""
    try:
        payload = json.loads(_unframed(answer.body))
    except ValueError:
        return _of_no_json(answer, named)
    said = _refused(payload)
    if said is not None:
        error = refusal_in(said, named, answer.status)
    elif answer.status in _OK:
        return unknown_shape(payload)
    else:
        error = _of_status(answer.status, named)
    return _limited(error, answer)


def refusal_in(said: Mapping[str, Any], named: Named, status: int = 200) -> SiteError:
    """Say what a JSON object with a `code` and a `message` refuses. `status` is the HTTP status it came with."""
    code = _code(said)
    words = one_line(as_text(said.get("message")))
    if error := _of_words(f"{code} {words} {said.get('details') or ''}", named):
        return error
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (RequestRefused if status < 500 else UpstreamUnavailable)
    meant = named.get(kind, kind)
    if meant is UpstreamChanged:
        return unknown_call(said)
    told = EXPIRED if kind is SessionRefused else f"The site says: [{one_line(code)}] {words}".rstrip()
    return meant(told)


def accepted(answer: Answer, named: Named) -> Mapping[str, Any]:
    """Give a JSON reply that says yes; raise what any other reply means. Only a string is an error's `code`."""
    payload = json.loads_any(answer.body)
    if not isinstance(payload, dict) or _refused(payload) or answer.status not in _OK:
        raise refusal(answer, named)
    return payload


def chat_id(said: Mapping[str, Any], name: str) -> str:
    """Give the id of a new chat; raise `UpstreamChanged` when it is none."""
    found = text_of(said, name)
    if not _ID.fullmatch(found):
        raise unknown_shape(said)
    return found


def done(answer: Answer, named: Named) -> Mapping[str, Any]:
    """Give a reply that says yes where nothing was asked for: an empty one does, too."""
    return accepted(answer, named) if answer.body or answer.status not in _OK else {}


def switched(answer: Answer) -> None:
    """Take a reply to a switch that says yes: one without a result of another name."""
    if done(answer, NOTHING).get("result") not in (None, SUCCESS):
        raise RequestRefused("The site did not switch its web search: use a model name without a switch.")


def still_reading(answer: Answer) -> bool:
    """Tell whether the site is still reading a file; raise `AttachmentRefused` when it could not."""
    told = accepted(answer, FILE)
    status = code_of(told.get("fileStatus"))
    if status in _FILE_FAILED:
        raise AttachmentRefused(f"The site could not read a file (status {status}).")
    return bool(told.get("needFurtherCall"))


def _refused(payload: Any) -> Mapping[str, Any] | None:
    """Give what refuses in a JSON value, its error or itself, whichever has a code; None when nothing does."""
    return next((said for said in (inner(payload, "error"), payload) if _code(said)), None)


def _code(payload: Any) -> str:
    code = inner(payload, "code")
    return code if isinstance(code, str) else ""


def _unframed(body: bytes) -> bytes:
    """Give what the last frame of a stream holds, and any other body as it is: no text begins like a frame."""
    frames = ConnectFramer().feed(body) if body[:1] <= _FLAGS else []
    return frames[-1].data if frames else body


def _of_words(words: str, named: Named) -> SiteError | None:
    for pattern, kind, told in _BY_WORDS:
        if pattern.search(words):
            return named.get(kind, kind)(told)
    return None


def _of_status(status: int, named: Named) -> SiteError:
    kind = _BY_STATUS.get(status) or (RequestRefused if 400 <= status < 500 else UpstreamUnavailable)
    told = EXPIRED if kind is SessionRefused else f"The site refused with HTTP {status}."
    return named.get(kind, kind)(told)


def _of_no_json(answer: Answer, named: Named) -> SiteError:
    """Tell a page of a guard or gateway before the site from a reply of the site; its words are never passed on."""
    if is_page(answer):
        return no_data(answer)
    if error := _of_words(answer.body[:WORDS_LIMIT].decode("utf-8", "replace"), named):
        return error
    if answer.status in (401, 429):
        return _limited(_of_status(answer.status, named), answer)
    if answer.status not in _OK or not answer.body:
        return no_data(answer)
    return no_json(answer)


def _limited(error: SiteError, answer: Answer) -> SiteError:
    """Add the `Retry-After` header to a limit."""
    if isinstance(error, AccountLimited) and answer.retry_after is not None:
        return AccountLimited(error.message, retry_after=answer.retry_after)
    return error
