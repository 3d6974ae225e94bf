from typing import Any

import pytest

from services.glm.refusals import accepted, not_made, refusal, refusal_in, result
from services.glm.session import read_credential
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
from shared.upstream.client import Answer
from shared.upstream.shapes import text_of
from tests.answers import site_answer as answer

PAGE = b"<!doctype html><html><title>405</title>acw_sc__v2 secret words</html>"


def said(message: str, code: int = 1) -> dict[str, Any]:
    return {"message": message, "result": None, "status": code}


REFUSED = [
    (answer(said("请求失败, code: 40102, refresh token expired", 401), 401), AccountExpired),
    (answer(said("code: 40102", 7)), AccountExpired),
    (answer(said("请登录后继续使用", 10000)), SessionRefused),
    (answer(said("access token expired", 403), 403), SessionRefused),
    (answer(said("当前还有其他请求正在进行", 10006)), AccountBusy),
    (answer(said("", 10061)), AccountBusy),
    (answer(said("请等待其他对话生成完毕")), AccountBusy),
    (answer(said("请求过于频繁")), AccountBusy),
    (answer(said("slow down"), 429), AccountBusy),
    (answer({"code": 401, "message": "no"}), SessionRefused),
    (answer(said("no", 401)), SessionRefused),
    (answer(said("no"), 401), SessionRefused),
    (answer({}, 401), SessionRefused),
    (answer([], 401), SessionRefused),
    (answer(b"denied", 401, "text/plain"), SessionRefused),
    (answer(said("账号已被封禁")), AccountBarred),
    (answer(said("今日次数已用完")), AccountLimited),
    (answer(said("内容涉嫌违规")), ContentBlocked),
    (answer(said("对话不存在", 10005)), ConversationUnknown),
    (answer(said("Conversation not found", 404), 404), ConversationUnknown),
    (answer(said("系统繁忙，请稍后再试")), UpstreamUnavailable),
    (answer(said("?", 500)), UpstreamUnavailable),
    (answer(said("?"), 502), UpstreamUnavailable),
    (answer(PAGE, 403, "text/html"), UpstreamUnavailable),
    (answer(PAGE, 400, "text/html"), UpstreamUnavailable),
    (answer(PAGE, 401, "text/html"), UpstreamUnavailable),
    (answer(PAGE, 200, "text/html"), UpstreamUnavailable),
    (answer(PAGE, 200, ""), UpstreamUnavailable),
    (answer(b"", 200), UpstreamUnavailable),
    (answer(b"Bad Gateway", 502, "text/plain"), UpstreamUnavailable),
    (answer(PAGE, 429, "text/html", Retry_After="30"), AddressLimited),
    (answer(PAGE, 503, "text/html", Retry_After="30"), UpstreamUnavailable),
    *((answer(said(words)), UpstreamUnavailable) for words in
      ("服务异常", "系统异常", "系统错误", "网络异常，请检查网络", "服务器内部错误", "内部服务故障")),
    *((answer({"detail": "Not Found"}, status), UpstreamChanged) for status in (404, 405, 415)),
    *((answer({"detail": "?"}, status), UpstreamUnavailable) for status in (403, 408, 425)),
    (answer(said("Forbidden", 403)), UpstreamUnavailable),
    (answer(said("次数已用完", 403), 403), AccountLimited),
    (answer(said("违规", 404), 404), ContentBlocked),
    (answer([], 404), UpstreamChanged),
    *((answer({"detail": "?"}, status), RequestRefused) for status in (400, 409, 413, 422)),
    (answer({"message": "no", "status": "10006"}), AccountBusy),
    (answer({"message": "no", "code": "401"}), SessionRefused),
    (answer({"message": "no", "code": 401.0}), SessionRefused),
    (answer(b'{"message":"\\ud83d","code":1e999,"status":10006}'), AccountBusy),
    (answer({"message": "请等待其他对话生成完毕"}), AccountBusy),
    (answer(said("invalid access token", 403), 403), SessionRefused),
    (answer(said("bad request", 400), 400), RequestRefused),
    (answer(said("参数错误")), RequestRefused),
    (answer({"validation_error": {"body_params": [{"loc": ["assistant_id"], "msg": "field required"}]}}, 400),
     UpstreamChanged),
    (answer({"validation_error": {"body_params": [{"loc": ["assistant_id"], "msg": "no such agent"}]}}),
     RequestRefused),
    (answer({"validation_error": None}), UpstreamChanged),
    (answer(b"hello", 200, "text/plain"), UpstreamChanged),
    (answer({}), UpstreamChanged),
    (answer([1]), UpstreamChanged),
    (answer({"message": "success", "status": 0}), UpstreamChanged),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "wanted"), REFUSED)
def test_refusals(reply: Answer, wanted: type[SiteError]) -> None:
    error = refusal(reply)
    assert type(error) is wanted
    assert error.message
    assert "secret words" not in error.message + getattr(error, "shape", "")


