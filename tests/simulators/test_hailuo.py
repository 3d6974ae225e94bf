"""The fake hailuoai.com objects to what the site objects to."""

import time
from collections.abc import Callable

import pytest
from multidict import CIMultiDict

from tests.simulators import hailuo_checks as checks
from tests.simulators import hailuo_sounds as sounds
from tests.simulators.base import Call
from tests.simulators.hailuo import HailuoSite

UUID = "8f1d6a40-daaf-11ef-9b1c-2b6f5c0a7e11"
TRACE = UUID.replace("-", "")
DEVICE = "242935159979966466"

Change = Callable[[Call], None]


def user_call(site: HailuoSite) -> Call:
    """A right call of a registered device."""
    token = site.account("ann")
    site.accounts["ann"].device = (UUID, DEVICE)
    unix = f"{int(time.time())}000"
    query = f"{checks.BEFORE_UUID}&uuid={UUID}&device_id={DEVICE}&{checks.AFTER_DEVICE}&unix={unix}"
    path = "/v1/api/user/info"
    headers = CIMultiDict(
        {
            **checks.CONSTANT_HEADERS,
            "Accept": "*/*",
            "Accept-Encoding": "gzip, br",
            "Content-Type": "application/json",
            "Referer": "https://hailuoai.com/",
            "Token": token,
            "Baggage": "sentry-environment=production,sentry-release=CI7N-1MjJnx5pru-bzzhR,"
            f"sentry-public_key=6cf106db5c7b7262eae7cc6b411c776a,sentry-trace_id={TRACE},"
            "sentry-sample_rate=1,sentry-sampled=true",
            "Sentry-Trace": f"{TRACE}-{TRACE[16:]}-1",
            "Yy": checks.signature(f"{path}?{query}", "{}", unix),
        }
    )
    return Call("GET", "https", checks.SITE, path, query, headers, b"{}")


def header(name: str, value: str | None) -> Change:
    def change(call: Call) -> None:
        call.headers.pop(name, None)
        if value is not None:
            call.headers[name] = value

    return change


def query(old: str, new: str) -> Change:
    def change(call: Call) -> None:
        assert old in call.query
        call.query = call.query.replace(old, new)

    return change


def body(data: bytes) -> Change:
    def change(call: Call) -> None:
        call.body = data

    return change


WRONG: dict[str, tuple[Change, str]] = {
    "signature": (header("Yy", "0" * 32), "Yy is wrong"),
    "no signature": (header("Yy", None), "Yy is missing"),
    "a cookie": (header("Cookie", "a=b"), "Cookie does not belong here"),
    "another accept": (header("Accept", "text/html"), "Accept is"),
    "another type": (header("Content-Type", "text/plain"), "Content-Type"),
    "another referer": (header("Referer", "https://hailuoai.com"), "Referer"),
    "an encoding nobody knows": (header("Accept-Encoding", "lzma"), "Accept-Encoding"),
    "another trace": (header("Sentry-Trace", f"{TRACE}-{TRACE[:16]}-1"), "Sentry-Trace"),
    "no baggage": (header("Baggage", None), "Baggage"),
    "no body": (body(b""), "a body"),
    "another device": (query(DEVICE, "1"), "the query is"),
    "no device": (query(f"&device_id={DEVICE}", ""), "the query is"),
    "another order": (query("device_platform=web&app_id=3001", "app_id=3001&device_platform=web"), "the query is"),
    "an old time": (query("unix=", "unix=1"), "unix is"),
}


@pytest.mark.parametrize(("change", "wanted"), WRONG.values(), ids=WRONG)
def test_objections(change: Change, wanted: str) -> None:
    site = HailuoSite()
    call = user_call(site)
    change(call)
    site.respond(call)
    if wanted:
        assert call.outcome == "violation"
        assert any(wanted in text for text in site.violations)
    else:
        assert (call.outcome, site.violations) == ("ok", [])


def test_a_right_call() -> None:
    site = HailuoSite()
    call = user_call(site)
    site.respond(call)
    assert (call.outcome, site.violations) == ("ok", [])


def test_an_unknown_token_is_refused_without_a_violation() -> None:
    site = HailuoSite()
    call = user_call(site)
    call.headers["Token"] = "other"
    site.respond(call)
    assert (call.outcome, site.violations) == ("expired", [])


@pytest.mark.parametrize(
    "broken",
    [b"", b"--x\r\n", b"--x\r\nA: b\r\n\r\n1\r\n--x--\r\n", b'--x\r\nContent-Disposition: form-data; name="a"'],
)
def test_forms(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"form|field"):
        checks.form_of("multipart/form-data; boundary=x", broken)


def test_its_sounds() -> None:
    text = "早上好！今天天气很好，我们去公园吧。"
    assert "".join(sounds.parts(text)) == text
    assert sounds.heard(b"".join(map(sounds.sound, sounds.parts(text)))) == text
    assert sounds.heard(b"noise") is None
    assert len(sounds.frame(b"x" * 200)) == sounds.SIZE
