from typing import Any

import pytest

from services.metaso.refusals import event_problem, is_alive, meta_token, refusal, session_id, unreadable
from services.metaso.session import read_credential
from shared.errors import (
    AccountBarred,
    AccountExpired,
    AccountLimited,
    AddressLimited,
    ContentBlocked,
    RequestRefused,
    SessionRefused,
    SiteError,
    UpstreamChanged,
    UpstreamUnavailable,
)
from shared.upstream.client import Answer
from shared.upstream.sse import SseFrame
from tests.answers import site_answer as answer

UID, SID = "6700aa11bb22cc33dd44ee55", "0123456789abcdef0123456789abcdef"
PAGE = "  <!doctype html><html><title>请先登录</title>too many requests, secret words</html>".encode()
META_TOKEN = "Zk3+Qp7LmX0uTn9/vB2dWs5yRf8hJc1eKa4gIo6tUxNqVwInventedMetaToken0123456789=="


def said(code: Any, message: str = "", **more: Any) -> dict[str, Any]:
    return {"errCode": code, "errMsg": message, **more}


def page(token: str) -> Answer:
    return answer(f'<html><head><meta id="meta-token" content="{token}"/></head></html>'.encode(), 200, "text/html")


REFUSED: list[tuple[Answer, type[SiteError]]] = [
    (answer(said(401, "请先登录")), SessionRefused),
    (answer(said(1001, "用户未登录")), SessionRefused),
    (answer(said(1, "not login")), SessionRefused),
    (answer(said(1, "token invalid")), SessionRefused),
    (answer(said(401)), SessionRefused),
    (answer(said(401.0)), SessionRefused),
    (answer(said("401", "请登录")), SessionRefused),
    (answer({"err": "please login first"}), SessionRefused),
    (answer({"errMsg": "请登录"}), SessionRefused),
    (answer({}, 401), SessionRefused),
    (answer({"message": "no"}, 403), SessionRefused),
    (answer(b"denied", 401, "text/plain"), SessionRefused),
    (answer(said(2, "搜索次数超出限制")), AccountLimited),
    (answer(said(4001)), AccountLimited),
    (answer(said(3, "TOO_MANY_REQUESTS")), AddressLimited),
    (answer(said(3, "访问过于频繁，请稍后再试")), AddressLimited),
    (answer({"anything": 1}, 429), AddressLimited),
    (answer(PAGE, 429, "text/html"), AddressLimited),
    (answer(b"", 429), AddressLimited),
    (answer(b"[TOO_MANY_REQUESTS]", 200, "text/plain"), AddressLimited),
    (answer(b"too many requests", 503, "text/plain"), AddressLimited),
    (answer(said(4, "账号已被封禁")), AccountBarred),
    (answer(said(5, "内容违规")), ContentBlocked),
    (answer(said(6, "系统繁忙，请稍后再试")), UpstreamUnavailable),
    (answer(said(500)), UpstreamUnavailable),
    (answer({"oops": 1}, 503), UpstreamUnavailable),
    (answer(PAGE), UpstreamUnavailable),
    (answer(PAGE, 401, "text/html"), UpstreamUnavailable),
    (answer(PAGE, 403, "text/html"), UpstreamUnavailable),
    (answer(b"Bad Gateway", 502, "text/plain"), UpstreamUnavailable),
    (answer(b"", 200), UpstreamUnavailable),
    (answer(b" \n", 200), UpstreamUnavailable),
    (answer(b"", 302), UpstreamUnavailable),
    (answer(PAGE, 414, "text/html"), RequestRefused),
    (answer(said(7, "参数错误")), SiteError),
    (answer(said(-1)), SiteError),
    (answer({"err": "odd"}), SiteError),
    (answer({}, 404), SiteError),
    (answer(b"hello", 200, "text/plain"), UpstreamChanged),
    (answer({}), UpstreamChanged),
    (answer([1]), UpstreamChanged),
    (answer({"errCode": 0, "errMsg": "success", "data": {}}), UpstreamChanged),
    (answer({"errCode": 1e300, "errMsg": "denied", "data": {"id": "1"}}), SiteError),
    (answer(said(2000000001, "denied", data={"id": "1"})), SiteError),
    (answer(b'{"errCode": %b, "errMsg": "\\ud83d"}' % (b"9" * 400)), SiteError),
    (answer(b'{"errCode": 1e999, "errMsg": "success"}'), UpstreamChanged),
    (answer({"errCode": True}), UpstreamChanged),
    (answer({"errCode": "0", "errMsg": "success"}), UpstreamChanged),
    (answer({"errCode": "401", "errMsg": "odd"}), SessionRefused),
    (answer({"type": "error", "code": 4001, "msg": "odd"}), AccountLimited),
    (answer({"type": "error", "code": "4001", "msg": "odd"}), AccountLimited),
    (answer({"type": "error", "code": 429, "msg": "odd"}), AddressLimited),
]


