"""Deltas to what the client reads: both faces, every style."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.deltas import Cite, Delta, Failed, Finish, Image, Reference, Text, Thinking, Unknown
from shared.errors import AccountBusy, ContentBlocked, UpstreamUnavailable
from shared.openai.chunks import USAGE, Chunks, Completion, Face, Rendering, Style
from tests.shared.toy import events, text_of

FACE = Face("id-1", 'm"?":"?"', 17)
A, B = Reference("a", "Title A", "https://a.test/"), Reference("b", "", "https://b.test/")
STYLES = [
    Style(thinking, references) for thinking in ("reasoning", "inline", "hidden") for references in ("shown", "hidden")
]


def rendering(style: Style = Style(), unknown: list[str] | None = None) -> Rendering:  # noqa: B008 - frozen
    kinds: list[str] = [] if unknown is None else unknown
    return Rendering(style, kinds.append)


def streamed(style: Style, *reads: list[Delta], usage: bool = False, conversation: str | None = None) -> list[Any]:
    rendered = rendering(style)
    chunks = Chunks(rendered, FACE, include_usage=usage)
    body = b"".join(chunks.write(rendered.pieces(deltas)) for deltas in reads)
    return events(body + chunks.finish("stop", conversation))


def whole(style: Style, deltas: list[Delta], conversation: str | None = None) -> Any:
    completion = Completion(rendering(style))
    completion.feed(deltas)
    return json.loads(completion.finish(FACE, "stop", conversation))


def message(style: Style, *deltas: Delta) -> Any:
    return whole(style, list(deltas))["choices"][0]["message"]


@pytest.mark.parametrize(
    ("thinking", "content", "reasoning"),
    [
        ("reasoning", "ab", "12"),
        ("inline", "<think>\n1</think>\n\na<think>\n2</think>\n\nb", None),
        ("hidden", "ab", None),
    ],
)
def test_thinking(thinking: Any, content: str, reasoning: str | None) -> None:
    told = message(Style(thinking), Thinking("1"), Text("a"), Thinking(""), Thinking("2"), Text(""), Text("b"))
    assert (told["content"], told.get("reasoning_content")) == (content, reasoning)


def test_inline_thinking_is_closed_at_the_end_and_before_everything_that_is_seen() -> None:
    inline = Style("inline")
    assert message(inline, Thinking("1"), Thinking("2"))["content"] == "<think>\n12</think>\n\n"
    assert message(inline, Thinking("1"), Image("u"))["content"] == "<think>\n1</think>\n\n![图像](u)\n"
    assert message(inline, A, Thinking("1"), Cite("a"))["content"].startswith("<think>\n1</think>\n\n[1](https://a")


def test_references_become_links_a_list_and_annotations() -> None:
    told = message(Style(), A, Text("x"), Cite("a"), Text("y"), B, Cite("b"), Cite("a"), Cite("c"))
    a, b = "[1](https://a.test/)", "[2](https://b.test/)"
    listed = "\n\n搜索结果来自：\n1. Title A - https://a.test/\n2. https://b.test/ - https://b.test/"
    assert told["content"] == f"x{a}y{b}{a}{listed}"
    links = [note["url_citation"] for note in told["annotations"]]
    assert [told["content"][link["start_index"] : link["end_index"]] for link in links] == [a, b]
    assert [(link["title"], link["url"]) for link in links] == [("Title A", A.url), (B.url, B.url)]


def test_hidden_references_are_annotations_only() -> None:
    told = message(Style(references="hidden"), A, Text("x"), Cite("a"))
    assert told["content"] == "x"
    [note] = told["annotations"]
    assert note["url_citation"] == {"start_index": 1, "end_index": 1, "title": "Title A", "url": A.url}


def test_one_source_under_two_keys_has_one_number() -> None:
    again = Reference("z", "Other title", A.url)
    told = message(Style(), A, again, B, Cite("z"), Cite("b"), Cite("a"))
    a, b = "[1](https://a.test/)", "[2](https://b.test/)"
    assert told["content"].startswith(f"{a}{b}{a}\n\n")
    assert len(told["annotations"]) == 2


def test_a_title_may_come_later() -> None:
    told = message(Style(), B, Text("x"), Reference("b", "Title B", B.url), Reference("b", "Another", B.url))
    assert told["content"] == "x\n\n搜索结果来自：\n1. Title B - https://b.test/"


def test_a_mark_before_its_reference_vanishes() -> None:
    told = message(Style(), Cite("a"), Text("x"), A)
    assert told["content"] == "x\n\n搜索结果来自：\n1. Title A - https://a.test/"
    [note] = told["annotations"]
    assert note["url_citation"]["start_index"] == len(told["content"])


@pytest.mark.parametrize(
    ("before", "content"), [([], ""), ([Text("x\n")], "x\n"), ([Text("x")], "x\n"), ([Image("v")], "![图像](v)\n")]
)
def test_images_stand_on_a_line_of_their_own(before: list[Delta], content: str) -> None:
    assert message(Style(), *before, Image("u"))["content"] == content + "![图像](u)\n"


def test_the_stream_of_chunks() -> None:
    told = streamed(Style(), [], [Unknown("x")], [Thinking("1"), Text('q"\n')], [Finish()], conversation="c1")
    *chunks, last, done = told
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "1"},
        {"content": 'q"\n'},
    ]
    for chunk in (*chunks, last):
        told_of_face = (chunk["id"], chunk["object"], chunk["created"], chunk["model"])
        assert told_of_face == ("id-1", "chat.completion.chunk", 17, 'm"?":"?"')
    assert all("usage" not in chunk and chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert (last["usage"], last["conversation_id"]) == (USAGE, "c1")


def test_usage_in_a_chunk_of_its_own_when_asked_for() -> None:
    *_, last, usage, done = streamed(Style(), [Text("a")], usage=True)
    assert (usage["choices"], usage["usage"], done) == ([], USAGE, "[DONE]")
    assert "usage" not in last
    assert "conversation_id" not in last


def test_annotations_of_a_stream_come_with_the_finish_chunk() -> None:
    told = streamed(Style(), [A, Text("x"), Cite("a")])
    [note] = told[-2]["choices"][0]["delta"]["annotations"]
    link = note["url_citation"]
    assert text_of(told)[link["start_index"] : link["end_index"]] == "[1](https://a.test/)"


def test_a_whole_answer() -> None:
    told = whole(Style(), [Text("a")], "c1")
    assert (told["object"], told["usage"], told["conversation_id"]) == ("chat.completion", USAGE, "c1")
    assert told["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]
    assert "conversation_id" not in whole(Style(), [Text("a")])


@pytest.mark.parametrize(
    ("deltas", "wanted"),
    [
        ([Text("a"), Finish()], "stop"),
        ([Text("a"), Finish("content_filter")], "content_filter"),
        ([Text("a")], "length"),
        ([Thinking("a")], "length"),
        ([], UpstreamUnavailable),
        ([Unknown("x"), A, Text(""), Finish()], UpstreamUnavailable),
        ([Finish("content_filter")], ContentBlocked),
        ([Text("a"), Failed(AccountBusy())], AccountBusy),
        ([Failed(AccountBusy())], AccountBusy),
    ],
)
def test_how_a_reply_ends(deltas: list[Delta], wanted: Any) -> None:
    rendered = rendering()
    rendered.pieces(deltas)
    if isinstance(wanted, str):
        assert rendered.reason() == wanted
    else:
        with pytest.raises(wanted):
            rendered.reason()


def test_unknown_parts_are_counted() -> None:
    unknown: list[str] = []
    assert rendering(unknown=unknown).pieces([Unknown("x"), Unknown("y")]) == []
    assert unknown == ["x", "y"]


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
URLS = st.sampled_from(["https://a.test/", "https://b.test/?x=1", "https://c.test/你"])
DELTAS: st.SearchStrategy[Delta] = st.one_of(
    st.builds(Text, WORDS),
    st.builds(Thinking, WORDS),
    st.builds(Reference, st.sampled_from("abc"), WORDS, URLS),
    st.builds(Cite, st.sampled_from("abcd")),
    st.builds(Image, URLS),
    st.builds(Unknown, WORDS),
)


@given(st.sampled_from(STYLES), st.lists(st.lists(DELTAS, max_size=4)), st.booleans())
def test_both_faces_say_the_same(style: Style, reads: list[list[Delta]], usage: bool) -> None:
    told = streamed(style, *reads, usage=usage)
    answer = whole(style, [delta for deltas in reads for delta in deltas])["choices"][0]["message"]
    assert text_of(told) == answer["content"]
    assert text_of(told, "reasoning_content") == answer.get("reasoning_content", "")
    roles = [c for event in told[:-1] for c in event["choices"] if "role" in c["delta"]]
    assert len(roles) <= 1
    finish = told[-3 if usage else -2]["choices"][0]["delta"]
    assert finish.get("annotations") == answer.get("annotations")
    if style.references == "shown":
        for note in answer.get("annotations", ()):
            link = note["url_citation"]
            shown = answer["content"][link["start_index"] : link["end_index"]]
            assert shown == "" or (shown.startswith("[") and shown.endswith(f"]({link['url']})"))
