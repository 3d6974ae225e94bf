from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import logs, redaction

JWT = "eyJmYWtl.eyJmYWtlIjoxfQ.fake-signature"
HEX = "0123456789abcdef" * 3
BASE64 = "QUJDRkFLRQ0KZmFrZSBmYWtlIGZha2UgZmFrZQ0+/xyz123=="


@pytest.fixture(autouse=True)
def _nothing_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", redaction._Secrets())


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        # Nothing to hide.
        ("answered 200 in 1.25 s", "answered 200 in 1.25 s"),
        ("GET /v1/chat/completions", "GET /v1/chat/completions"),
        ("chatcmpl-0123456789abcdef0123456789abcdef", "chatcmpl-0123456789abcdef0123456789abcdef"),
        ("account 0123456789ab cools down: 60 s", "account 0123456789ab cools down: 60 s"),
        ("shared/routes/some_long_directory_name/another_name", "shared/routes/some_long_directory_name/another_name"),
        ("https://fake.example/a/b", "https://fake.example/a/b"),
        # By looks.
        (f"got {JWT}.", "got [redacted]"),
        (f"device@{JWT} and user+{JWT} end", "device@[redacted] and user+[redacted] end"),
        (f"hex {HEX} end", "hex [redacted] end"),
        (f"base64 {BASE64} end", "base64 [redacted] end"),
        (f"data:image/png;base64,{BASE64}", "data:image/png;base64,[redacted]"),
        # URLs.
        ("https://fake.example/a?b=c&d=e end", "https://fake.example/a?... end"),
        ("https://fake.example/a#access=1 end", "https://fake.example/a#... end"),
        ("URL('http://me:pa@ss@fake.example:80/a?b')", "URL('http://[redacted]@fake.example:80/a?...')"),
        ("redis://:pw@fake.example/0", "redis://[redacted]@fake.example/0"),
        ("GET /a?sign=1&b=2 HTTP/1.1", "GET /a?... HTTP/1.1"),
        # Headers.
        ("Bearer one, two,three end", "Bearer [redacted] end"),
        ("bearer\tone", "bearer [redacted]"),
        ("Basic dTpw", "Basic [redacted]"),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: [redacted]\nHost: x"),
        ("Set-Cookie: a=b; Path=/", "Set-Cookie: [redacted]"),
        ("{'Cookie': 'a=b; c=d', 'Host': 'x'}", "{'Cookie': '[redacted]', 'Host': 'x'}"),
        ("<CIMultiDict('authorization': 'x y', 'A': 'x')>", "<CIMultiDict('authorization': '[redacted]', 'A': 'x')>"),
        ("((b'Cookie', b'a=b; c=d'), (b'Host', b'x'))", "((b'Cookie', '[redacted]'), (b'Host', b'x'))"),
        (f"Cookie: a={JWT}; c=d", "Cookie: [redacted]"),
        (f"Cookie: {JWT}; c=d", "Cookie: [redacted]"),
        ("<Morsel: sid=abc; Path=/>", "<Morsel: [redacted]"),
        # Names.
        ("token=abc&x=1", "token=[redacted]&x=1"),
        (f"token={JWT}|abc x=1", "token=[redacted] x=1"),
        ("chatglm_refresh_token: abc, x", "chatglm_refresh_token: [redacted], x"),
        ('{"accessToken":"a\\"b","x":1}', '{"accessToken":"[redacted]","x":1}'),
        (r'"{\"token\":\"abc\",\"x\":1}"', r'"{\"token\":\"[redacted]\",\"x\":1}"'),
        ("Session(expires_at=1, token='abc')", "Session(expires_at=1, token='[redacted]')"),
        ("tokens=['abc', 'def']", "tokens=[redacted]"),
        ("password = 'never closed", "password = '[redacted]'"),
        ("secret='ends in \\", "secret='[redacted]'\\"),
        ("api-key: abc; APIKEY=def; X-Api_Key=ghi", "api-key: [redacted]; APIKEY=[redacted]; X-Api_Key=[redacted]"),
        ("ticket=abc sessionId=def credential=ghi", "ticket=[redacted] sessionId=[redacted] credential=[redacted]"),
    ],
)
def test_texts_are_redacted(text: str, clean: str) -> None:
    redacted = redaction.redact(text)
    assert redacted == clean
    assert redaction.redact(redacted) == redacted


def test_the_parts_of_a_secret_are_secret() -> None:
    redaction.protect("123456-fakefakefakefake")
    assert redaction.redact("sid fakefakefakefake of 123456") == "sid [redacted] of 123456"
    assert redaction.redact("%66 123456%2Dfake") == "%66 123456%2Dfake"


def test_what_was_logged_before_is_masked_once_it_is_a_secret() -> None:
    assert redaction.redact("fake-account-1") == "fake-account-1"
    redaction.protect("fake-account-1")
    assert redaction.redact("fake-account-1") == "[redacted]"


