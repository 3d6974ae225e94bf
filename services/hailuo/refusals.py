"""What the site says when it says no, as classes of `shared.errors`: the one place that knows its words."""

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from shared.errors import (
    AccountBarred,
    AccountBusy,
    AccountExpired,
    AccountLimited,
    AddressLimited,
    ContentBlocked,
    ConversationUnknown,
    SiteError,
    UpstreamChanged,
    UpstreamUnavailable,
)
from shared.logs import shape
from shared.surrogates import whole
from shared.upstream import json
from shared.upstream.client import Answer

EXPIRED = (
    "The site does not take this account token: log in at hailuoai.com again and copy `_token` from its Local Storage."
)

NOTHING_HEARD = 1200041
"""The code with which the site says that a sound has no speech in it."""

_BY_WORDS: tuple[tuple[re.Pattern[str], type[SiteError]], ...] = (
    (re.compile("频繁|正在(生成|回复|回答|进行)|too many requests", re.IGNORECASE), AccountBusy),
    (re.compile("封禁|禁言|冻结|封号|banned", re.IGNORECASE), AccountBarred),
    (re.compile("用完|上限|额度|次数|quota|limit exceeded", re.IGNORECASE), AccountLimited),
    (re.compile("违规|敏感|合规|sensitive", re.IGNORECASE), ContentBlocked),
    (
        re.compile("(会话|对话|聊天|chat|conversation).{0,20}(不存在|删除|无效|not found|not exist)", re.IGNORECASE),
        ConversationUnknown,
    ),
    (re.compile("登录|登陆|login|log in|token|unauthorized", re.IGNORECASE), AccountExpired),
    (re.compile("开小差|繁忙|稍后|超时|timeout|internal|unavailable", re.IGNORECASE), UpstreamUnavailable),
)
"""By what stands in the message, first match first: the site's codes are not known."""

_BY_STATUS: Mapping[int, type[SiteError]] = {401: AccountExpired, 429: AccountBusy}

_ENVELOPES = (
    ("statusInfo", "code", "message"),
    ("base_resp", "status_code", "status_msg"),
    ("", "status_code", "err_message"),
    ("", "code", "message"),
)
"""Where a code and its words stand: in which inner object (or the value itself), under which names."""

_WORDS_LIMIT = 200
"""Characters of the site's words that are passed on."""

_OK = 200


@frozen
class Status:
    """What a reply says of itself. `code` is 0 where all is well."""

    code: int
    words: str


def status_of(payload: Any) -> Status | None:
    """Read the status of a JSON value; None when it has none."""
    if not isinstance(payload, dict):
        return None
    for holder, code_name, words_name in _ENVELOPES:
        said = payload.get(holder) if holder else payload
        if isinstance(said, dict) and type(code := said.get(code_name)) is int:
            return Status(code, _sober(said.get(words_name)))
    return None


def refused(status: Status, default: type[SiteError] = UpstreamUnavailable) -> SiteError:
    """Say what a status other than 0 means; one whose words tell nothing is of the `default` class."""
    kind = next((known for pattern, known in _BY_WORDS if pattern.search(status.words)), default)
    if kind is AccountExpired:
        return AccountExpired(EXPIRED)
    said = status.words or f"code {status.code}"
    return kind(f"The site says: {said}")


def refusal(answer: Answer) -> SiteError:
    """Say what a reply means that is not what was asked for."""
    return _refusal(answer, UpstreamUnavailable)


def data(answer: Answer, default: type[SiteError] = UpstreamUnavailable) -> Mapping[str, Any]:
    """Give the `data` of a reply that says yes, empty where it has none; raise what any other reply means.

    `default` is the class of a refusal whose words tell nothing.
    """
    try:
        payload = json.loads(answer.body)
    except ValueError:
        payload = None
    status = status_of(payload)
    if answer.status != _OK or status is None or status.code != 0:
        raise _refusal(answer, default)
    value = payload.get("data")
    return value if isinstance(value, dict) else {}


def text_of(value: Mapping[str, Any], name: str) -> str:
    """Give a text that a reply must have; raise `UpstreamChanged` when it is missing or empty."""
    text = value.get(name)
    if not isinstance(text, str) or not text:
        raise UpstreamChanged(f"The site left out `{name}` in the reply to a call.", shape=shape(value))
    return text


def id_of(value: Mapping[str, Any], name: str) -> str | int:
    """Give an id that a reply must have, as it came; raise `UpstreamChanged` when it is missing."""
    found = value.get(name)
    return found if type(found) is int else text_of(value, name)


def not_stored(answer: Answer) -> SiteError:
    """Say what it means that the file store did not take a file."""
    return UpstreamUnavailable(f"The site's file store did not take a file (HTTP {answer.status}).")


def not_spoken(answer: Answer) -> SiteError:
    """Say what it means that a part of a speech is not there."""
    return UpstreamUnavailable(f"The site did not give a part of the speech it made (HTTP {answer.status}).")


def _refusal(answer: Answer, default: type[SiteError]) -> SiteError:
    try:
        payload = json.loads(answer.body)
    except ValueError:
        return _of_no_json(answer)
    status = status_of(payload)
    if status is not None and status.code != 0:
        return refused(status, _BY_STATUS.get(answer.status, default))
    if answer.status != _OK:
        return _of_status(answer)
    return UpstreamChanged("The site answered in an unknown shape.", shape=shape(payload))


def _of_status(answer: Answer) -> SiteError:
    kind = _BY_STATUS.get(answer.status, UpstreamUnavailable)
    return AccountExpired(EXPIRED) if kind is AccountExpired else kind(f"The site refused with HTTP {answer.status}.")


def _of_no_json(answer: Answer) -> SiteError:
    """Tell a page of a guard or gateway before the site from a reply of the site; its words are never passed on."""
    page = "html" in answer.content_type or answer.body.lstrip()[:1] == b"<"
    seconds = _retry_after(answer)
    if answer.status == AddressLimited.status and seconds is not None:
        return AddressLimited(retry_after=seconds)
    if answer.status != _OK and not page:
        return _of_status(answer)
    if page or not answer.body:
        return UpstreamUnavailable(
            f"The site answered with {'a page' if page else 'nothing'} (HTTP {answer.status}) instead of data; "
            "it may be down, or may not take calls from this network address."
        )
    return UpstreamChanged(
        "The site answered with something else than JSON.", shape=f"{answer.content_type}: {len(answer.body)} bytes"
    )


def _sober(words: Any) -> str:
    """Give the site's own words, on one line and not too many; empty when there are none, or a page."""
    if not isinstance(words, str) or words.lstrip().startswith("<"):
        return ""
    return whole(" ".join(words.split()))[:_WORDS_LIMIT]


def _retry_after(answer: Answer) -> float | None:
    """Read the `Retry-After` header, in seconds; the form with a date is not used here."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
