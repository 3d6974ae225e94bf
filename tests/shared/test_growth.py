"""Frames read by what is new of them: what `Growth` says must be what reading both frames whole would say."""

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream import growth
from shared.upstream.growth import Growth

PLACE = ("parts", 0, "text")


def frame(text: str, *, escaped: bool = False, **more: Any) -> bytes:
    value = {"id": "x", "parts": [{"type": "text", "text": text, "status": "init"}], "status": "init", **more}
    return json.dumps(value, ensure_ascii=escaped, separators=(",", ":")).encode("utf-8", "surrogatepass")


def learned(text: str, data: bytes | None = None) -> Growth:
    place = Growth()
    place.learn(frame(text) if data is None else data, len(text), text[-8:], PLACE)
    return place


@pytest.mark.parametrize("escaped", [False, True])
def test_a_text_that_grows(escaped: bool) -> None:
    texts = ["天", "天气", '天气"好"', '天气"好"\\ \n😀', '天气"好"\\ \n😀' + "long " * 100]
    place = Growth()
    place.learn(frame(texts[0], escaped=escaped), 1, texts[0], PLACE)
    added = [place.added(frame(text, escaped=escaped)) for text in texts[1:]]
    assert added == [after[len(before) :] for before, after in pairwise(texts)]


def test_the_same_frame_again_adds_nothing() -> None:
    place = learned("ab")
    assert [place.added(frame("ab")), place.added(frame("abc")), place.added(frame("abc"))] == ["", "c", ""]


def test_nothing_is_known_before_it_was_learned() -> None:
    assert Growth().added(frame("ab")) is None


@pytest.mark.parametrize(
    "other",
    [
        frame("abX", id="y"),
        frame("abX", status="finish"),
        frame("abX", last_error={}),
        frame("aX"),
        frame("a"),
        frame(""),
        frame('ab","text":"c').replace(rb"\"", b'"'),
        frame("ab\\").replace(rb"\\", b"\\"),
        frame("abX").replace(b"X", b"\n"),
        frame("abX").replace(b"X", b"\xff"),
        frame("abX").replace(b"X", rb"\ud83d"),
        frame("abX").replace(b"X", rb"\ude00"),
        frame("abX")[:-1],
        b"X" + frame("ab").partition(b"ab")[2],
        frame("abX") + b" ",
        b"",
        b"ab",
    ],
)
def test_a_frame_that_says_anything_else_has_to_be_read(other: bytes) -> None:
    place = learned("ab")
    assert place.added(other) is None
    # What it said is not known here: the place is not either.
    assert place.added(frame("abc")) is None


def test_a_frame_in_which_the_beginning_and_the_end_overlap() -> None:
    place = Growth()
    place.learn(rb'["a\""]', 2, 'a"', (0,))
    assert place.added(rb'["a\"b"]') == "b"
    place = Growth()
    place.learn(rb'["a\""]', 2, 'a"', (0,))
    assert place.added(rb'["a\"]') is None


def test_the_end_of_the_text_may_stand_elsewhere_too() -> None:
    place = learned("ab", frame("ab", same="ab"))
    # Put there, a character would not be the text's: nothing was learned.
    assert place.added(frame("abc", same="ab")) is None
    assert learned("init").added(frame("init it is")) is None


def test_a_text_that_is_not_where_it_was_said_to_be() -> None:
    for place in (("parts", 1, "text"), ("parts", 0, "other"), ("id", 0, "text"), (0,)):
        looking = Growth()
        looking.learn(frame("ab"), 2, "ab", place)
        assert looking.added(frame("abc")) is None


def test_places_of_no_use_are_not_looked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Growth()
    looked = 0

    def prove(*_: Any) -> None:
        nonlocal looked
        looked += 1

    monkeypatch.setattr(place, "_prove", prove)
    for number in range(10):
        assert place.added(frame("ab", number=number)) is None
        place.learn(frame("ab", number=number), 2, "ab", PLACE)
    assert looked == growth._TRUST


def test_a_place_that_was_of_use_is_looked_for_again() -> None:
    place = Growth()
    for number in range(10):
        place.learn(frame("ab", number=number), 2, "ab", PLACE)
        assert place.added(frame("abc", number=number)) == "c"
        assert place.added(frame("abcd", number=number + 1)) is None


TEXTS = st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(
    ["\\", '"', "ab", "init", '","', "}"]
)


@given(st.lists(TEXTS, min_size=1, max_size=6), st.booleans(), st.data())
def test_what_is_said_to_be_added_is_all_that_has_changed(texts: list[str], escaped: bool, data: st.DataObject) -> None:
    place = Growth()
    before: Any = None
    text = ""
    for more in texts:
        text += more
        sent = bytearray(frame(text, escaped=escaped))
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(sent) - 1))
            sent[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        added = place.added(bytes(sent))
        try:
            value = orjson.loads(sent)
        except ValueError:
            assert added is None
            continue
        if added is not None:
            before["parts"][0]["text"] += added
            assert value == before
        else:
            try:
                found = value["parts"][0]["text"]
                place.learn(bytes(sent), len(found), found[-8:], PLACE)
            except (LookupError, TypeError):
                place = Growth()
        before = value
