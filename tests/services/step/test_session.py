"""Account tokens, and what they are exchanged for."""

import base64
from typing import Any

import pytest

from services.step.session import StepCredential, exchanged, is_guest, read_credential
from shared.errors import AccountExpired
from shared.tokens import claims
from tests.simulators.step_state import jwt

DEVICE = "267bcc81a01c2032a11a3fc6ec3e372c380eb9d1"
REFRESH = jwt({"app_id": 10200, "device_id": DEVICE, "platform": "web"})
ACCESS = jwt({"activated": True, "mode": 2})
HUGE = base64.urlsafe_b64encode(b'{"exp": 1%b}' % (b"0" * 400)).decode().rstrip("=")
NOW = 1_795_240_436.0


@pytest.mark.parametrize(
    ("token", "device", "pair"),
    [
        ("D@A0...R0", "D", "A0...R0"),
        (f"{DEVICE}@{ACCESS}...{REFRESH}", DEVICE, f"{ACCESS}...{REFRESH}"),
        (f' "{DEVICE}" @ {ACCESS}...{REFRESH} ', DEVICE, f"{ACCESS}...{REFRESH}"),
        ("D@A0...R0@rest@", "D", "A0...R0"),
        (f"{ACCESS}...{REFRESH}", DEVICE, f"{ACCESS}...{REFRESH}"),
        (f"@{ACCESS}...{REFRESH}", DEVICE, f"{ACCESS}...{REFRESH}"),
    ],
)
def test_tokens_are_taken_apart(token: str, device: str, pair: str) -> None:
    credential = read_credential(token)
    assert (credential.device, credential.pair) == (device, pair)
    assert read_credential(credential.token) == credential
    assert pair not in repr(credential)


@pytest.mark.parametrize(
    "token",
    ["", "@", "D@", "A0...R0", "eyJ.A.A", f"{ACCESS}...{ACCESS}", "D@A0; x=1", "D d@A0...R0", "D@A 0", '"@"', "x.!.y"],
)
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(AccountExpired, match="deviceId"):
        read_credential(token)


def pair(access: Any = "A1", refresh: Any = "R1", **more: Any) -> dict[str, Any]:
    return {"accessToken": {"raw": access, **more}, "refreshToken": {"raw": refresh}}


OWN = StepCredential("D@A0...R0", "D", "A0...R0")


def test_a_pair_is_the_session_and_the_newest_credential() -> None:
    session, newest = exchanged(pair(duration=900), OWN, now=NOW, lifetime=5)
    assert (session.pair, session.device, session.guest) == ("A1...R1", "D", False)
    assert newest == read_credential("D@A1...R1")
    assert "A1...R1" not in repr((session, newest))


@pytest.mark.parametrize(
    ("access", "duration", "seconds"),
    [
        ("A1", 1000, 900),
        ("A1", 1000.5, 900.45),
        ("A1", "1000", 900),
        ("A1", "1000s", 900),
        ("A1", "1000.25s", 900),
        ("A1", None, 450),
        ("A1", 0, 450),
        ("A1", -5, 450),
        ("A1", "soon", 450),
        ("A1", {}, 450),
        (jwt({"exp": NOW + 2000}), None, 1800),
        (jwt({"exp": NOW + 2000}), 1000, 900),
        # By a clock that is not ours.
        (jwt({"exp": NOW - 2000}), None, 450),
        (jwt({"exp": "never"}), None, 450),
        (f"e30.{HUGE}.x", None, 9e8),
        ("A1", 10**400, 9e8),
    ],
)
def test_how_long_a_session_lives(access: str, duration: Any, seconds: float) -> None:
    session, _ = exchanged(pair(access, duration=duration), OWN, now=NOW, lifetime=500)
    assert session.expires_at - NOW == pytest.approx(seconds)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        pair(""),
        pair("A1\n"),
        pair(refresh=""),
        pair(None),
        {"accessToken": {"raw": "A1"}},
        {"accessToken": "A1"},
        {"data": []},
    ],
)
def test_no_pair_is_no_session(payload: dict[str, Any]) -> None:
    with pytest.raises(AccountExpired):
        exchanged(payload, OWN, now=NOW, lifetime=500)


