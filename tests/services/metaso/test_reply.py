from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metaso.reply import Label, MetasoDecoder
from shared.deltas import Cite, Delta, Failed, Finish, Reference, Text, Unknown
from shared.errors import AccountLimited, AddressLimited, UpstreamChanged, UpstreamUnavailable
from shared.upstream.sse import SseFramer
from tests.decoding import counted, decoded

WORKED = """\
data:{"type":"query","data":["秘塔AI","Metaso AI search"]}

data:{"type":"set-reference","list":[{"index":1,"title":"秘塔AI搜索_百度百科","link":"https://baike.example.com/item/metaso"}]}

data:{"type":"heartbeat"}

data:{"type":"append-text","text":"秘塔AI搜索是一款"}

data:{"type":"append-text","text":"AI 搜索引擎[[1]]，无广告 🔍"}

data:{"type":"append-text","text":"，直达结果[[2]][[10]]。\\n"}

data:{"type":"append-text","text":"1. **Metaso** answers with sources.\\n"}

data:[DONE]

"""
WORKED_TEXT = (
    "<1 秘塔AI搜索_百度百科 https://baike.example.com/item/metaso>秘塔AI搜索是一款AI 搜索引擎[1]，无广告 🔍"
    "，直达结果[2][10]。\n1. **Metaso** answers with sources.\n"
)
LABEL = '<span style="color: #999; font-size: 12px">[AI生成]</span>'


def decode(pieces: Iterable[bytes]) -> list[Delta]:
    """All deltas of a body that arrives in these pieces, up to the last one that counts."""
    return counted(decoded(pieces, SseFramer(), MetasoDecoder()))


def told(deltas: Iterable[Delta]) -> str:
    """What came, in order: text, `[key]` for a mark, `<key title url>` for a source, `{...}` for the rest."""
    shown = ""
    for delta in deltas:
        match delta:
            case Text(text):
                assert text
                shown += text
            case Cite(key):
                shown += f"[{key}]"
            case Reference(key, title, url):
                shown += f"<{key} {title} {url}>"
            case Unknown(kind):
                shown += f"{{?{kind}}}"
            case Finish():
                shown += "{end}"
            case Failed(error):
                shown += f"{{{type(error).__name__}}}"
            case _:
                raise AssertionError(delta)
    return shown


def text(*pieces: str) -> bytes:
    return events(*({"type": "append-text", "text": piece} for piece in pieces))


def events(*values: Any) -> bytes:
    return b"".join(b"data:" + orjson.dumps(value) + b"\n\n" for value in values)


def refer(kind: str, *entries: Any) -> bytes:
    return events({"type": f"{kind}-reference", "list": list(entries)})


def source(name: str, index: Any = None) -> dict[str, Any]:
    numbered = {} if index is None else {"index": index}
    return {**numbered, "title": name, "link": f"https://{name}.example/"}


def shown(*named: tuple[int, str]) -> str:
    return "".join(f"<{number} {name} https://{name}.example/>" for number, name in named)


DONE = b"data:[DONE]\n\n"
A, B, C = source("a"), source("b"), source("c")

