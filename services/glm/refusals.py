"""What the site says when it says no, as classes of `shared.errors`: the one place that knows its words."""

import re
from collections.abc import Mapping
from typing import Any

from shared.errors import (
    AccountBarred,
    AccountBusy,
    AccountExpired,
    AccountLimited,
    AddressLimited,
    ContentBlocked,
    ConversationUnknown,
    RequestRefused,
    SessionRefused,
    SiteError,
    UpstreamChanged,
    UpstreamUnavailable,
)
from shared.upstream import json
from shared.upstream.client import Answer
from shared.upstream.refusals import (
    ByWords,
    code_of,
    is_page,
    kind_by_words,
    no_data,
    no_json,
    own_words,
    unknown_call,
    unknown_shape,
    words_of,
)

EXPIRED = (
    "The site does not take this account token. Log in at chatglm.cn again and copy the cookie chatglm_refresh_token."
)

_ENDED = "(expired|invalid|过期|失效|无效)"
_TOKEN_WORDS = re.compile(f"请登录后继续使用|token.{{0,20}}{_ENDED}|{_ENDED}.{{0,20}}token", re.IGNORECASE)
"""These name the token that the call carried, whatever code stands beside them."""

_ACCOUNT_EXPIRED = "40102"
"""In the message: the account token has expired."""

_MALFORMED_TOKEN = "bad request"  # noqa: S105 - the site's words, no secret
"""All the site says of a malformed token, when that is exchanged."""

_BY_CODE: Mapping[int, type[SiteError]] = {
    401: SessionRefused,
    429: AccountBusy,
    10006: AccountBusy,
    10061: AccountBusy,
    40102: AccountExpired,
}
"""By `code`, `status` or HTTP status; 10006 and 10061: another answer of this account is running."""

_BY_CODE_ALONE: Mapping[int, type[SiteError]] = {
    403: UpstreamUnavailable,
    404: UpstreamChanged,
    405: UpstreamChanged,
    408: UpstreamUnavailable,
    415: UpstreamChanged,
    425: UpstreamUnavailable,
    **dict.fromkeys(range(500, 600), UpstreamUnavailable),
}
"""By the same, when the words tell nothing: no client has a say in what is called, and how."""

_BY_WORDS: ByWords = (
    (re.compile("其他请求正在进行|其他对话生成|频繁|too many requests", re.IGNORECASE), AccountBusy),
    (re.compile("封禁|禁言|冻结|banned", re.IGNORECASE), AccountBarred),
    (re.compile("用完|上限|额度|quota|limit exceeded", re.IGNORECASE), AccountLimited),
    (re.compile("违规|敏感|合规|sensitive", re.IGNORECASE), ContentBlocked),
    (
        re.compile("(会话|对话|conversation).{0,20}(不存在|删除|无效|not found|not exist|invalid)", re.IGNORECASE),
        ConversationUnknown,
    ),
    (
        re.compile(
            r"繁忙|稍后|开小差|超时|(服务|系统|网络|内部)\S{0,4}(异常|错误|故障)|timeout|internal|unavailable",
            re.IGNORECASE,
        ),
        UpstreamUnavailable,
    ),
)
"""By what stands in the message, first match first."""

_OF_EXCHANGE: Mapping[type[SiteError], type[SiteError]] = {
    SessionRefused: AccountExpired,
    ContentBlocked: AccountBarred,
    ConversationUnknown: RequestRefused,
}
"""What the same means where only the account token was sent."""

_WORD_FIELDS = ("message", "msg", "err_msg", "error_msg", "error_message", "detail", "error")

_OK = 200
_CLIENT_ERROR = 400
_UNAUTHORIZED = 401
_OWN = frozenset({"code", "status", "result"})
"""What the site's own replies hold: at least one of these."""


def refusal(answer: Answer, *, refreshing: bool = False) -> SiteError:
    """Say what a reply means that is not what was asked for.

    `refreshing`: it answers the exchange of the account token, so a refused caller means a refused token.
    """
    try:
        payload = json.loads(answer.body)
    except ValueError:
        return _of_no_json(answer, refreshing=refreshing)
    error = refusal_in(payload, answer.status, refreshing=refreshing)
    if error is None:
        return unknown_shape(payload)
    if isinstance(error, AccountBusy) and answer.retry_after is not None:
        return AccountLimited(error.message, retry_after=answer.retry_after)
    return error


