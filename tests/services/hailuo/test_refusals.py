import pytest

from services.hailuo import refusals
from shared import errors
from shared.upstream.client import Answer
from tests.answers import site_answer as answer

Kind = type[errors.SiteError]

WORDS: dict[str, Kind] = {
    "登录已过期": errors.AccountExpired,
    "请先登录": errors.AccountExpired,
    "login required": errors.AccountExpired,
    "invalid token": errors.AccountExpired,
    "抱歉，服务器开小差了，请稍等一会儿再试。": errors.UpstreamUnavailable,
    "系统繁忙": errors.UpstreamUnavailable,
    "某种没见过的话": errors.UpstreamUnavailable,
    "": errors.UpstreamUnavailable,
    "操作太频繁": errors.AccountBusy,
    "正在生成回复": errors.AccountBusy,
    "今日次数已用完": errors.AccountLimited,
    "该账号已被封禁": errors.AccountBarred,
    "内容涉及敏感信息": errors.ContentBlocked,
    "会话无效，请重新登录": errors.AccountExpired,
    "minimax token expired": errors.AccountExpired,
    "今日token已达上限": errors.AccountLimited,
    "内容过长，超过token上限": errors.RequestRefused,
    "输入的文本太长": errors.RequestRefused,
    "max tokens exceeded": errors.RequestRefused,
    "the maximum context length is 8192 tokens": errors.RequestRefused,
    "your message is too long": errors.RequestRefused,
    "等待时间过长": errors.UpstreamUnavailable,
    "输入token数超出限制": errors.RequestRefused,
    "token数量超过最大限制": errors.RequestRefused,
    "prompt tokens exceed the context window": errors.RequestRefused,
    "输入内容超过上限": errors.RequestRefused,
    "文件大小超过上限": errors.RequestRefused,
    "文本超出长度限制": errors.RequestRefused,
    "操作太快": errors.AccountBusy,
    "请求过多，请稍候": errors.AccountBusy,
    "免费体验次数已用完，请登录后继续": errors.AccountExpired,
    "请求频繁，请重新登录": errors.AccountExpired,
    "您的账号存在敏感操作，请重新登录": errors.AccountExpired,
}


def info(code: int | str, message: str) -> dict[str, object]:
    return {"statusInfo": {"code": code, "message": message}, "data": None}


@pytest.mark.parametrize(("words", "kind"), WORDS.items())
def test_words(words: str, kind: Kind) -> None:
    assert type(refusals.refusal(answer(info(1200001, words)))) is kind
    with pytest.raises(kind):
        refusals.data(answer(info(1200001, words)))


def test_only_a_call_that_named_a_conversation_is_told_of_it() -> None:
    reply = answer(info(1200020, "会话不存在"))
    assert type(refusals.refusal(reply, named=True)) is errors.ConversationUnknown
    assert type(refusals.refusal(reply)) is errors.UpstreamUnavailable
    with pytest.raises(errors.ConversationUnknown):
        refusals.data(reply, errors.AccountExpired, named=True)
    with pytest.raises(errors.AccountExpired):
        refusals.data(reply, errors.AccountExpired)


def test_a_refused_token_is_told_what_to_do() -> None:
    assert "_token" in refusals.refusal(answer(info(1, "登录已过期"))).message


DEFAULTS = (errors.UpstreamUnavailable, errors.AccountExpired, errors.RequestRefused)


@pytest.mark.parametrize("default", DEFAULTS)
def test_words_that_tell_nothing_are_of_the_callers_class(default: Kind) -> None:
    with pytest.raises(default):
        refusals.data(answer(info(1400010, "参数错误")), default)


SITES_OWN = (
    "服务器开小差了",
    "系统错误",
    "系统异常",
    "服务异常",
    "网络异常",
    "签名错误",
    "服务器内部错误",
    "服务器错误",
    "服务器异常",
    "系统维护中",
    "系统升级中，请稍等",
)


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("words", SITES_OWN)
def test_a_site_that_is_unwell_says_nothing_of_the_call(words: str, default: Kind) -> None:
    with pytest.raises(errors.UpstreamUnavailable):
        refusals.data(answer(info(1000500, words)), default)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("账号存在违规行为", errors.AccountBarred),
        ("message too long", errors.UpstreamUnavailable),
        ("参数错误", errors.AccountExpired),
        ("今日次数已用完", errors.AccountLimited),
    ],
)
def test_nothing_in_a_registration_is_the_clients(words: str, kind: Kind) -> None:
    with pytest.raises(errors.SiteError) as caught:
        refusals.registered(answer(info(7, words)))
    assert type(caught.value) is kind


STATUSES: list[tuple[Answer, Kind]] = [
    (answer({"code": 502, "message": "Bad Gateway"}, 502), errors.UpstreamUnavailable),
    (answer(info(1400010, "参数错误"), 500), errors.UpstreamUnavailable),
    (answer({"code": 503, "message": "login service unavailable"}, 503), errors.UpstreamUnavailable),
    (answer({"code": 403, "message": "Forbidden"}, 403), errors.UpstreamUnavailable),
    (answer({"statusInfo": {"code": 0}, "data": {"a": 1}}, 500), errors.UpstreamUnavailable),
    (answer(info(7, "内容涉及敏感信息"), 400), errors.ContentBlocked),
    (answer(info(7, "某种没见过的话"), 401), errors.AccountExpired),
    (answer({"code": 429, "message": "Too Many Requests"}, 429), errors.AccountLimited),
]


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize(("reply", "kind"), STATUSES)
def test_an_http_status_of_its_own_tells_more_than_words(reply: Answer, kind: Kind, default: Kind) -> None:
    with pytest.raises(kind) as caught:
        refusals.data(reply, default)
    assert type(caught.value) is kind


