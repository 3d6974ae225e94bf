"""What the site says when it says no, as classes of `shared.errors`: the one place that knows its words."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen

from shared.errors import (
    AccountBarred,
    AccountBusy,
    AccountExpired,
    AccountLimited,
    ContentBlocked,
    ConversationUnknown,
    RequestRefused,
    SiteError,
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
    unknown_shape,
)
from shared.upstream.shapes import as_object, inner

EXPIRED = (
    "The site does not take this account token: log in at hailuoai.com again and copy `_token` from its Local Storage."
)
LIMITED = "The site takes no more calls for now."

_NOTHING_HEARD = 1200041


class NothingHeard(SiteError):
    """The site found no speech in a sound."""


_BY_WORDS: ByWords = (
    (re.compile("(重新|请先?)登[录陆]|登[录陆].{0,4}(过期|失效)|log ?in again", re.IGNORECASE), AccountExpired),
    (re.compile("频繁|[过太]快|请求过多|正在(生成|回复|回答|进行)|too many requests", re.IGNORECASE), AccountBusy),
    (re.compile("封禁|禁言|冻结|封号|banned", re.IGNORECASE), AccountBarred),
    (
        re.compile(
            "(内容|文本|输入|消息|文件).{0,10}(过长|太长|超长|超过|超出)|(超过|超出).{0,10}token|token.{0,10}(超过|超出)"
            r"|(content|text|input|message|prompt).{0,20}too long|\bmax(imum)?[ _].{0,40}token|context (window|length)",
            re.IGNORECASE,
        ),
        RequestRefused,
    ),
    (re.compile("用完|上限|额度|次数|quota|limit exceeded", re.IGNORECASE), AccountLimited),
    (re.compile("违规|敏感|合规|sensitive", re.IGNORECASE), ContentBlocked),
    (re.compile("登录|登陆|login|log in|token|unauthorized", re.IGNORECASE), AccountExpired),
    (
        re.compile("(会话|对话|聊天|chat|conversation).{0,20}(不存在|删除|无效|not found|not exist)", re.IGNORECASE),
        ConversationUnknown,
    ),
    (
        re.compile(
            "开小差|繁忙|稍[后等候]|超时|(系统|服务器?|网络)(内部)?(错误|异常|故障)|内部错误|维护|升级|签名"
            "|timeout|internal|unavailable",
            re.IGNORECASE,
        ),
        UpstreamUnavailable,
    ),
)
"""By what stands in the message, first match first: the site's codes are not known."""

_OF_REGISTRATION: Mapping[type[SiteError], type[SiteError]] = {
    ContentBlocked: AccountBarred,
    RequestRefused: UpstreamUnavailable,
}
"""What the same means where only the account token was sent: nothing of the client's."""

_BY_STATUS: Mapping[int, tuple[type[SiteError], str]] = {401: (AccountExpired, EXPIRED), 429: (AccountLimited, LIMITED)}
"""By HTTP status, with what the client is told. The site itself refuses with 200: what stands before it, with these."""
_SERVER_ERROR = 500

_PASSING = (AccountBusy, UpstreamUnavailable)
"""What the site says when it could not say anything of an account."""

_ENVELOPES = (
    ("statusInfo", "code", "message"),
    ("base_resp", "status_code", "status_msg"),
    ("", "status_code", "err_message"),
    ("", "code", "message"),
)
"""Where a code and its words stand: in which inner object (or the value itself), under which names."""


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
        if isinstance(said, dict) and (code := code_of(said.get(code_name))) is not None:
            return Status(code, own_words(said.get(words_name)))
    return None


def refused(status: Status, default: type[SiteError] = UpstreamUnavailable, *, named: bool = False) -> SiteError:
    """Say what a status other than 0 means; one whose words tell nothing is of the `default` class.

    `named`: the call named a conversation, so words of one are of that.
    """
    if status.code == _NOTHING_HEARD:
        return NothingHeard()
    kind = kind_by_words(_BY_WORDS, status.words) or default
    if kind is ConversationUnknown and not named:
        kind = default
    if kind is AccountExpired:
        return AccountExpired(EXPIRED)
    said = status.words or f"code {status.code}"
    return kind(f"The site says: {said}")


def refusal(answer: Answer, default: type[SiteError] = UpstreamUnavailable, *, named: bool = False) -> SiteError:
    """Say what a reply means that is not what was asked for; `default` and `named` as in `refused`."""
    try:
        payload = json.loads(answer.body)
    except ValueError:
        return _of_no_json(answer)
    status = status_of(payload)
    by_status = answer.status >= _SERVER_ERROR or answer.status in _BY_STATUS
    if status is not None and status.code != 0 and not by_status:
        return refused(status, default if answer.status == HTTPStatus.OK else UpstreamUnavailable, named=named)
    return unknown_shape(payload) if answer.status == HTTPStatus.OK else _of_status(answer)


def data(answer: Answer, default: type[SiteError] = UpstreamUnavailable, *, named: bool = False) -> Mapping[str, Any]:
    """Give the `data` of a reply that says yes, empty where it has none; raise what any other reply means.

    A JSON object without a status says yes; without `data`, it is the data itself. `default` and `named` as in
    `refused`.
    """
    payload = json.loads_any(answer.body)
    status = status_of(payload)
    if answer.status != HTTPStatus.OK or not isinstance(payload, dict) or (status is not None and status.code != 0):
        raise refusal(answer, default, named=named)
    found = payload.get("data")
    if status is None:
        return found if isinstance(found, dict) else payload
    return as_object(found)


def registered(answer: Answer) -> Mapping[str, Any]:
    """Give the `data` of a registration; raise what any other reply means: a dead token, if it tells nothing."""
    try:
        return data(answer, AccountExpired)
    except (ContentBlocked, RequestRefused) as error:
        raise _OF_REGISTRATION[type(error)](error.message) from error


def is_alive(answer: Answer) -> bool:
    """Tell by what the site knows of an account whether its token works; raise when the site could not say."""
    payload = json.loads_any(answer.body)
    status = status_of(payload)
    if status is not None and status.code == 0 and isinstance(inner(payload, "data", "userInfo"), dict):
        return True
    error = refusal(answer)
    said = None if status is None else kind_by_words(_BY_WORDS, status.words)
    if answer.status >= _SERVER_ERROR or isinstance(error, AccountLimited) or said in _PASSING:
        raise error
    return False


def is_foreign(answer: Answer) -> bool:
    """Tell whether a reply is none of the site's, but mostly a guard's page: it is not empty, and no JSON."""
    return bool(answer.body.strip()) and json.loads_any(answer.body) is None


def not_stored(answer: Answer) -> SiteError:
    """Say what it means that the file store did not take a file."""
    return UpstreamUnavailable(f"The site's file store did not take a file (HTTP {answer.status}).")


def not_spoken(answer: Answer) -> SiteError:
    """Say what it means that a part of a speech is not there."""
    return UpstreamUnavailable(f"The site did not give a part of the speech it made (HTTP {answer.status}).")


def _of_status(answer: Answer) -> SiteError:
    kind, told = _BY_STATUS.get(answer.status, (UpstreamUnavailable, f"The site refused with HTTP {answer.status}."))
    return kind(told, retry_after=answer.retry_after)


def _of_no_json(answer: Answer) -> SiteError:
    """Tell a page of a guard or gateway before the site from a reply of the site; its words are never passed on."""
    if answer.status == AccountLimited.status or (answer.status != HTTPStatus.OK and not is_page(answer)):
        return _of_status(answer)
    if is_page(answer) or not answer.body:
        return no_data(answer)
    return no_json(answer)
