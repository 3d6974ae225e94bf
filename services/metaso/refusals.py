"""What the site says when it says no, as classes of `shared.errors`: the one place that knows its words."""

import re
from collections.abc import Mapping
from typing import Any

from shared.errors import (
    AccountBarred,
    AccountLimited,
    AddressLimited,
    ContentBlocked,
    RequestRefused,
    SessionRefused,
    SiteError,
    UpstreamChanged,
    UpstreamUnavailable,
)
from shared.surrogates import whole
from shared.tokens import ONE_WORD
from shared.upstream.client import Answer
from shared.upstream.json import loads, loads_any
from shared.upstream.refusals import (
    ADDRESS_TOO_LONG,
    WORDS_LIMIT,
    ByWords,
    code_of,
    kind_by_words,
    no_data,
    unknown_shape,
    words_of,
)
from shared.upstream.refusals import unreadable as unreadable_frame
from shared.upstream.shapes import as_object, inner
from shared.upstream.sse import SseFrame

EXPIRED = (
    "This is no account token of Metaso: log in at metaso.cn, and join the values of the cookies uid and sid with a "
    "dash, `<uid>-<sid>`."
)
TOO_LONG = "The question is too long for the site, which takes it in an address: send a shorter one."
LIMITED = "The site takes no more searches from this network address for now."
LIMIT_PAUSE = 300.0
"""Seconds without calls after a limit of the address that names none: less, its users say, prolongs it."""

_TOO_MANY = re.compile("too.?many.?requests|频繁", re.IGNORECASE)
_BY_WORDS: ByWords = (
    (_TOO_MANY, AddressLimited),
    (re.compile("登录|登陆|log[ _-]?in|unauthorized", re.IGNORECASE), SessionRefused),
    (re.compile("token.{0,20}(?:expired|invalid|过期|失效|无效)", re.IGNORECASE), SessionRefused),
    # Without a time: the limit comes before the day's hundred searches are used, and may be of one mode only.
    (re.compile("次数|额度|上限|quota", re.IGNORECASE), AccountLimited),
    (re.compile("封禁|禁用|冻结|banned", re.IGNORECASE), AccountBarred),
    (re.compile("违规|敏感|sensitive", re.IGNORECASE), ContentBlocked),
    (re.compile("繁忙|稍后|超时|timeout|unavailable", re.IGNORECASE), UpstreamUnavailable),
)
"""By what stands in the message, first match first."""
_BY_CODE: Mapping[int, type[SiteError]] = {
    401: SessionRefused,
    403: SessionRefused,
    429: AddressLimited,
    4001: AccountLimited,
}
"""By `errCode`, `code` or HTTP status, where the words say nothing."""

_WORD_FIELDS = ("errMsg", "msg", "message", "err", "error")

_OK, _UNAUTHORIZED, _CLIENT_ERROR, _SERVER_ERROR = 200, 401, 400, 500
_META_TOKEN = re.compile(rb'<meta id="meta-token" content="([^"]*)"')
_BARE_WORD = re.compile(rb"\[[A-Z_]{1,40}\]")


def problem(value: Any, status: int = _OK) -> SiteError | None:
    """Say what a JSON value refuses, None when it refuses nothing. `status` is the HTTP status it came with."""
    told = as_object(value)
    if told.get("type") == "error":
        return event_problem(told, status)
    code = code_of(told.get("errCode"))
    if (told.get("err") if code is None else code) or status >= _CLIENT_ERROR:
        return _error(words_of(told, _WORD_FIELDS), code or status)
    return None


def event_problem(event: Mapping[str, Any], status: int = 0) -> SiteError:
    """Say what an event of type `error` means; as a whole reply it came with an HTTP status."""
    return _error(words_of(event, _WORD_FIELDS), code_of(event.get("code")) or status)


