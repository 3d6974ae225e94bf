"""Frames to deltas."""

import gzip
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from services.step.reply import StepDecoder
from shared.deltas import Cite, Delta, Failed, Finish, Reference, Text, Thinking, Unknown
from shared.errors import (
    AccountLimited,
    ConversationUnknown,
    RequestRefused,
    SessionRefused,
    SiteError,
    UpstreamChanged,
    UpstreamUnavailable,
)
from shared.upstream.connect import ConnectFrame, ConnectFramer
from tests.decoding import decoded
from tests.simulators.step_scenes import Question, end, failure, framed, newer, play

Event = dict[str, Any]

START = {"startEvent": {"messageId": "154303118201421824", "parentMessageId": "154303118129500160"}}
DONE: Event = {"doneEvent": {}}
SHANGHAI = {"title": "上海天气预报_今日天气", "url": "https://www.weather.example.cn/shanghai", "snippet": "..."}
FORECAST = {"title": "Shanghai weather – 7 day forecast", "url": "https://weather.example.com/sh?d=7", "snippet": "..."}
FIRST = Reference("web_1", SHANGHAI["title"], SHANGHAI["url"])
SECOND = Reference("web_2", FORECAST["title"], FORECAST["url"])


def said(text: Any, **more: Any) -> Event:
    return {"textEvent": {"text": text, **more}}


def found(*results: Any, query: str = "上海 天气") -> Event:
    return {"pipelineEvent": {"eventSearch": {"query": query, "results": list(results)}}}


def body(frames: Iterable[Any]) -> bytes:
    return b"".join(one if isinstance(one, bytes) else framed(orjson.dumps(one)) for one in frames)


def decode(pieces: Iterable[bytes]) -> list[Delta]:
    """All deltas of a body that arrives in these pieces, texts in a row joined."""
    return joined(decoded(pieces, ConnectFramer(), StepDecoder()))


def joined(deltas: list[Delta]) -> list[Delta]:
    out: list[Delta] = []
    for delta in deltas:
        last = out[-1] if out else None
        if isinstance(delta, Text | Thinking) and type(delta) is type(last):
            out[-1] = type(delta)(last.text + delta.text)
        else:
            out.append(delta)
    return out


def shown(deltas: list[Delta]) -> list[Any]:
    """The deltas in a form that can be compared: of a failure its class."""
    return [type(delta.error) if isinstance(delta, Failed) else delta for delta in deltas]


ANSWER = [START, said("你好！"), said("我是跃问 StepChat 😊\n"), said("How can I help you today?"), DONE, end()]
SEARCH = [
    START,
    found(SHANGHAI, FORECAST),
    said("上海今天多云<web_1>，"),
    said("22~28℃<url_a1B2>。"),
    said("详见来源<unknown_9>。"),
    DONE,
]
SLOW = {"code": "resource_exhausted", "message": "slow"}
LIMITED = [START, said("开头"), failure("resource_exhausted", "request too frequent, try later")]

TRANSCRIPTS: list[tuple[list[Any], list[Any]]] = [
    (ANSWER, [Text("你好！我是跃问 StepChat 😊\nHow can I help you today?"), Finish()]),
    (
        SEARCH,
        [
            FIRST,
            SECOND,
            Text("上海今天多云"),
            Cite("web_1"),
            Text("，22~28℃"),
            Cite("url_a1B2"),
            Text("。详见来源"),
            Cite("unknown_9"),
            Text("。"),
            Finish(),
        ],
    ),
    (LIMITED, [Text("开头"), AccountLimited]),
    (
        [said("想", stage="TEXT_STAGE_THINKING"), said("答", stage="TEXT_STAGE_SOLUTION"), DONE],
        [Thinking("想"), Text("答"), Finish()],
    ),
    (
        [
            {"data": {"event": START}},
            {"data": {"event": {"messageEvent": {"message": {"messageId": "1"}}}}},
            {"data": {"event": {"reasoningEvent": {"text": "想<web_1>"}}}},
            {
                "data": {
                    "event": {"pipelineEvent": {"type": "EVENT_TYPE_REASONING", "action": "EVENT_ACTION_END"}},
                }
            },
            {"data": {"event": found(SHANGHAI)}},
            {"data": {"event": {"sourcingEvent": {}}}},
            {"data": {"event": said("答<web_1>")}},
            {"data": {"event": {"heartBeatEvent": {}}}},
            {"data": {"event": {"messageDoneEvent": {}}}},
            {"data": {"event": DONE}},
            end(),
        ],
        [Thinking("想"), FIRST, Text("答"), Cite("web_1"), Finish()],
    ),
]