@pytest.mark.parametrize(("told", "kind"), REFUSED)
def test_what_is_no_stream_and_no_session(told: Answer, kind: type[SiteError]) -> None:
    error = refusal(told)
    assert type(error) is kind
    assert "secret" not in error.message + getattr(error, "shape", "")
    with pytest.raises(kind) as caught:
        session_id(told)
    assert type(caught.value) is kind


@pytest.mark.parametrize(("told", "kind"), REFUSED)
def test_a_limited_address_pauses_and_a_limited_account_does_not(told: Answer, kind: type[SiteError]) -> None:
    assert refusal(told).retry_after == (300 if kind is AddressLimited else None)


@pytest.mark.parametrize(("header", "seconds"), [("30", 30), ("", 300), ("Wed, 21 Oct 2026 07:28:00 GMT", 300)])
def test_how_long_a_limit_lasts(header: str, seconds: float) -> None:
    told = answer(b"", 429, Retry_After=header)
    assert refusal(told).retry_after == seconds
    for read in (session_id, meta_token, is_alive):
        with pytest.raises(AddressLimited) as caught:
            read(told)
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (said(7, "参数\n错误"), "The site says: 参数 错误 [7]"),
        (said(7), "The site refused with code 7."),
        (said(1000001), "The site refused with code 1000001."),
        (said(1000001, "x"), "The site says: x [1000001]"),
        (said(7, "<b>page</b>"), "The site refused with code 7."),
        (said(7, "长" * 500), f"The site says: {'长' * 200} [7]"),
        ({"err": "odd"}, "The site says: odd [200]"),
    ],
)
def test_words(told: Any, message: str) -> None:
    assert refusal(answer(told)).message == message


def test_half_a_character_is_none_of_the_words() -> None:
    assert refusal(answer(b'{"errCode": 7, "errMsg": "\\ud83d"}')).message == "The site says: \ufffd [7]"


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"errCode": 0, "errMsg": "success", "data": {"id": "8466827997659213824"}}, "8466827997659213824"),
        ({"data": {"id": "8466827997659213824"}}, "8466827997659213824"),
        ({"errCode": "0", "data": {"id": "1"}}, "1"),
        ({"errCode": 0, "data": {"sessionId": "2"}}, "2"),
        ({"errCode": 0, "id": "3"}, "3"),
        ({"errCode": 0, "data": {"id": None, "sessionId": "4"}, "id": 5}, "4"),
        ({"data": {"id": 8466827997659213824}}, "8466827997659213824"),
        ({"data": {"id": ""}, "id": "6"}, "6"),
        ({"data": ["id"], "id": "7"}, "7"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 500])
def test_the_id_of_a_session(told: Any, name: str, status: int) -> None:
    assert session_id(answer(told, status)) == name


@pytest.mark.parametrize("value", [True, {}, ["1"], 0, 1.5])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(UpstreamChanged):
        session_id(answer({"data": {"id": value}}))


def test_the_meta_token() -> None:
    assert meta_token(page(META_TOKEN)) == META_TOKEN
    assert meta_token(page("a&amp;b")) == "a&amp;b"
    two = answer(b'<meta id="meta-token" content="one"/><meta id="meta-token" content="two"/>', 200, "text/html")
    assert meta_token(two) == "one"


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (page(""), UpstreamChanged),
        (page("a\r\nX: y"), UpstreamChanged),
        (page("密"), UpstreamChanged),
        (answer(PAGE, 200, "text/html"), UpstreamChanged),
        (answer(b"", 200, "text/html"), UpstreamChanged),
        (answer(PAGE, 403, "text/html"), UpstreamUnavailable),
        (answer(PAGE, 302, "text/html"), UpstreamUnavailable),
        (answer(page(META_TOKEN).body, 203, "text/html"), UpstreamUnavailable),
        (answer(page(META_TOKEN).body, 200, "text/plain"), UpstreamUnavailable),
        (answer({"errCode": 0}), UpstreamUnavailable),
        (answer(b"", 401), UpstreamUnavailable),
    ],
)
def test_pages_without_a_meta_token(told: Answer, kind: type[SiteError]) -> None:
    with pytest.raises(kind) as caught:
        meta_token(told)
    assert type(caught.value) is kind
    assert "secret" not in caught.value.message + getattr(caught.value, "shape", "")


LIVE = {"errCode": 0, "errMsg": "success", "data": {"user": {"id": UID, "nickName": "用户"}}}


