"""What the site's refusals mean."""

from typing import Any

import pytest

from services.step import refusals
from services.step.refusals import (
    CHAT,
    FILE,
    NOTHING,
    TOKEN,
    Named,
    accepted,
    done,
    refusal,
    refusal_in,
    still_reading,
    switched,
)
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
from shared.upstream.client import Answer
from shared.upstream.connect import CONNECT_JSON
from shared.upstream.shapes import text_of
from tests.answers import site_answer as answer
from tests.simulators.step_scenes import end, failure, framed

PAGE = b"<html><title>502</title>secret words</html>"


def said(code: Any, message: Any = "no") -> dict[str, Any]:
    return {"code": code, "message": message}


REFUSED: list[tuple[Answer, type[SiteError], int]] = [
    (answer(said("unauthenticated", "token is missing"), 401), SessionRefused, 401),
    (answer(said("unauthenticated", "the oasis-token is embezzled"), 401), AccountExpired, 401),
    (answer(said("unauthenticated", "token is illegal")), SessionRefused, 401),
    (answer(said("unauthenticated", "whatever")), SessionRefused, 401),
    (answer(said("permission_denied")), AccountBarred, 403),
    (answer(said("CODE_ACCOUNT_NEED_SIGN_IN"), 403), AccountBarred, 403),
    (answer({"code": "permission_denied", "details": [{"debug": {"reason": "need sign in"}}]}), AccountBarred, 403),
    (answer(said("resource_exhausted", "slow down")), AccountLimited, 429),
    (answer(said("invalid_argument", "prompt exceed max len 20000")), RequestRefused, 400),
    (answer(said("not_found", "chat session not found")), ConversationUnknown, 404),
    (answer(said("deadline_exceeded")), UpstreamTimeout, 504),
    (answer(said("canceled")), UpstreamUnavailable, 502),
    (answer(said("unknown")), UpstreamUnavailable, 502),
    (answer(said("internal")), UpstreamUnavailable, 502),
    (answer(said("unavailable"), 503), UpstreamUnavailable, 502),
    (answer(said("aborted")), UpstreamUnavailable, 502),
    (answer(said("data_loss")), UpstreamUnavailable, 502),
    (answer(said("already_exists")), RequestRefused, 400),
    (answer(said("failed_precondition")), RequestRefused, 400),
    (answer(said("out_of_range")), RequestRefused, 400),
    (answer(said("unimplemented")), UpstreamChanged, 502),
    (answer(said("a_new_code")), RequestRefused, 400),
    (answer(said("a_new_code"), 500), UpstreamUnavailable, 502),
    (answer(said("a_new_code"), 401), SessionRefused, 401),
    (answer(said("a_new_code"), 429), AccountLimited, 429),
    (answer(said(16), 401), SessionRefused, 401),
    (answer({}, 401), SessionRefused, 401),
    (answer({}, 403), AccountBarred, 403),
    (answer({}, 404), UpstreamChanged, 502),
    (answer([], 429), AccountLimited, 429),
    (answer({}, 400), RequestRefused, 400),
    (answer({}, 418), RequestRefused, 400),
    (answer({}, 500), UpstreamUnavailable, 502),
    (answer({}, 301), UpstreamUnavailable, 502),
    (answer({"error": said("resource_exhausted", "slow")}), AccountLimited, 429),
    (answer({"error": said("unauthenticated"), "code": 16}, 401), SessionRefused, 401),
    (answer({"error": said(16)}, 401), SessionRefused, 401),
    (answer({"error": "no", **said("permission_denied")}), AccountBarred, 403),
    (answer(failure("permission_denied", "no"), 403, CONNECT_JSON), AccountBarred, 403),
    (answer(framed(b"{}") + failure("resource_exhausted", "no"), 503, CONNECT_JSON), AccountLimited, 429),
    (answer(end(said("need sign in")), 403, CONNECT_JSON), AccountBarred, 403),
    (answer(end(), 403, CONNECT_JSON), AccountBarred, 403),
    (answer(framed(b"{no"), 403, CONNECT_JSON), UpstreamUnavailable, 502),
    (answer(b"\0\0", 403, CONNECT_JSON), UpstreamUnavailable, 502),
    (answer(b"CODE_ACCOUNT_NEED_SIGN_IN", 403, "text/plain"), AccountBarred, 403),
    (answer(b"CODE_ACCOUNT_NEED_SIGN_IN", 200, "text/plain"), AccountBarred, 403),
    (answer(b"token is missing\n", 400, "text/plain"), SessionRefused, 401),
    (answer(b"<html>CODE_ACCOUNT_NEED_SIGN_IN</html>", 403), UpstreamUnavailable, 502),
    (answer(b"forbidden", 403, "text/plain"), UpstreamUnavailable, 502),
    (answer(b"denied", 401, "text/plain"), SessionRefused, 401),
    (answer(PAGE, 502, "text/html"), UpstreamUnavailable, 502),
    (answer(PAGE, 401, "text/html"), UpstreamUnavailable, 502),
    (answer(PAGE, 200, ""), UpstreamUnavailable, 502),
    (answer(b"", 200), UpstreamUnavailable, 502),
    (answer(b"", 500), UpstreamUnavailable, 502),
    (answer(b"hello", 200, "text/plain"), UpstreamChanged, 502),
    (answer([1]), UpstreamChanged, 502),
    (answer({"chatId": "1"}), UpstreamChanged, 502),
]


@pytest.mark.parametrize(("given", "wanted", "status"), REFUSED)
def test_refusals(given: Answer, wanted: type[SiteError], status: int) -> None:
    error = refusal(given, CHAT)
    assert type(error) is wanted
    assert error.status == status
    assert error.message
    assert "secret words" not in error.message