BODIES: dict[str, tuple[bytes, str]] = {
    "worked": (WORKED.encode(), WORKED_TEXT + "{end}"),
    "no end": (text("a", "b"), "ab"),
    "nothing": (b"", ""),
    "an end without its blank line": (text("a") + b"data:[DONE]", "a{end}"),
    "a last event without its blank line": (text("a") + b'data: {"type":"append-text","text":"b"}', "ab"),
    "half an event": (text("a") + b'data:{"type":"append-text","te', "a{UpstreamUnavailable}"),
    "half an end": (text("a") + b"data:[DON", "a{UpstreamUnavailable}"),
    "what is not data": (b": ping\nretry: 3\nid: 7\nevent: x\n" + text("a") + DONE, "a{end}"),
    "half an event without data": (text("a") + b"data:", "a{UpstreamUnavailable}"),
    "empty data": (b"data:\n\ndata: \n\ndata\n\n" + text("a") + DONE, "a{end}"),
    "an end between spaces": (text("a") + b"data:  [DONE] \n\n", "a{end}"),
    "several lines of data": (b'data:{"type":"append-text",\ndata:"text":"a"}\n\n' + DONE, "a{end}"),
    "what comes after the end": (text("a") + DONE + text("b") + DONE, "a{end}"),
    "odd texts": (
        events({"type": "append-text"}, {"type": "append-text", "text": None}, {"type": "append-text", "text": 7})
        + text("", "a"),
        "{?malformed text}a",
    ),
    "quiet and unknown events": (
        events(
            {"type": "answer-link-num-highlights", "data": [1]},
            {"type": "recommended-question", "data": ["?"]},
            {"type": "weather-card"},
            {"type": 7},
            {},
            [1],
            "x",
            7,
        )
        + text("a"),
        "{?weather-card}" + "{?event without a type}" * 2 + "{?malformed event}" * 3 + "a",
    ),
    "half characters": (
        b'data:{"type":"append-text","text":"a\\ud83d"}\n\n'
        b'data:{"type":"heartbeat"}\n\n'
        b'data:{"type":"append-text","text":"\\udd0db\\udc00c"}\n\n'
        b'data:{"type":"append-text","text":"\\ud83d"}\n\n',
        "a🔍b\ufffdc\ufffd",
    ),
    "an error at once": (
        events({"type": "error", "code": 4001, "msg": "搜索次数超出限制"}) + DONE,
        "{AccountLimited}",
    ),
    "an error later": (
        text("a[") + events({"type": "error", "code": 5000, "msg": "?"}) + text("b") + DONE,
        "a[{SiteError}",
    ),
    "a refusal as an event": (events({"errCode": 401, "errMsg": "请先登录"}), "{SessionRefused}"),
    "no refusal": (events({"errCode": 0, "type": "append-text", "text": "a"}), "a"),
    "a limit": (b"data:[TOO_MANY_REQUESTS]\n\n\n\ndata:[DONE]\n\n", "{AddressLimited}"),
    "a limit later": (text("a") + b"data: [TOO_MANY_REQUESTS]", "a{AddressLimited}"),
    "no JSON": (text("a") + b"data:hello\n\n" + text("b"), "a{UpstreamChanged}"),
    "marks between events": (
        text("a[", "[", "1", "2", "]", "]b[[3]", "]", "[[4]", "x", "[[", "]]", "[[[5]]]", "[[x]]", "[[6"),
        "a[12]b[3][[4]x[[]][[5]][[x]][[6",
    ),
    "marks of many digits": (text("[[123456789]][[1234567890]][[007]]"), "[123456789][[1234567890]][7]"),
    "sources before the text": (refer("set", A, B) + text("x"), shown((1, "a"), (2, "b")) + "x"),
    "sources without a text": (refer("set", A) + DONE, shown((1, "a")) + "{end}"),
    "sources after the text": (text("x[[1]]") + refer("set", A) + DONE, "x[1]" + shown((1, "a")) + "{end}"),
    "a list replaced": (refer("set", A, B) + refer("set", C) + text("x"), shown((1, "c")) + "x"),
    "a list emptied": (refer("set", A) + refer("set") + text("x"), "x"),
    "a list replaced too late": (
        refer("set", A) + text("x") + refer("set", C) + text("y"),
        shown((1, "a")) + "x" + shown((1, "c")) + "y",
    ),
    "a list made longer": (
        refer("set", A) + text("x") + refer("update", B) + text("y") + refer("update", C),
        shown((1, "a")) + "x" + shown((2, "b")) + "y" + shown((3, "c")),
    ),
    "a list given again, longer": (
        refer("set", A, B) + text("x") + refer("update", A, B, C) + text("y"),
        shown((1, "a"), (2, "b")) + "x" + shown((3, "c")) + "y",
    ),
    "a list by updates alone": (refer("update", A) + refer("update", B) + text("x"), shown((1, "a"), (2, "b")) + "x"),
    "numbers of their own": (
        refer("set", source("a", 2), source("b", "1")) + refer("update", source("c", 5), source("d")) + text("x"),
        shown((1, "b"), (2, "a"), (5, "c"), (6, "d")) + "x",
    ),
    "numbers that are none": (
        refer("set", source("a", 0), source("b", -1), source("c", "x"), source("d", True), source("e", "9" * 30)),
        shown((1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")),
    ),
    "numbers from zero": (
        refer("set", source("a", 0), source("b", 1), source("c", "2")) + text("x") + refer("update", source("d", 3)),
        shown((1, "a"), (2, "b"), (3, "c")) + "x" + shown((4, "d")),
    ),
    "numbers from zero, not in order": (
        refer("set", source("b", 1), source("a", 0), C) + refer("set", source("b", 1)) + text("x"),
        shown((1, "b")) + "x",
    ),
    "a known source and a new one": (
        refer("set", A, B, C) + text("x") + refer("update", B, source("d")) + refer("update", source("d"), A),
        shown((1, "a"), (2, "b"), (3, "c")) + "x" + shown((4, "d")),
    ),
    "a list given again with a hole in it": (
        refer("set", A, {"title": "x"}, C) + text("x") + refer("update", A, {"title": "x"}, C, source("d")),
        shown((1, "a"), (3, "c")) + "x" + shown((4, "d")),
    ),
    "one source twice": (refer("set", A, A, B) + text("x"), shown((1, "a"), (2, "a"), (3, "b")) + "x"),
    "a source said better": (
        refer("set", source("a", 1)) + text("x") + refer("update", {**source("a", 1), "title": "A"}),
        shown((1, "a")) + "x<1 A https://a.example/>",
    ),
    "other names of fields": (
        refer(
            "set",
            {"name": "a", "url": "http://a"},
            {"title": " ", "name": "b\n b", "link": "", "href": " https://b ", "snippet": 7, "date": None},
            {"link": "/c", "url": "https://c"},
        ),
        "<1 a http://a><2 b b https://b><3  https://c>",
    ),
    "sources without an address keep their number": (
        refer("set", {"title": "x"}, 7, None, {"link": "javascript:alert(1)"}, {"link": 7}, A),
        shown((6, "a")),
    ),
    "no list": (
        events({"type": "set-reference"}, {"type": "update-reference", "list": {}}),
        "{?malformed list}" * 2,
    ),
    "a label": (text("a。\n", LABEL) + DONE, "a。\n{end}"),
    "a label between events": (text("a<", "span ", LABEL[6:20], LABEL[20:-3], LABEL[-3:], " \n") + DONE, "a{end}"),
    "a label without attributes": (text("a<span>[AI生成]</span>"), "a"),
    "a label after a mark": (text(f"a[[1]]{LABEL}"), "a[1]"),
    "a label that is none": (text("a<span>[AI", "生成</span>", "<b>"), "a<span>[AI生成</span><b>"),
    "half a label": (text("a", LABEL[:-1]), "a" + LABEL[:-1]),
    "a label with more after it": (text(LABEL, "b"), LABEL + "b"),
    "two labels": (text(LABEL, LABEL), LABEL),
    "tags": (text("1 < 2 <", "<span>a</span> <spanner>"), "1 < 2 <<span>a</span> <spanner>"),
}  # fmt: skip
each_body = pytest.mark.parametrize(("body", "wanted"), BODIES.values(), ids=BODIES)


@each_body
def test_bodies(body: bytes, wanted: str) -> None:
    assert told(decode([body])) == wanted


@each_body
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_every_split_gives_the_same(body: bytes, wanted: str, line_end: bytes) -> None:
    data = body.replace(b"\n", line_end)
    for cut in range(len(data) + 1):
        assert told(decode([data[:cut], data[cut:]])) == wanted
    assert told(decode(bytes([byte]) for byte in data)) == wanted


def test_pairs_of_splits_of_the_transcript() -> None:
    data = WORKED.encode()
    for first in range(0, len(data), 5):
        for second in range(first, len(data), 11):
            assert told(decode(data[a:b] for a, b in pairwise((0, first, second, len(data))))) == WORKED_TEXT + "{end}"


def test_the_transcript_s_deltas() -> None:
    texts = [delta.text for delta in decode([WORKED.encode()]) if isinstance(delta, Text)]
    assert texts == [
        "秘塔AI搜索是一款",
        *("AI 搜索引擎", "，无广告 🔍"),
        *("，直达结果", "。\n"),
        "1. **Metaso** answers with sources.\n",
    ]


def test_errors_say_what_the_site_said() -> None:
    (failed,) = decode([BODIES["an error at once"][0]])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, AccountLimited)
    assert "搜索次数超出限制" in failed.error.message
    assert failed.error.retry_after is None
    (failed,) = decode([BODIES["a limit"][0]])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, AddressLimited)
    assert failed.error.retry_after == 300


def test_what_is_cut_off_is_not_what_has_changed() -> None:
    for name, kind in (("half an event", UpstreamUnavailable), ("no JSON", UpstreamChanged)):
        failed = decode([BODIES[name][0]])[-1]
        assert isinstance(failed, Failed)
        assert type(failed.error) is kind


@given(st.lists(st.sampled_from(["a", "[", "]", "[[", "]]", "1", "23", "<", "<span", ">", LABEL, "\n", "[[4]]"])))
def test_how_a_text_is_cut_does_not_matter(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert told(decode([text(*pieces)])) == told(decode([text(whole)])) == told(decode([text(*whole)]))


@given(st.text("<span> [AI生成]/x\n=", max_size=60))
def test_a_label_is_taken_off_the_end_and_nothing_else_is(said: str) -> None:
    for tail in ("", LABEL, LABEL + "\n"):
        label = Label()
        left = "".join(map(label.feed, said + tail)) + label.flush()
        assert left == said or (not tail and left == said.rstrip().removesuffix("<span>[AI生成]</span>"))