def test_a_guest_in_the_place_of_a_user_is_refused() -> None:
    guest = jwt({"activated": False, "mode": 1})
    with pytest.raises(AccountExpired, match="nobody"):
        exchanged(pair(guest), OWN, now=NOW, lifetime=500)
    own = read_credential(f"D@{guest}...R0")
    session, _ = exchanged(pair(guest), own, now=NOW, lifetime=500)
    assert session.guest


@pytest.mark.parametrize(
    ("payload", "cookies", "token"),
    [
        (pair(refresh=REFRESH), None, f"D@A1...{REFRESH}"),
        (pair(refresh=REFRESH), {}, f"{DEVICE}@A1...{REFRESH}"),
        (pair(), {}, "D@A1...R1"),
        (pair(), {"Oasis-Webid": "D2"}, "D2@A1...R1"),
        (pair(refresh=REFRESH), {"Oasis-Webid": "D2"}, f"D2@A1...{REFRESH}"),
        (pair(), {"Oasis-Token": "A2...R2"}, "D@A1...R1"),
        (pair(), {"Oasis-Token": "A2...R2", "Oasis-Webid": "D2"}, "D2@A2...R2"),
        ({}, {"Oasis-Token": "A2...R2"}, "D@A2...R2"),
        ({}, {"Oasis-Token": f"A2...{REFRESH}"}, f"{DEVICE}@A2...{REFRESH}"),
        ({}, {"Oasis-Token": "A2...R2", "Oasis-Webid": "D2"}, "D2@A2...R2"),
        ({"accessToken": {"duration": 1000}}, {"Oasis-Token": "A2...R2"}, "D@A2...R2"),
        # What is taken back, or cannot be read.
        (pair(), {"Oasis-Token": "", "Oasis-Webid": ""}, "D@A1...R1"),
        (pair(), {"Oasis-Token": "A2", "Oasis-Webid": "D2"}, "D2@A1...R1"),
        (pair(), {"Oasis-Token": "A2...", "Oasis-Webid": "D 2"}, "D@A1...R1"),
        (pair(), {"Oasis-Token": "A2...R@2", "Oasis-Webid": "D2@"}, "D@A1...R1"),
    ],
)
def test_a_pair_and_its_device(payload: dict[str, Any], cookies: dict[str, str] | None, token: str) -> None:
    session, newest = exchanged(payload, OWN, now=NOW, lifetime=500, cookies=cookies)
    assert newest == read_credential(token)
    assert (session.device, session.pair) == (newest.device, newest.pair)
    assert session.pair not in repr((session, newest))
    assert session.expires_at - NOW == pytest.approx(900 if "duration" in payload.get("accessToken", {}) else 450)


@pytest.mark.parametrize("cookies", [None, {}, {"Oasis-Webid": "D2"}, {"Oasis-Token": "A2"}, {"Oasis-Token": "...R2"}])
def test_cookies_that_are_no_pair(cookies: dict[str, str] | None) -> None:
    with pytest.raises(AccountExpired):
        exchanged({}, OWN, now=NOW, lifetime=500, cookies=cookies)


def test_a_guest_in_a_cookie_is_refused_too() -> None:
    guest = jwt({"activated": False})
    with pytest.raises(AccountExpired, match="nobody"):
        exchanged({}, OWN, now=NOW, lifetime=500, cookies={"Oasis-Token": f"{guest}...R2"})


@pytest.mark.parametrize("text", ["", "A0", "a.b.c", "..", "a.W10.c", "a.bnVsbA.c", "a.é.c", "a.b"])
def test_what_says_nothing(text: str) -> None:
    assert claims(text) == {}
    assert not is_guest(text)