REFRESHING = [
    (answer(said("bad request", 400), 400), AccountExpired),
    (answer(said("refresh token expired", 401), 401), AccountExpired),
    (answer(said("invalid refresh token", 10002)), AccountExpired),
    (answer(said("已失效的token", 10002)), AccountExpired),
    (answer(said("请登录后继续使用", 10000)), AccountExpired),
    (answer(said("no", 401), 401), AccountExpired),
    (answer(b"denied", 401, "text/plain"), AccountExpired),
    (answer(said("forbidden", 403), 403), UpstreamUnavailable),
    (answer(PAGE, 403, "text/html"), UpstreamUnavailable),
    (answer(said("当前还有其他请求正在进行", 10006)), AccountBusy),
    (answer(said("您的账号存在违规行为，请联系客服", 10020)), AccountBarred),
    (answer(said("对话已删除", 10005)), RequestRefused),
]


@pytest.mark.parametrize(("reply", "wanted"), REFRESHING)
def test_refusals_of_an_exchange(reply: Answer, wanted: type[SiteError]) -> None:
    assert type(refusal(reply, refreshing=True)) is wanted
    with pytest.raises(wanted):
        result(reply, refreshing=True)


def test_the_sites_words_are_passed_on() -> None:
    assert "参数错误" in refusal(answer(said("参数\n错误"))).message.replace(" ", "")
    assert len(refusal(answer(said("长" * 5000))).message) < 300
    assert refusal(answer({"error": {"message": "inner"}, "code": 7})).message.endswith("inner")
    assert "<" not in refusal(answer(said("<html>page</html>"))).message
    refusal(answer(b'{"message":"\\ud83d","status":7}')).message.encode()


def test_how_long_to_wait() -> None:
    limited = refusal(answer(said("slow down"), 429, Retry_After="120"))
    assert isinstance(limited, AccountLimited)
    assert limited.retry_after == 120
    address = refusal(answer(PAGE, 429, "text/html", Retry_After="30"))
    assert address.retry_after == 30
    assert type(refusal(answer(said("slow down"), 429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"))) is AccountBusy


@pytest.mark.parametrize(
    "payload",
    [
        {"message": "success", "result": {"a": 1}, "status": 0},
        {"message": "ok", "result": {"a": 1}, "code": 0},
        {"message": "ok", "result": {"a": 1}, "code": 0, "status": 7},
        {"message": "without codes", "result": {"a": 1}},
        {"result": {"a": 1}, "status": "fine"},
    ],
)
def test_what_is_accepted(payload: dict[str, Any]) -> None:
    assert refusal_in(payload) is None
    assert result(answer(payload)) == {"a": 1}


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"message": "success"},
        {"message": "当前还有其他请求正在进行"},
        {"message": "success", "status": "0"},
        {"message": "success", "status": "success"},
        {"message": "success", "status": 0.0, "code": 7},
        {"message": "success", "status": True},
    ],
)
def test_what_is_accepted_without_a_result(payload: dict[str, Any]) -> None:
    assert accepted(answer(payload)) == payload
    with pytest.raises(SiteError):
        result(answer(payload))


@pytest.mark.parametrize("payload", [{"message": "success", "status": "7"}, {"validation_error": {}}, [], None, 7])
def test_what_is_not_accepted(payload: Any) -> None:
    with pytest.raises(SiteError):
        accepted(answer(payload))


@pytest.mark.parametrize("status", [404, 405, 415])
def test_words_that_would_be_logged_are_not_told(status: int) -> None:
    error = refusal(answer({"detail": "no such thing"}, status))
    assert isinstance(error, UpstreamChanged)
    assert (error.message, error.shape) == ("The site no longer knows this call.", "{detail str}")


@pytest.mark.parametrize("status", [400, 404, 500])
def test_nothing_is_accepted_with_an_error_status(status: int) -> None:
    with pytest.raises(SiteError):
        accepted(answer({"message": "success", "status": 0}, status))


@pytest.mark.parametrize("value", [None, [], "text"])
def test_a_result_that_is_no_object(value: Any) -> None:
    reply = answer({"message": "success", "result": value, "status": 0})
    assert accepted(reply)["status"] == 0
    with pytest.raises(UpstreamChanged):
        result(reply)


@pytest.mark.parametrize("value", [{}, {"name": None}, {"name": ""}, {"name": True}])
def test_a_text_that_is_missing(value: dict[str, Any]) -> None:
    with pytest.raises(UpstreamChanged, match="name"):
        text_of(value, "name")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("内容违规", ContentBlocked),
        ("次数已用完", AccountLimited),
        ("系统繁忙", UpstreamUnavailable),
        ("生成失败", SiteError),
        ("", SiteError),
    ],
)
def test_what_was_not_made(words: str, wanted: type[SiteError]) -> None:
    error = not_made(words)
    assert type(error) is wanted
    assert words in error.message


@pytest.mark.parametrize("token", ["eyJ.R.A", " eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_ ", "a.b.c.d.e", "a.b."])
def test_tokens(token: str) -> None:
    assert read_credential(token).token == token.strip()
    assert token.strip() not in repr(read_credential(token))


@pytest.mark.parametrize("token", ["", "abc", "a.b", "a b.c.d", "a.b.c\n.d", "eyJ.é.c", "a.b.c.d.e.f", "a.b.c\r\nX: y"])
def test_malformed_tokens(token: str) -> None:
    with pytest.raises(AccountExpired, match="chatglm_refresh_token"):
        read_credential(token)