LIMITED = (
    answer(b"<html>", 429, "text/html", Retry_After="7"),
    answer(b"slow down", 429, "text/plain", Retry_After="7"),
    answer(b"", 429, Retry_After="7"),
    answer({}, 429, Retry_After="7"),
    answer(info(9, "x"), 429, Retry_After="7"),
)


@pytest.mark.parametrize("reply", LIMITED)
def test_too_many_calls_are_one_refusal_in_any_form(reply: Answer) -> None:
    error = refusals.refusal(reply)
    assert type(error) is errors.AccountLimited
    assert error.retry_after == 7


ENVELOPES = (
    {"statusInfo": {"code": 5, "message": "登录"}},
    {"base_resp": {"status_code": 5, "status_msg": "登录"}},
    {"status_code": 5, "err_message": "登录"},
    {"code": 5, "message": "登录"},
    {"statusInfo": {"code": "5", "message": "登录"}},
)


@pytest.mark.parametrize("payload", ENVELOPES)
def test_envelopes(payload: object) -> None:
    assert refusals.status_of(payload) == refusals.Status(5, "登录")


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        {},
        {"statusInfo": None},
        {"statusInfo": {"code": ""}},
        {"code": "no"},
        {"code": 1.5},
        {"code": "9" * 30},
    ],
)
def test_no_status(payload: object) -> None:
    assert refusals.status_of(payload) is None


OTHERS: list[tuple[Answer, Kind]] = [
    (answer(b"<!DOCTYPE html><html></html>", 200, "text/html"), errors.UpstreamUnavailable),
    (answer(b"<html>", 502, "text/html"), errors.UpstreamUnavailable),
    (answer(b"", 200), errors.UpstreamUnavailable),
    (answer(b"oops", 200, "text/plain"), errors.UpstreamChanged),
    (answer(b"oops", 500, "text/plain"), errors.UpstreamUnavailable),
    (answer(b"", 401, "text/plain"), errors.AccountExpired),
    (answer({}, 401), errors.AccountExpired),
    (answer({}, 429), errors.AccountLimited),
    (answer(b"<html>", 401, "text/html"), errors.UpstreamUnavailable),
    (answer({}, 503), errors.UpstreamUnavailable),
    (answer({"data": {}}), errors.UpstreamChanged),
    (answer(info("0", "成功")), errors.UpstreamChanged),
    (answer([1]), errors.UpstreamChanged),
    (answer(info(0, "成功")), errors.UpstreamChanged),
]


@pytest.mark.parametrize(("reply", "kind"), OTHERS)
def test_other_replies(reply: Answer, kind: Kind) -> None:
    assert type(refusals.refusal(reply)) is kind


def test_pages_are_never_passed_on() -> None:
    page = answer(info(1, "<html>secret</html>"))
    assert "secret" not in refusals.refusal(page).message


LIVE = {"statusInfo": {"code": 0}, "data": {"userInfo": {"id": "1"}}}
CHECKED: list[tuple[Answer, bool | Kind]] = [
    (answer(LIVE), True),
    (answer({**LIVE, "statusInfo": {"code": "0"}}), True),
    (answer(LIVE, 500), True),
    (answer({"data": LIVE["data"]}), False),
    (answer({"statusInfo": {"code": 0}, "data": {"userInfo": None}}), False),
    (answer({"statusInfo": {"code": 0}, "data": None}), False),
    (answer(info(1400010, "参数错误")), False),
    (answer(info(1200001, "登录已过期")), False),
    (answer(info(7, "账号已被封禁")), False),
    (answer({"code": 403, "message": "Forbidden"}, 403), False),
    (answer({}, 401), False),
    (answer([1]), False),
    (answer(b""), False),
    (answer(b"oops", 200, "text/plain"), False),
    (answer(b"<html>", 200, "text/html"), False),
    (answer(b"<html>", 403, "text/html"), False),
    (answer(info(1000500, "系统异常")), errors.UpstreamUnavailable),
    (answer(info(1200012, "操作太频繁")), errors.AccountBusy),
    (answer(info(1400010, "参数错误"), 500), errors.UpstreamUnavailable),
    (answer({}, 503), errors.UpstreamUnavailable),
    (answer(b"<html>", 502, "text/html"), errors.UpstreamUnavailable),
    (answer(b"", 500), errors.UpstreamUnavailable),
    (answer(b"<html>", 429, "text/html"), errors.AccountLimited),
    (answer(info(1400010, "参数错误"), 429), errors.AccountLimited),
]


@pytest.mark.parametrize(("reply", "alive"), CHECKED)
def test_liveness(reply: Answer, alive: bool | Kind) -> None:
    if isinstance(alive, bool):
        assert refusals.is_alive(reply) is alive
    else:
        with pytest.raises(alive):
            refusals.is_alive(reply)


def test_data() -> None:
    assert refusals.data(answer({"statusInfo": {"code": 0}, "data": {"a": 1}})) == {"a": 1}
    assert refusals.data(answer({"statusInfo": {"code": 0}, "data": None})) == {}
    assert refusals.data(answer({"statusInfo": {"code": "0"}, "data": {"a": 1}})) == {"a": 1}
    with pytest.raises(errors.AccountExpired):
        refusals.data(answer(info("1200001", "登录已过期")))


def test_a_reply_without_a_status_is_its_data() -> None:
    assert refusals.data(answer({"data": {"a": 1}})) == {"a": 1}
    assert refusals.data(answer({"a": 1, "data": None})) == {"a": 1, "data": None}
    assert refusals.data(answer({})) == {}
    with pytest.raises(errors.UpstreamChanged):
        refusals.data(answer([1]))
    with pytest.raises(errors.UpstreamUnavailable):
        refusals.data(answer({"a": 1}, 302))