def test_overlapping_secrets_leave_nothing() -> None:
    for secret in ("abcdefgh", "efghijkl", "abcdefghijklmnop", "abcdef"):
        redaction.protect(secret)
    assert redaction.redact("<abcdefghijklmnop> <abcdefghijkl> <abcdefg>") == "<[redacted]> <[redacted]> <[redacted]g>"


@given(
    st.lists(st.text("ab-", min_size=6, max_size=12), max_size=30),
    st.text("ab- ", max_size=60),
)
def test_few_or_many_secrets_none_is_left(secrets: list[str], text: str) -> None:
    registry = redaction._Secrets()
    for secret in secrets:
        registry.add(secret)
    masked = registry.mask(text)
    assert not [secret for secret in secrets if secret in masked.replace(redaction.MASK, "|")]
    assert masked == text or any(secret in text for secret in secrets)


def test_short_secrets_are_left_alone() -> None:
    redaction.protect("info")
    redaction.protect("")
    assert redaction.redact("info of it") == "info of it"


def test_the_oldest_secrets_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_SECRETS_LIMIT", 3)
    for secret in ("fake-1", "fake-2", "fake-3", "fake-1", "fake-4"):
        redaction.protect(secret)
    assert redaction.redact("fake-1 fake-2 fake-3 fake-4") == "[redacted] fake-2 [redacted] [redacted]"


def test_the_size_of_all_secrets_is_bounded() -> None:
    secrets = redaction._Secrets()
    for number in range(2000):
        secrets.add(f"{number:04}-" + "x" * 5000)
    assert secrets._size <= redaction._SECRETS_SIZE
    assert sum(map(len, secrets._by_tail)) <= 6 * sum(map(len, secrets._by_tail.values()))
    assert "[redacted]" in secrets.mask("1999-" + "x" * 5000)


def test_forgotten_secrets_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_SECRETS_LIMIT", 0)
    secrets = redaction._Secrets()
    secrets.add("one-fakefakefakefake")
    secrets.add("two-fakefakefakefake")
    assert (secrets._forms, secrets._by_tail, secrets._size) == ({}, {}, 0)


def test_long_texts_are_cut_without_leaving_half_a_secret() -> None:
    secret = "fake " + "y" * 100
    text = "x " * (redaction.TEXT_LIMIT // 2 - 20) + "y" * 100
    redaction.protect(secret)
    clean = redaction.redact(text)
    assert clean.endswith("x [cut]")
    assert len(clean) <= redaction.TEXT_LIMIT + 6
    assert redaction.redact("z" * (redaction.TEXT_LIMIT + 1)) == " [cut]"


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        ":",
        "?",
        "://",
        "token=",
        "token='",
        'token:\\"',
        "@a",
        "bearer ",
        "bearer a,",
        "=",
        "\\",
        " ",
        "eyJ",
        "cookie: [",
    ],
)
def test_no_text_makes_redaction_slow(unit: str) -> None:
    text = ("://bearer token='" + unit * redaction.TEXT_LIMIT)[: redaction.TEXT_LIMIT]
    # Quadratic work on this much text takes minutes: the suite's time-out is the measure.
    for _ in range(3):
        redaction.redact(text)


@pytest.mark.parametrize(
    ("value", "sketch"),
    [
        (None, "null"),
        (True, "bool"),
        ("words", "str"),
        ({}, "{0}"),
        ([], "[0]"),
        ({"code": 0, "data": {"parts": [{"text": "a"}, {}]}}, "{code int, data {parts [2 {text str}]}}"),
        ({"refresh_token": "a", "X-Id": 1.5}, "{refresh_token str, X-Id float}"),
        (
            {JWT: 1, "fake key": 1, "a1b2c3d4e5": 1, HEX: 1, "protected-word": 1, "": 1, 5: 1},
            "{" + ", ".join(["* int"] * 7) + "}",
        ),
        ([[[[[[1]]]]]], "[1 [1 [1 [1 [1]]]]]"),
        ({f"k{'x' * n}": n for n in range(20)}, "{" + ", ".join(f"k{'x' * n} int" for n in range(16)) + ", ...}"),
    ],
)
def test_a_shape_has_names_and_types_only(value: Any, sketch: str) -> None:
    redaction.protect("protected-word")
    assert logs.shape(value) == sketch
    assert redaction.redact(sketch) == sketch


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_every_shape_is_short(value: Any) -> None:
    assert 0 < len(logs.shape(value)) <= 600


@given(st.text() | st.text("eyJ:=?'\"\\/@ ,tokenbar[]{}()&#.1aA-", max_size=80))
def test_redaction_takes_every_text(text: str) -> None:
    assert isinstance(redaction.redact(text), str)
