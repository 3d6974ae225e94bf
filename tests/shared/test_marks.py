import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.deltas import Cite, Delta, Text
from shared.marks import Marks, MarkStyle

LENTICULAR = MarkStyle(
    whole=re.compile(r"【(\d{1,3})†源】|【(turn\d)】"),
    begun=re.compile(r"【(?:\d{1,3}(?:†源?)?|t(?:u(?:r(?:n\d?)?)?)?)?"),
    opener="【",
    longest=7,
)
BRACKETS = MarkStyle(
    whole=re.compile(r"\[\[(\d{1,2})\]\]"),
    begun=re.compile(r"\[(?:\[(?:\d{1,2}\]?)?)?"),
    opener="[",
    longest=6,
)
TAGS = MarkStyle(
    whole=re.compile(r"<web_(\d{1,2})>"),
    begun=re.compile(r"<(?:w(?:e(?:b(?:_(?:\d{1,2})?)?)?)?)?"),
    opener="<",
    longest=8,
)
STYLES = {"lenticular": LENTICULAR, "brackets": BRACKETS, "tags": TAGS}


def merged(pieces: list[Delta]) -> list[Delta]:
    out: list[Delta] = []
    for piece in pieces:
        if isinstance(piece, Text) and out and isinstance(out[-1], Text):
            out[-1] = Text(out[-1].text + piece.text)
        else:
            out.append(piece)
    return out


def split(style: MarkStyle, pieces: list[str]) -> list[Delta]:
    marks = Marks(style)
    out: list[Delta] = []
    for piece in pieces:
        out += marks.feed(piece)
    return out + marks.flush()


def plain(pieces: list[Delta]) -> str:
    return "".join(piece.text if isinstance(piece, Text) else "mark" for piece in pieces)


CASES = [
    (LENTICULAR, "", []),
    (LENTICULAR, "plain", [Text("plain")]),
    (LENTICULAR, "晴【1†源】。", [Text("晴"), Cite("1"), Text("。")]),
    (LENTICULAR, "【12†源】【turn0】", [Cite("12"), Cite("turn0")]),
    (LENTICULAR, "【【1†源】】", [Text("【"), Cite("1"), Text("】")]),
    (LENTICULAR, "【1234†源】", [Text("【1234†源】")]),
    (LENTICULAR, "【1†", [Text("【1†")]),
    (LENTICULAR, "【标题】", [Text("【标题】")]),
    (BRACKETS, "引擎[[1]]，[a](b) [[2]][[10]]", [Text("引擎"), Cite("1"), Text("，[a](b) "), Cite("2"), Cite("10")]),
    (BRACKETS, "[[[1]]]", [Text("["), Cite("1"), Text("]")]),
    (BRACKETS, "[[1]", [Text("[[1]")]),
    (TAGS, "a<web_1>b<web_22><p>", [Text("a"), Cite("1"), Text("b"), Cite("22"), Text("<p>")]),
]  # fmt: skip


@pytest.mark.parametrize(("style", "text", "wanted"), CASES)
def test_the_same_for_every_cut(style: MarkStyle, text: str, wanted: list[Delta]) -> None:
    assert split(style, [text]) == wanted
    for at in range(len(text) + 1):
        for upto in range(at, len(text) + 1):
            assert merged(split(style, [text[:at], text[at:upto], text[upto:]])) == wanted
    assert merged(split(style, list(text))) == wanted


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(data=st.data())
def test_every_character_leaves_once_whatever_the_cuts(style: MarkStyle, data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.text(alphabet="【】†源turn[]<web_>12", max_size=9)))
    whole = merged(split(style, ["".join(pieces)]))
    assert merged(split(style, pieces)) == whole
    assert "".join(p.text for p in whole if isinstance(p, Text)) == style.whole.sub("", "".join(pieces))


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(text=st.text(alphabet="【】†源turn[]<web_>12", max_size=12))
def test_begun_matches_every_beginning_of_a_mark(style: MarkStyle, text: str) -> None:
    mark = style.whole.search(text)
    if mark is not None:
        assert len(mark[0]) <= style.longest
        assert all(style.begun.fullmatch(mark[0][:end]) for end in range(1, len(mark[0])))


def test_what_cannot_become_a_mark_is_not_held() -> None:
    marks = Marks(LENTICULAR)
    assert marks.feed("a【") == [Text("a")]
    assert marks.feed("标") == [Text("【标")]
    assert marks.feed("【1†") == []
    assert marks.flush() == [Text("【1†")]
    assert marks.flush() == []


def test_a_key_can_be_made() -> None:
    style = MarkStyle(BRACKETS.whole, BRACKETS.begun, "[", 6, key=lambda match: f"source {match[1]}")
    assert split(style, ["[[3]]"]) == [Cite("source 3")]


@pytest.mark.parametrize("hostile", ["[" * 300_000, "[[1" * 100_000, "[[" + "1" * 300_000])
def test_linear_time(hostile: str) -> None:
    """With work that grew faster than the text, none of these would end before the test's time-out."""
    assert plain(split(BRACKETS, [hostile])) == hostile
    assert plain(split(BRACKETS, list(hostile[:50_000]))) == hostile[:50_000]