def unreadable(frame: SseFrame) -> SiteError:
    """Say what an event means that is not JSON: mostly a bare word such as `[TOO_MANY_REQUESTS]`."""
    word = frame.data.strip()
    if word.startswith(b"{"):
        word = b""
    kind = kind_by_words(_BY_WORDS, word[:WORDS_LIMIT].decode("utf-8", "replace"))
    if kind is not None:
        return _of_kind(kind, "")
    if frame.whole and _BARE_WORD.fullmatch(word):
        return UpstreamChanged("The site sent a frame that is not JSON.", shape=word.decode())
    return unreadable_frame(frame)


def refusal(answer: Answer) -> SiteError:
    """Say what a reply means that is not what was asked for."""
    if answer.status in ADDRESS_TOO_LONG:
        return RequestRefused(TOO_LONG)
    if answer.status == AddressLimited.status:
        return _limited(answer)
    try:
        value = loads(answer.body)
    except ValueError:
        return _of_no_json(answer)
    error = problem(value, answer.status)
    if error is None and isinstance(value, dict) and kind_by_words(_BY_WORDS, words_of(value, _WORD_FIELDS)):
        error = _error(words_of(value, _WORD_FIELDS), answer.status)
    return error or unknown_shape(value)


def meta_token(answer: Answer) -> str:
    """Give the meta-token of a page; raise what any other reply means. No page's text is ever passed on."""
    if answer.status != _OK or "text/html" not in answer.content_type:
        error = refusal(answer)
        raise error if isinstance(error, AddressLimited) else no_data(answer)
    found = _META_TOKEN.search(answer.body)
    token = found[1].decode("utf-8", "replace") if found else ""
    if not ONE_WORD.fullmatch(token):
        raise UpstreamChanged(
            "The site's page has no meta-token: the site has changed, or shows this network address another page.",
            shape=f"page of {len(answer.body)} bytes",
        )
    return token


def session_id(answer: Answer) -> str:
    """Give the id of the session that was opened; raise what any other reply means."""
    value = loads_any(answer.body)
    names = (inner(value, "data", "id"), inner(value, "data", "sessionId"), inner(value, "id"))
    found = next((str(name) for name in names if name and type(name) in (str, int)), None)
    if found is None or problem(value) is not None or answer.status == AddressLimited.status:
        raise refusal(answer)
    return whole(found)


def is_alive(answer: Answer) -> bool:
    """Tell by what the site knows of an account whether its token works; raise when the site could not say."""
    value = loads_any(answer.body)
    if problem(value) is None and inner(value, "data", "user"):
        return True
    error = refusal(answer)
    said = kind_by_words(_BY_WORDS, words_of(as_object(value), _WORD_FIELDS))
    if answer.status >= _SERVER_ERROR or isinstance(error, AddressLimited) or said is UpstreamUnavailable:
        raise error
    return False


def _error(words: str, code: int) -> SiteError:
    kind = kind_by_words(_BY_WORDS, words)
    if kind is None:
        server = _SERVER_ERROR <= code < 2 * _SERVER_ERROR
        kind = _BY_CODE.get(code, UpstreamUnavailable if server else SiteError)
    return _of_kind(kind, f"The site says: {words} [{code}]" if words else f"The site refused with code {code}.")


def _of_kind(kind: type[SiteError], message: str) -> SiteError:
    return AddressLimited(LIMITED, retry_after=LIMIT_PAUSE) if kind is AddressLimited else kind(message)


def _limited(answer: Answer) -> SiteError:
    seconds = answer.retry_after
    return AddressLimited(LIMITED, retry_after=LIMIT_PAUSE if seconds is None else seconds)


def _of_no_json(answer: Answer) -> SiteError:
    """Tell a page of a guard or gateway before the site from a reply of the site; its words are never passed on."""
    text = answer.body.strip()
    page = text.startswith(b"<")
    if not page and _TOO_MANY.search(text.decode("utf-8", "replace")):
        return _limited(answer)
    if not page and answer.status == _UNAUTHORIZED:
        return SessionRefused()
    if page or not text or answer.status >= _CLIENT_ERROR:
        return no_data(answer)
    return UpstreamChanged("The site answered with something unknown.", shape=f"{len(text)} bytes of text")