@pytest.mark.parametrize(("frames", "wanted"), TRANSCRIPTS)
def test_transcripts_at_every_split(frames: list[Any], wanted: list[Any]) -> None:
    data = body(frames)
    assert shown(decode([data])) == wanted
    assert shown(decode(bytes([byte]) for byte in data)) == wanted
    for at in range(len(data) + 1):
        assert shown(decode([data[:at], data[at:]])) == wanted


@pytest.mark.parametrize(("frames", "wanted"), TRANSCRIPTS)
def test_transcripts_compressed(frames: list[Any], wanted: list[Any]) -> None:
    squeezed = [one if isinstance(one, bytes) else framed(gzip.compress(orjson.dumps(one)), 1) for one in frames]
    assert shown(decode([body(squeezed)])) == wanted


@pytest.mark.parametrize("thinks", [False, True])
def test_both_generations_say_the_same(thinks: bool) -> None:
    frames = play(Question("天气?", thinks=thinks))
    assert decode([body(frames)]) == decode([body(map(newer, frames))])


CASES: list[tuple[list[Any], list[Any]]] = [
    # What ends an answer.
    ([said("a"), end()], [Text("a"), Finish()]),
    ([said("a"), end({"metadata": {"x": ["y"]}})], [Text("a"), Finish()]),
    ([said("a"), framed(b"", 2)], [Text("a"), Finish()]),
    ([said("a"), framed(b"", 3)], [Text("a"), Finish()]),
    ([said("a")], [Text("a")]),
    ([DONE, said("late"), failure("internal", "late")], [Finish()]),
    ([{"textEvent": {"text": "a"}, "doneEvent": {}}], [Text("a"), Finish()]),
    ([{"doneEvent": {}, "textEvent": {"text": "a"}}], [Text("a"), Finish()]),
    (
        [{"doneEvent": {}, "textEvent": {"text": "a<web_1>"}, **found(SHANGHAI)}],
        [FIRST, Text("a"), Cite("web_1"), Finish()],
    ),
    ([{"textEvent": {"text": "a"}, "reasoningEvent": {"text": "b"}}], [Thinking("b"), Text("a")]),
    ([{"doneEvent": None}, said("a"), DONE], [Text("a"), Finish()]),
    ([], []),
    # What refuses.
    ([{"error": {"code": "unauthenticated", "message": "token is missing"}}, said("late")], [SessionRefused]),
    ([{"error": {"code": "invalid_argument"}, "textEvent": {"text": "a"}}], [RequestRefused]),
    ([{"error": {"code": 8, "message": "no"}}], [RequestRefused]),
    ([{"error": {"code": 0, "message": "no"}}, DONE], [Unknown("error"), Finish()]),
    ([{"doneEvent": {}, "error": {"code": "internal"}}], [UpstreamUnavailable]),
    ([SLOW, said("late")], [AccountLimited]),
    ([end(SLOW)], [AccountLimited]),
    ([said("a"), end(SLOW)], [Text("a"), AccountLimited]),
    ([{"code": "not_found", "message": "chat session not found"}], [ConversationUnknown]),
    ([{"code": 5}, {"code": ""}, {"code": None}, DONE], [Unknown("code"), Unknown("code"), Finish()]),
    ([{"data": {"event": {"error": SLOW}}}, said("late")], [AccountLimited]),
    ([{"data": {"event": SLOW}}, said("late")], [AccountLimited]),
    ([end({"data": {"event": {"error": {"message": "x"}}}})], [UpstreamUnavailable]),
    ([{"data": {"event": {"error": {"message": "x"}}}}, said("a"), DONE], [Unknown("error"), Text("a"), Finish()]),
    ([{"error": SLOW, "data": {"event": {"textEvent": {"text": "late"}}}}], [AccountLimited]),
    ([{"error": {"message": "x"}}, said("a"), DONE], [Unknown("error"), Text("a"), Finish()]),
    ([{"error": None}, said("a"), DONE], [Text("a"), Finish()]),
    ([said("a"), end({"error": {"message": "x"}})], [Text("a"), UpstreamUnavailable]),
    ([said("a"), end({"error": "x"})], [Text("a"), UpstreamUnavailable]),
    ([said("a"), framed(b"{no", 0)], [Text("a"), UpstreamChanged]),
    ([said("a"), framed(b"", 0)], [Text("a"), UpstreamChanged]),
    ([said("a<we"), b"\x00\x00\x00\x00\x10{"], [Text("a<we"), UpstreamUnavailable]),
    ([said("a"), b"\x00\x00"], [Text("a"), UpstreamUnavailable]),
    # What is nothing.
    ([{"textEvent": {}}, said(""), said(None), {"textEvent": None}, DONE], [Finish()]),
    ([found(), {"pipelineEvent": {}}, {"pipelineEvent": {"eventSearch": None}}, DONE], [Finish()]),
    ([{"pipelineEvent": {"eventSearch": {"results": {}}}}, DONE], [Finish()]),
    ([{"heartBeatEvent": {}}, {}, DONE], [Finish()]),
    # What is unknown.
    ([{"newEvent": {"x": 1}}, said("a"), DONE], [Unknown("newEvent"), Text("a"), Finish()]),
    ([{"data": {"event": {"newEvent": {}}}}, DONE], [Unknown("newEvent"), Finish()]),
    ([{"data": {}}, DONE], [Unknown("data"), Finish()]),
    ([[1], 7, None, DONE], [Unknown("malformed frame"), Unknown("malformed frame"), Finish()]),
    ([{"textEvent": "a"}, said(7), DONE], [Unknown("textEvent"), Unknown("malformed text"), Finish()]),
    # Tags.
    ([said("a<we"), said("b_1>"), said("<"), said("p>"), DONE], [Text("a"), Cite("web_1"), Text("<p>"), Finish()]),
    ([said("1<2 <web_> <web_1 <webb_1>"), DONE], [Text("1<2 <web_> <web_1 <webb_1>"), Finish()]),
    ([said(f"<url_{'a' * 40}>"), DONE], [Cite("url_" + "a" * 40), Finish()]),
    ([said(f"<url_{'a' * 80}"), DONE], [Text(f"<url_{'a' * 80}"), Finish()]),
    ([said("a<web_1"), DONE], [Text("a<web_1"), Finish()]),
    ([said("a<web_1")], [Text("a<web_1")]),
    (
        [said("想<we", stage="TEXT_STAGE_THINKING"), said("b_1>"), DONE],
        [Thinking("想<we"), Text("b_1>"), Finish()],
    ),
    # Sources, counted over all searches.
    (
        [found(SHANGHAI), found({"title": "x"}, 7, FORECAST, {"url": "javascript:x"}), said("<web_4>"), DONE],
        [FIRST, Reference("web_4", FORECAST["title"], FORECAST["url"]), Cite("web_4"), Finish()],
    ),
    ([found({"url": "http://a.example", "title": 7}), DONE], [Reference("web_1", "", "http://a.example"), Finish()]),
]