def refusal_in(payload: Any, status: int = _OK, *, refreshing: bool = False) -> SiteError | None:
    """Say what a JSON value refuses, None when it refuses nothing. `status` is the HTTP status it came with."""
    if not isinstance(payload, dict):
        return None if status < _CLIENT_ERROR else _of_code(status, refreshing=refreshing)
    if "validation_error" in payload:
        return _of_validation(payload["validation_error"])
    codes = codes_in(payload)
    if status < _CLIENT_ERROR and 0 in codes:
        return None
    words = words_of(payload, _WORD_FIELDS)
    if status < _CLIENT_ERROR and not codes and ("result" in payload or not words):
        return None
    kind = _kind([*codes, status], words, refreshing=refreshing)
    if kind is AccountExpired:
        return AccountExpired(EXPIRED)
    if kind is UpstreamChanged:
        return unknown_call(payload)
    return kind(f"The site says: {words}" if words else "")


def codes_in(payload: Mapping[str, Any]) -> list[int]:
    """Give the codes of a JSON object, which may be written as texts."""
    return [code for name in ("code", "status") if (code := code_of(payload.get(name))) is not None]


def accepted(answer: Answer, *, refreshing: bool = False) -> Mapping[str, Any]:
    """Give a JSON reply that says yes, or does not say no by a code; raise what any other reply means."""
    payload = json.loads_any(answer.body)
    if isinstance(payload, dict) and answer.status < _CLIENT_ERROR and "validation_error" not in payload:
        codes = codes_in(payload)
        if not codes or 0 in codes:
            return payload
    raise refusal(answer, refreshing=refreshing)


def result(answer: Answer, *, refreshing: bool = False) -> Mapping[str, Any]:
    """Give the `result` of a JSON reply that says yes; raise what any other reply means."""
    value = accepted(answer, refreshing=refreshing).get("result")
    if not isinstance(value, dict):
        raise refusal(answer, refreshing=refreshing)
    return value


def is_own(answer: Answer) -> bool:
    """Tell a JSON reply of the site itself from one of a gateway or framework before it."""
    payload = json.loads_any(answer.body)
    return isinstance(payload, dict) and not _OWN.isdisjoint(payload)


def not_made(words: str) -> SiteError:
    """Say why the site has not made what it took on, by its words."""
    kind = kind_by_words(_BY_WORDS, words) or SiteError
    said = own_words(words)
    return kind(f"The site could not make this: {said}" if said else "The site could not make this.")


def _kind(codes: list[int], words: str, *, refreshing: bool) -> type[SiteError]:
    if _ACCOUNT_EXPIRED in words:
        return AccountExpired
    if _TOKEN_WORDS.search(words):
        return AccountExpired if refreshing else SessionRefused
    kind = _by_code(_BY_CODE, codes) or kind_by_words(_BY_WORDS, words)
    if refreshing and words.lower() == _MALFORMED_TOKEN:
        return AccountExpired
    kind = kind or _by_code(_BY_CODE_ALONE, codes) or RequestRefused
    return _OF_EXCHANGE.get(kind, kind) if refreshing else kind


def _by_code(table: Mapping[int, type[SiteError]], codes: list[int]) -> type[SiteError] | None:
    return next((kind for code in codes if (kind := table.get(code))), None)


def _of_code(status: int, *, refreshing: bool) -> SiteError:
    kind = _kind([status], "", refreshing=refreshing)
    return AccountExpired(EXPIRED) if kind is AccountExpired else kind(f"The site refused with HTTP {status}.")


def _of_no_json(answer: Answer, *, refreshing: bool) -> SiteError:
    """Tell a page of a guard or gateway before the site from a reply of the site; its words are never passed on."""
    if answer.status == _UNAUTHORIZED and not is_page(answer):
        return _of_code(answer.status, refreshing=refreshing)
    if answer.status == AddressLimited.status and answer.retry_after is not None:
        return AddressLimited(retry_after=answer.retry_after)
    if is_page(answer) or answer.status >= _CLIENT_ERROR or not answer.body:
        return no_data(answer)
    return no_json(answer)


def _of_validation(problem: Any) -> SiteError:
    """Read `{"body_params": [{"loc": [...], "msg": ...}]}`: a missing field is ours, any other the request's."""
    entries = [
        entry
        for listed in (problem.values() if isinstance(problem, dict) else [problem])
        for entry in (listed if isinstance(listed, list) else [listed])
        if isinstance(entry, dict)
    ]
    loc = entries[0].get("loc") if entries else None
    where = ".".join(map(str, loc)) if isinstance(loc, list) else "the request"
    words = words_of(entries[0], _WORD_FIELDS) if entries else ""
    if not words or "required" in words:
        return UpstreamChanged("The site asks for a field this service does not send.", shape=where)
    return RequestRefused(f"The site says of {where}: {words}")