@pytest.mark.parametrize(
    ("told", "alive"),
    [
        (answer(LIVE), True),
        (answer({"data": LIVE["data"]}), True),
        (answer(LIVE, 500), True),
        (answer({"errCode": 0, "errMsg": "success", "data": {"user": None}}), False),
        (answer({"errCode": 0, "errMsg": "success", "data": {"user": {}}}), False),
        (answer({"errCode": 0, "errMsg": "success"}), False),
        (answer({"data": [1]}), False),
        (answer(said(401, "请先登录", data=LIVE["data"])), False),
        (answer(said(7, "参数错误", data=None)), False),
        (answer({"err": "please login"}), False),
        (answer({}, 401), False),
        (answer(b"", 401), False),
        (answer(PAGE, 403, "text/html"), False),
        (answer(PAGE, 200, "text/html"), False),
        (answer(b""), False),
        (answer([LIVE]), False),
        (answer(said(7, "系统繁忙", data=None)), UpstreamUnavailable),
        (answer({"errCode": 0, "data": {"user": None}}, 500), UpstreamUnavailable),
        (answer({}, 503), UpstreamUnavailable),
        (answer(b"", 500), UpstreamUnavailable),
        (answer(PAGE, 502, "text/html"), UpstreamUnavailable),
        (answer(said(3, "TOO_MANY_REQUESTS")), AddressLimited),
        (answer(b"[TOO_MANY_REQUESTS]"), AddressLimited),
    ],
)
def test_liveness(told: Answer, alive: bool | type[SiteError]) -> None:
    if isinstance(alive, bool):
        assert is_alive(told) is alive
    else:
        with pytest.raises(alive):
            is_alive(told)


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        ({"code": 4001, "msg": "搜索次数超出限制"}, AccountLimited, "搜索次数超出限制 [4001]"),
        ({"code": 4001}, AccountLimited, "4001"),
        ({"msg": "今日额度已用完"}, AccountLimited, "今日额度已用完"),
        ({"code": 401, "msg": ""}, SessionRefused, "401"),
        ({"code": 9, "msg": "请登录"}, SessionRefused, "请登录"),
        ({"code": 429}, AddressLimited, "network address"),
        ({"code": "x", "msg": "TOO_MANY_REQUESTS"}, AddressLimited, "network address"),
        ({"code": 500, "msg": "?"}, UpstreamUnavailable, "? [500]"),
        ({"code": 5000, "msg": "生成失败"}, SiteError, "生成失败 [5000]"),
        ({"code": 1234567}, SiteError, "code 1234567"),
        ({}, SiteError, "code 0"),
    ],
)
def test_events_that_refuse(event: dict[str, Any], kind: type[SiteError], words: str) -> None:
    error = event_problem(event)
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize(
    ("data", "whole", "kind"),
    [
        ("[TOO_MANY_REQUESTS]", True, AddressLimited),
        (" [TOO_MANY_REQUESTS] ", False, AddressLimited),
        ("TOO_MANY_REQUESTS", True, AddressLimited),
        ("[NOT_LOGIN]", True, SessionRefused),
        ("[请登录]", True, SessionRefused),
        ("[UNAUTHORIZED]", True, SessionRefused),
        ("[SERVER_BUSY]", True, UpstreamChanged),
        ("[TOO_MA", False, UpstreamUnavailable),
        ('{"type":"append-text","text":"TOO_MANY_REQUESTS', False, UpstreamUnavailable),
        ('{"type":"append-text","text":"频繁登录', True, UpstreamChanged),
        ("\ufffd", True, UpstreamChanged),
    ],
)
def test_events_that_are_no_json(data: str, whole: bool, kind: type[SiteError]) -> None:
    error = unreadable(SseFrame("", data.encode(), whole))
    assert type(error) is kind
    if isinstance(error, UpstreamChanged):
        assert error.shape == (data if data.startswith("[") else f"{len(data.encode())} bytes")


@pytest.mark.parametrize(
    ("token", "cookie"),
    [
        (f"{UID}-{SID}", f"uid={UID}; sid={SID}; "),
        (f" {UID}-{SID}\n", f"uid={UID}; sid={SID}; "),
        ("a-b", "uid=a; sid=b; "),
    ],
)
def test_tokens(token: str, cookie: str) -> None:
    credential = read_credential(token)
    assert credential.cookie == cookie
    assert credential.token == token.strip()
    assert SID not in repr(credential)
    assert UID not in repr(credential)


@pytest.mark.parametrize(
    "token", ["", "abc", "-", "a-", "-b", "a-b-c", "no-dash-but-three-parts-x", "a;x-b", "a-b; c", "a b-c", "a-\nb"]
)
def test_malformed_tokens(token: str) -> None:
    with pytest.raises(AccountExpired, match="uid and sid"):
        read_credential(token)
