import re
from typing import Any

import pytest

from shared import redaction
from shared.errors import AccountBusy, ContentBlocked, UpstreamChanged, UpstreamUnavailable
from shared.redaction import TEXT_LIMIT, protect
from shared.upstream.connect import ConnectFrame
from shared.upstream.refusals import (
    code_of,
    is_page,
    kind_by_words,
    no_data,
    no_json,
    one_line,
    own_words,
    unknown_shape,
    unreadable,
    words_of,
)
from shared.upstream.sse import SseFrame
from tests.answers import site_answer

TABLE = ((re.compile("busy"), AccountBusy), (re.compile("bus|bad"), ContentBlocked))


@pytest.mark.parametrize(
    ("words", "kind"),
    [("busy", AccountBusy), ("a bus", ContentBlocked), ("bad", ContentBlocked), ("", None), ("x", None)],
)
def test_the_first_match_counts(words: str, kind: Any) -> None:
    assert kind_by_words(TABLE, words) is kind


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (" two\r\n words ", "two words"),
        ("长" * 500, "长" * 200),
        ("\ud83d", "\ufffd"),
        ("", ""),
        (" \n", ""),
        ("  <html>no", ""),
        ("a <b>", "a <b>"),
        (None, ""),
        (7, ""),
        (["a"], ""),
    ],
)
def test_own_words(value: Any, words: str) -> None:
    assert own_words(value) == words
    if isinstance(value, str) and "<html" not in value:
        assert one_line(value) == words


def test_a_token_that_is_quoted_is_masked_before_the_words_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", redaction._Secrets())
    token = "eyJ" + "x7Q" * 100
    protect(token)
    assert one_line(f"no user for {token}") == "no user for [redacted]"
    assert one_line("x" * TEXT_LIMIT + token) == "x" * 200


@pytest.mark.parametrize(
    ("body", "content_type", "page"),
    [
        (b"<html>", "", True),
        (b" \r\n<!doctype", "text/plain", True),
        (b"", "text/html", True),
        (b"oops", "application/xhtml+xml", True),
        (b"oops", "text/plain", False),
        (b"", "", False),
    ],
)
def test_pages(body: bytes, content_type: str, page: bool) -> None:
    assert is_page(site_answer(body, 200, content_type)) is page


@pytest.mark.parametrize(("body", "what"), [(b"<p>secret</p>", "a page"), (b"secret", "6 bytes"), (b"", "nothing")])
def test_what_came_instead_of_data_is_told_without_its_words(body: bytes, what: str) -> None:
    told = site_answer(body, 502, "text/plain")
    error = no_data(told)
    assert type(error) is UpstreamUnavailable
    assert f"answered with {what} (HTTP 502)" in error.message
    changed = no_json(told)
    assert isinstance(changed, UpstreamChanged)
    assert changed.shape == f"text/plain: {len(body)} bytes"
    assert "secret" not in error.message + changed.message


def test_an_unknown_shape_is_sketched() -> None:
    error = unknown_shape({"answer": "secret"})
    assert isinstance(error, UpstreamChanged)
    assert error.shape == "{answer str}"


@pytest.mark.parametrize("frame", [SseFrame("", b"{no"), ConnectFrame(False, b"{no")])
def test_frames_that_are_no_json(frame: Any) -> None:
    error = unreadable(frame)
    assert isinstance(error, UpstreamChanged)
    assert error.shape == "3 bytes"
    frame.whole = False
    assert type(unreadable(frame)) is UpstreamUnavailable


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"msg": "b", "message": "a"}, "a"),
        ({"message": " ", "msg": "b"}, "b"),
        ({"message": {"message": "inner"}}, "inner"),
        ({"message": {"text": "x"}, "msg": ["y"]}, ""),
        ({"message": "<html>", "msg": 5}, ""),
        ({}, ""),
    ],
)
def test_words_stand_under_the_first_name_that_has_some(told: Any, words: str) -> None:
    assert words_of(told, ("message", "msg")) == words


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, 0),
        (-7, -7),
        ("10006", 10006),
        ("-1", -1),
        (401.0, 401),
        (10**30, 10**30),
        (True, None),
        (0.5, None),
        (float("inf"), None),
        ("", None),
        ("1e3", None),
        ("²", None),
        ("9" * 19, None),
        (None, None),
        ([1], None),
    ],
)
def test_codes_may_be_written_as_texts(value: Any, code: int | None) -> None:
    assert code_of(value) == code
    assert type(code_of(value)) is type(code)