@pytest.mark.parametrize(("frames", "wanted"), CASES)
def test_cases(frames: list[Any], wanted: list[Any]) -> None:
    assert shown(decode([body(frames)])) == wanted
    assert shown(decode(bytes([byte]) for byte in body(frames))) == wanted


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([r"\ud83d", r"\ude0a"], "😊"),
        ([r"a\ud83d", "b"], "a�b"),
        ([r"a\ud83d"], "a�"),
        ([r"\ude0aa"], "�a"),
        ([r"<web_1\ud83d", r"\ude0a"], "<web_1😊"),
    ],
)
def test_halves_of_characters(texts: list[str], wanted: str) -> None:
    frames = [framed(f'{{"textEvent":{{"text":"{text}"}}}}'.encode()) for text in texts]
    assert decode([body([*frames, DONE])]) == [Text(wanted), Finish()]


def test_the_site_says_what_it_is() -> None:
    (failed,) = (delta for delta in decode([body(LIMITED)]) if isinstance(delta, Failed))
    assert failed.error.message == "The site says: [resource_exhausted] request too frequent, try later"
    assert isinstance(failed.error, SiteError)


def test_nothing_comes_after_the_end() -> None:
    decoder = StepDecoder()
    assert decoder.feed(ConnectFrame(True, b"{}")) == [Finish()]
    assert decoder.feed(ConnectFrame(False, b'{"textEvent":{"text":"a"}}')) == []
    assert decoder.end() == []
