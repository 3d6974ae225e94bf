"""The decoder: the recorded stream at every split point, the state machine, and what the site may do wrong."""

import json
from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.hailuo.hearing import heard
from services.hailuo.refusals import NothingHeard
from services.hailuo.reply import HailuoDecoder
from shared.deltas import Delta, Failed, Finish, Reference, Text, Unknown
from shared.errors import AccountExpired, SiteError, UpstreamChanged, UpstreamUnavailable
from shared.terms import Conversation
from shared.upstream.growth import Growth
from shared.upstream.sse import SseFrame, SseFramer
from tests.decoding import decoded
from tests.simulators.hailuo_scenes import OK, Event, Turn, play, written

CHAT, MESSAGE = "290011223344556677", "290011223344556699"
STATUS = {"code": 0, "message": "成功"}
SENT = (
    "send_result",
    {
        "type": 1,
        "data": {
            "sendResult": {
                "userMsgID": "290011223344556688",
                "chatID": CHAT,
                "systemMsgID": MESSAGE,
                "chatTitle": "看图",
            }
        },
        "statusInfo": STATUS,
    },
)
BEAT = ("heartbeat", {"type": 3, "data": {}})
CLOSE = ("close_chunk", {"type": 8, "data": {}})


def result(content: Any, end: Any = 1, links: Any = (), **more: Any) -> Event:
    said = {
        "chatID": CHAT,
        "msgID": MESSAGE,
        "isEnd": end,
        "content": content,
        "extra": {"netSearchStatus": {"linkDetail": list(links)}},
    }
    return "message_result", {"type": 2, "data": {"messageResult": said}, "statusInfo": STATUS, **more}


RECORDED = b"".join(map(written, (SENT, BEAT, result("一个"), result("一个点。", 0), CLOSE)))


def decode(pieces: Iterable[bytes], decoder: HailuoDecoder | None = None) -> list[Delta]:
    """All deltas of a body that arrives in these pieces; nothing may follow the last one."""
    out = decoded(pieces, SseFramer(), decoder or HailuoDecoder())
    assert not [delta for delta in out[:-1] if isinstance(delta, (Finish, Failed))]
    return out


def deltas(*events: Event) -> list[Delta]:
    return decode([b"".join(map(written, events))])


def text(found: Iterable[Delta]) -> str:
    return "".join(delta.text for delta in found if isinstance(delta, Text))


def test_recorded() -> None:
    decoder = HailuoDecoder()
    assert decode([RECORDED], decoder) == [Text("一个"), Text("点。"), Finish()]
    assert decoder.conversation == Conversation(CHAT)
    assert decoder.message == MESSAGE


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_recorded_at_every_split(ends: bytes) -> None:
    body = RECORDED.replace(b"\n", ends)
    for at in range(len(body) + 1):
        assert decode([body[:at], body[at:]]) == [Text("一个"), Text("点。"), Finish()]
    assert decode([body[at : at + 1] for at in range(len(body))]) == [Text("一个"), Text("点。"), Finish()]


TURN = Turn("今天有什么新闻？\n", CHAT, MESSAGE)


