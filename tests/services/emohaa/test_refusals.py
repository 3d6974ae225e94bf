from typing import Any

import orjson
import pytest

from services.emohaa.refusals import conversation_id, is_alive, refusal, said
from services.emohaa.session import read_credential
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
from tests.answers import site_answer as answer

PAGE = b"  <!doctype html><html><title>502</title>secret words</html>"
ID = "f73f02e6-6b43-4a46-ac24-3a9ea8d15145"


def error(status: Any, title: str = "Title", detail: str = "detail") -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


REFUSED: list[tuple[Answer, type[SiteError]]] = [
    (answer(error(401, "Unauthorized", "token invalid"), 401), AccountExpired),
    (answer(error(401)), AccountExpired),
    (answer(error(401.0)), AccountExpired),
    (answer({"status": 401}), AccountExpired),
    (answer(b'{"status": 1%b}' % (b"0" * 400)), UpstreamUnavailable),
    (answer({"title": "Unauthorized"}, 401), AccountExpired),
    (answer(b"", 401), AccountExpired),
    (answer(b"denied", 401), AccountExpired),
    (answer(error(403), 403), AccountBarred),
    (answer(error(429)), AccountLimited),
    (answer(b"slow down", 429), AccountLimited),
    (answer(error(400)), RequestRefused),
    (answer(error(422), 200), RequestRefused),
    (answer(error(500), 200), UpstreamUnavailable),
    (answer(error(503), 503), UpstreamUnavailable),
    (answer(error(400), 503), RequestRefused),
    (answer(b"Bad Gateway", 502), UpstreamUnavailable),
    (answer(b"", 504), UpstreamUnavailable),
    (answer(PAGE), UpstreamUnavailable),
    (answer(PAGE, 401), UpstreamUnavailable),
    (answer(PAGE, 403), UpstreamUnavailable),
    (answer(PAGE, 429), AccountLimited),
    (answer(error(200), 401), AccountExpired),
    (answer(PAGE, 413), RequestRefused),
    (answer(PAGE, 414), RequestRefused),
    (answer(b"", 431), RequestRefused),
]
each_refusal = pytest.mark.parametrize(("told", "kind"), REFUSED)


@each_refusal
def test_what_is_no_stream(told: Answer, kind: type[SiteError]) -> None:
    refused = refusal(told, named=True)
    assert type(refused) is kind
    assert "secret" not in refused.message


@each_refusal
def test_whole_replies(told: Answer, kind: type[SiteError]) -> None:
    for read in (conversation_id, said):
        with pytest.raises(kind) as caught:
            read(told)
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    "told", [answer({"answer": "hi"}), answer([]), answer({"status": 200}), answer(b"hi"), answer(1)]
)
def test_an_unknown_shape(told: Answer) -> None:
    refused = refusal(told, named=True)
    assert isinstance(refused, UpstreamChanged)
    assert "hi" not in refused.shape


def test_what_is_not_there() -> None:
    told = answer(error(404, "Not Found"), 404)
    assert type(refusal(told, named=True)) is ConversationUnknown
    with pytest.raises(ConversationUnknown):
        said(told, named=True)
    assert type(refusal(told, named=False)) is UpstreamChanged
    assert is_alive(told) is False
    with pytest.raises(UpstreamChanged):
        conversation_id(told)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (error(400, "Bad Request", "prompt is\n empty"), "The site says: Bad Request prompt is empty"),
        ({"status": 400, "title": "Bad"}, "The site says: Bad"),
        ({"status": 400, "detail": "d", "title": 7}, "The site says: d"),
        ({"status": 503}, "The site refused with status 503."),
        (error(400, "x" * 500), "The site says: " + "x" * 200),
        ({"status": 400, "title": "\\ud83d"}, "The site says: \\ud83d"),
    ],
)
def test_words(told: Any, message: str) -> None:
    assert refusal(answer(told), named=True).message == message


def test_half_a_character_is_none_of_the_words() -> None:
    assert refusal(answer(b'{"status": 400, "title": "\\ud83d"}'), named=True).message == "The site says: \ufffd"


def test_an_expired_token_says_what_to_do() -> None:
    assert "log in" in refusal(answer(error(401, "Unauthorized", "eyJ.secret")), named=True).message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("9" * 400, None), ("-1", None), ("²", None)],
)
def test_how_long_a_limit_lasts(header: str, seconds: float | None) -> None:
    assert refusal(answer(error(429), 429, Retry_After=header), named=True).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (ID.encode(), ID),
        (f" {ID}\r\n".encode(), ID),
        (f'"{ID}"'.encode(), ID),
        (orjson.dumps({"id": ID}), ID),
        (orjson.dumps({"id": ID, "status": 0}), ID),
        (orjson.dumps({"id": 1234567}), "1234567"),
        (b"1234567", "1234567"),
        (b"c-7", "c-7"),
    ],
)
def test_the_id_of_a_new_conversation(body: bytes, name: str) -> None:
    assert conversation_id(answer(body)) == name


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", UpstreamUnavailable),
        (b" \n", UpstreamUnavailable),
        (b'""', UpstreamUnavailable),
        (b"null", UpstreamUnavailable),
        (PAGE, UpstreamUnavailable),
        (b"Unauthorized", UpstreamChanged),
        (b"two words 1", UpstreamChanged),
        (b"../1", UpstreamChanged),
        (b"a" * 63 + b"12", UpstreamChanged),
        (b"{}", UpstreamChanged),
        (b'{"id": null}', UpstreamChanged),
        (b'{"id": {"id": "1"}}', UpstreamChanged),
        (b'{"id": ""}', UpstreamChanged),
        (b'["c-1"]', UpstreamChanged),
        (b"true", UpstreamChanged),
        (b"1.5", UpstreamChanged),
        (b"\xff1", UpstreamChanged),
    ],
)
def test_what_is_no_id(body: bytes, kind: type[SiteError]) -> None:
    with pytest.raises(kind) as caught:
        conversation_id(answer(body))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("told", "alive"),
    [
        (answer([]), True),
        (answer([{"id": ID, "title": "你好"}]), True),
        (answer(error(401), 401), False),
        (answer(error(401)), False),
        (answer(error(403)), False),
        (answer(error(400)), False),
        (answer(error(429)), AccountLimited),
        (answer(error(500)), UpstreamUnavailable),
        (answer(PAGE), UpstreamUnavailable),
        (answer({"items": []}), False),
        (answer(b"\xef\xbb\xbf[]"), True),
        (answer(b""), UpstreamUnavailable),
    ],
)
def test_liveness(told: Answer, alive: bool | type[SiteError]) -> None:
    if isinstance(alive, bool):
        assert is_alive(told) is alive
    else:
        with pytest.raises(alive):
            is_alive(told)


@pytest.mark.parametrize("told", [answer(b""), answer(b"", 204), answer(b"ok"), answer(True), answer({"n": 1})])
def test_any_other_reply_to_a_deletion_will_do(told: Answer) -> None:
    said(told, named=True)


def test_credentials() -> None:
    assert read_credential(" eyJhbGciOiJIUzUxMiJ9.e30.sig ").token == "eyJhbGciOiJIUzUxMiJ9.e30.sig"
    for token in ("", " ", "two words", "a\nb", "密"):
        with pytest.raises(AccountExpired):
            read_credential(token)