@pytest.mark.parametrize(("given", "wanted", "status"), REFUSED)
def test_a_refused_exchange_means_a_refused_account(given: Answer, wanted: type[SiteError], status: int) -> None:
    assert type(refusal(given, TOKEN)) is {
        SessionRefused: AccountExpired,
        RequestRefused: AccountExpired,
        ConversationUnknown: UpstreamChanged,
    }.get(wanted, wanted)


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        (CHAT, ConversationUnknown),
        (FILE, AttachmentRefused),
        (NOTHING, UpstreamChanged),
        (TOKEN, UpstreamChanged),
    ],
)
def test_what_is_not_found_is_what_the_call_named(named: Named, wanted: type[SiteError]) -> None:
    error = refusal(answer(said("not_found", "no such thing"), 404), named)
    assert type(error) is wanted
    # What says that the site has changed is logged, and the site's words may quote the client's.
    assert ("no such thing" in error.message) is (wanted is not UpstreamChanged)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("token is missing", refusals.EXPIRED),
        ("oasis-token is embezzled", refusals.DEVICE),
        ("token is illegal", refusals.HALVES),
    ],
)
def test_what_the_client_is_told_to_do(message: str, told: str) -> None:
    assert refusal(answer(said("unauthenticated", message), 401), TOKEN).message == told


def test_the_words_of_the_site_are_passed_on() -> None:
    error = refusal_in(said("resource_exhausted", "request too\nfrequent, \ud83d" + "x" * 300), CHAT)
    assert error.message.startswith("The site says: [resource_exhausted] request too frequent, �x")
    assert len(error.message) < 300
    assert refusal_in(said("internal", None), CHAT).message == "The site says: [internal]"


def test_a_limit_says_how_long() -> None:
    assert refusal(answer(said("resource_exhausted"), 429, Retry_After="30"), CHAT).retry_after == 30
    assert refusal(answer(said("resource_exhausted"), 429, Retry_After="tomorrow"), CHAT).retry_after is None
    assert refusal(answer(b"slow", 429, "text/plain", Retry_After="7"), CHAT).retry_after == 7


@pytest.mark.parametrize("body", [{}, {"chatId": "1"}, {"code": 5}, {"code": ""}, {"code": None}])
def test_a_code_that_is_no_text_is_no_error(body: dict[str, Any]) -> None:
    assert accepted(answer(body), NOTHING) == body
    assert accepted(answer({"error": body}), NOTHING) == {"error": body}


@pytest.mark.parametrize("given", [case for case, _, _ in REFUSED if case.body not in (b'{"chatId":"1"}',)])
def test_what_is_not_accepted(given: Answer) -> None:
    for named in (CHAT, NOTHING, TOKEN, FILE):
        with pytest.raises(type(refusal(given, named))):
            accepted(given, named)


@pytest.mark.parametrize("given", [answer(b""), answer(b"", 204), answer({}), answer({"code": 0})])
def test_what_is_done(given: Answer) -> None:
    done(given, CHAT)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (answer(b"", 401), SessionRefused),
        (answer(b"", 500), UpstreamUnavailable),
        (answer(said("not_found")), ConversationUnknown),
        (answer(PAGE), UpstreamUnavailable),
        (answer(b"ok"), UpstreamChanged),
    ],
)
def test_what_is_not_done(given: Answer, wanted: type[SiteError]) -> None:
    with pytest.raises(wanted):
        done(given, CHAT)


def test_a_text_that_must_be_there() -> None:
    assert text_of({"id": "7"}, "rid", "id") == "7"
    for value in ({}, {"id": ""}, {"id": True}):
        with pytest.raises(UpstreamChanged, match="`rid`"):
            text_of(value, "rid", "id")


@pytest.mark.parametrize(
    "given", [answer(b""), answer({}), answer({"result": None}), answer({"result": "RESULT_CODE_SUCCESS"})]
)
def test_a_switch_that_went_well(given: Answer) -> None:
    switched(given)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (answer({"result": "RESULT_CODE_FAILED"}), RequestRefused),
        (answer(said("not_found")), UpstreamChanged),
        (answer(b"", 401), SessionRefused),
        (answer({}, 401), SessionRefused),
        (answer(PAGE), UpstreamUnavailable),
    ],
)
def test_a_switch_that_did_not(given: Answer, wanted: type[SiteError]) -> None:
    with pytest.raises(wanted):
        switched(given)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"fileStatus": 1, "needFurtherCall": True}, True),
        ({"fileStatus": 2, "needFurtherCall": False}, False),
        ({"fileStatus": 2}, False),
        ({}, False),
    ],
)
def test_whether_a_file_is_being_read(status: dict[str, Any], wanted: bool) -> None:
    assert still_reading(answer(status)) is wanted


@pytest.mark.parametrize("status", [[1], {}, "2", "FILE_STATUS_SUCCESS", 2.0, None, True])
@pytest.mark.parametrize("again", [True, False])
def test_a_state_of_another_form_says_nothing(status: Any, again: bool) -> None:
    assert still_reading(answer({"fileStatus": status, "needFurtherCall": again})) is again


@pytest.mark.parametrize("status", [12, 22, 59, 404, "12", 404.0])
@pytest.mark.parametrize("again", [True, False])
def test_a_file_that_could_not_be_read(status: Any, again: bool) -> None:
    with pytest.raises(AttachmentRefused):
        still_reading(answer({"fileStatus": status, "needFurtherCall": again}))


@pytest.mark.parametrize("status", [200, 404])
def test_a_file_that_the_site_does_not_know(status: int) -> None:
    with pytest.raises(AttachmentRefused):
        still_reading(answer(said("not_found", "file"), status))