@given(st.text(max_size=40), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_any_text_of_the_simulator_comes_through(said: str, size: int) -> None:
    body = b"".join(map(written, play(TURN, said)))
    found = decode([body[at : at + size] for at in range(0, len(body), size)])
    assert text(found) == said
    assert found[-1] == Finish()


def test_the_conversation_is_known_before_any_text() -> None:
    decoder = HailuoDecoder()
    decoder.feed(SseFramer().feed(written(SENT))[0])
    assert decoder.conversation == Conversation(CHAT)
    assert decoder.message == MESSAGE


def test_the_answer_names_its_message() -> None:
    decoder = HailuoDecoder()
    other = {"type": 1, "data": {"sendResult": {"chatID": 5, "systemMsgID": "7"}}, "statusInfo": OK}
    decode([written(("send_result", other)), written(result("a", 0))], decoder)
    assert (decoder.conversation, decoder.message) == (Conversation("5"), MESSAGE)


ENDINGS: dict[str, tuple[tuple[Event, ...], list[Delta]]] = {
    "isEnd 0 without new text": ((result("一"), result("一", 0)), [Text("一"), Finish()]),
    "isEnd 0 and everything after it": (
        (result("一", 0), result("一二", 1), ("x", {"statusInfo": {"code": 1}}), CLOSE),
        [Text("一"), Finish()],
    ),
    "isEnd as a text": ((result("一"), result("一", "0")), [Text("一"), Finish()]),
    "isEnd as a fraction": ((result("一", 1.0), result("一", 0.0)), [Text("一"), Finish()]),
    "type 8 as a text": ((result("一"), ("", {"type": "8"})), [Text("一"), Finish()]),
    "close_chunk alone": ((result("一"), CLOSE), [Text("一"), Finish()]),
    "close_chunk by its name": ((result("一"), ("close_chunk", {})), [Text("一"), Finish()]),
    "type 8 by its type": ((result("一"), ("", {"type": 8})), [Text("一"), Finish()]),
    "the body ends": ((result("一"),), [Text("一")]),
    "null content at the end": ((result("一"), result(None, 0)), [Text("一"), Finish()]),
    "nothing at all": ((), []),
    "empty answer": ((result("", 0),), [Finish()]),
    "isEnd as a boolean": ((result("一", False), result("一二", 0)), [Text("一"), Text("二"), Finish()]),
    "half a character, then the body ends": ((result("一\ufffd"),), [Text("一")]),
    "held back, then the body ends": ((result("一\ufffd二\ufffd"),), [Text("一"), Text("\ufffd二")]),
    "a lasting half at the end": ((result("一\ufffd二", 0),), [Text("一"), Text("\ufffd二"), Finish()]),
}


@pytest.mark.parametrize(("events", "wanted"), ENDINGS.values(), ids=ENDINGS)
def test_endings(events: tuple[Event, ...], wanted: list[Delta]) -> None:
    assert deltas(*events) == wanted


def test_half_characters_are_held_back() -> None:
    grown = ["你\ufffd", "你好\ufffd\ufffd", "你好😀", "你好😀！"]
    assert deltas(*map(result, grown), CLOSE) == [Text("你"), Text("好"), Text("😀"), Text("！"), Finish()]


def test_what_was_given_is_not_taken_back() -> None:
    found = deltas(result("你好吗"), result("你"), result("你\ufffd吗"), result(None), result("你好吗？", 0))
    assert text(found) == "你好吗？"


def test_half_surrogates() -> None:
    high, low = b'"\\ud83d"', b'"\\ud83d\\ude00"'
    frames = [written(result("$")).replace(b'"$"', half) for half in (high, low)]
    assert decode([*frames, written(CLOSE)]) == [Text("😀"), Finish()]
    assert decode([frames[0], written(CLOSE)]) == [Text("\ufffd"), Finish()]


def test_sources_are_given_once_and_only_with_an_address() -> None:
    links = [{"detail": "新华网", "url": "https://a.example"}, {"detail": 1, "url": "http://b.example"}]
    odd = [{"url": "javascript:x"}, {"url": 5}, None, *links]
    found = deltas(result("", 1, links), result("a", 1, odd), result("a", 0, links))
    assert found == [
        Reference("https://a.example", "新华网", "https://a.example"),
        Reference("http://b.example", "", "http://b.example"),
        Text("a"),
        Finish(),
    ]


QUIET: tuple[Event, ...] = (
    SENT,
    BEAT,
    ("anything", {"type": 3}),
    ("heartbeat", b"event:heartbeat\ndata:\n\n"),
    ("message_result", b"event:message_result\ndata: \t\n\n"),
    ("follow_up_question_result", {"type": 4, "data": {"followUpQuestions": ["?"]}, "statusInfo": OK}),
    ("follow_up_question_result", {**result("another text", 0)[1], "type": 4}),
)


@pytest.mark.parametrize("event", QUIET)
def test_quiet_events(event: Event) -> None:
    assert deltas(event, result("一", 0)) == [Text("一"), Finish()]


UNKNOWN: dict[str, tuple[Event, str]] = {
    "a new event without a status": (("poll_result", {"type": 9, "data": {}}), "poll_result"),
    "no name": (("", {"type": 9}), "event without a name"),
    "no object": (("message_result", [1]), "malformed event"),
    "a text event without text": (("message_result", {"type": 2, "data": {}, "statusInfo": OK}), "message_result"),
    "the text of another event": (("other_result", result("no")[1]), "other_result"),
    "content that is no text": (result(5), "malformed content"),
}


@pytest.mark.parametrize(("event", "kind"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_events_are_counted_and_skipped(event: Event, kind: str) -> None:
    assert deltas(event, result("一", 0)) == [Unknown(kind), Text("一"), Finish()]


REFUSED: dict[str, tuple[Event, type[SiteError]]] = {
    "a login": (("send_result", {"type": 1, "statusInfo": {"code": 5, "message": "登录已过期"}}), AccountExpired),
    "a code as a text": (("send_result", {"type": 1, "statusInfo": {"code": "5", "message": "登录"}}), AccountExpired),
    "the retired endpoint": (
        (
            "message_result",
            {"type": 2, "statusInfo": {"code": 5, "message": "抱歉，服务器开小差了，请稍等一会儿再试。"}},
        ),
        UpstreamUnavailable,
    ),
    "no JSON": (("message_result", b"event:message_result\ndata:oops\n\n"), UpstreamChanged),
}


@pytest.mark.parametrize(("event", "kind"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_the_last_delta(event: Event, kind: type[SiteError]) -> None:
    *before, last = deltas(result("一\ufffd"), event, result("一二", 0))
    assert text(before) == "一"
    assert isinstance(last, Failed)
    assert type(last.error) is kind


def test_a_cut_event_is_a_break() -> None:
    *_, last = decode([written(result("一")), written(result("一二"))[:-30]])
    assert isinstance(last, Failed)
    assert type(last.error) is UpstreamUnavailable


HEARD: dict[str, tuple[str, Any, str | None]] = {
    "words": ("asr_chunk", {"status_code": 0, "err_message": "", "data": {"text": "早上好"}}, "早上好"),
    "no words": ("asr_chunk", {"status_code": 0, "data": {"text": ""}}, ""),
    "the spoken answer": ("audio_chunk", {"status_code": 0, "data": {"hex": ["ff"]}}, None),
    "its text": ("text_chunk", {"status_code": 0, "data": {"text": "no"}}, None),
    "no object": ("other", [1], None),
    "nothing yet": ("asr_chunk", {"status_code": 0, "data": {}}, None),
    "null yet": ("asr_chunk", {"status_code": 0, "data": {"text": None}}, None),
    "not even data": ("asr_chunk", {"status_code": 0}, None),
    "half a character": ("asr_chunk", {"data": {"text": "a"}}, "a"),
}


@pytest.mark.parametrize(("event", "payload", "wanted"), HEARD.values(), ids=HEARD)
def test_heard(event: str, payload: Any, wanted: str | None) -> None:
    assert heard(SseFrame(event, orjson.dumps(payload))) == wanted


@pytest.mark.parametrize(
    ("event", "data", "kind"),
    [
        ("error", b'{"status_code":1,"err_message":"\\u767b\\u5f55"}', AccountExpired),
        ("error", b'{"status_code":1,"err_message":""}', UpstreamUnavailable),
        ("asr_chunk", b'{"status_code":1200041,"err_message":"no"}', NothingHeard),
        ("error", b'{"status_code":"1200041"}', NothingHeard),
        ("asr_chunk", b'{"status_code":0,"data":{"text":["a"]}}', UpstreamChanged),
        ("asr_chunk", b"oops", UpstreamChanged),
    ],
)
def test_not_heard(event: str, data: bytes, kind: type[SiteError]) -> None:
    with pytest.raises(kind):
        heard(SseFrame(event, data))


@pytest.mark.parametrize("data", [b"", b" \t"])
def test_events_without_data_say_nothing(data: bytes) -> None:
    assert heard(SseFrame("heartbeat", data)) is None


def test_an_event_in_which_the_body_ended_is_a_broken_answer() -> None:
    cut = SseFrame("asr_chunk", b'{"data":{"te', whole=False)
    with pytest.raises(UpstreamUnavailable):
        heard(cut)


CONTENTS = st.lists(st.text(st.sampled_from('ab天😀\ufffd\\"\ud83d'), max_size=3), max_size=8)


@given(CONTENTS, st.data())
@settings(deadline=None)
def test_events_read_by_what_is_new_say_what_whole_ones_say(pieces: list[str], data: st.DataObject) -> None:
    events, content = [], ""
    for piece in pieces:
        # The site repairs a character that it had written by half.
        content = content.rstrip("\ufffd") + piece if data.draw(st.booleans()) else content + piece
        event, payload = result(content)
        events.append(
            SseFrame(event, json.dumps(payload, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "replace"))
        )
    events.append(SseFrame(CLOSE[0], orjson.dumps(CLOSE[1])))

    def read() -> list[Delta]:
        decoder = HailuoDecoder()
        return [delta for event in events for delta in decoder.feed(event)]

    by_growth = read()
    with patch.object(Growth, "added", return_value=None):
        assert read() == by_growth


def test_the_name_of_an_event_counts_even_if_its_data_only_grows() -> None:
    decoder = HailuoDecoder()
    assert decoder.feed(SseFrame("message_result", orjson.dumps(result("ab")[1]))) == [Text("ab")]
    assert decoder.feed(SseFrame("message_result", orjson.dumps(result("abc")[1]))) == [Text("c")]
    assert decoder.feed(SseFrame("close_chunk", orjson.dumps(result("abcd")[1]))) == [Finish()]
