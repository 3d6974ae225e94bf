import re
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.glm.reply import PATIENCE, GlmDecoder
from shared.deltas import Delta, Failed, Finish, Image, Reference, Text, Thinking, Unknown
from shared.errors import (
    AccountBusy,
    AccountExpired,
    AccountLimited,
    RequestRefused,
    SessionRefused,
    UpstreamChanged,
    UpstreamUnavailable,
)
from shared.marks import Marks
from shared.terms import Conversation
from shared.upstream.growth import Growth
from shared.upstream.sse import SseFrame
from tests.services.glm.frames import (
    ASSISTANT,
    CONVERSATION,
    FINISH,
    body,
    decode,
    decode_bytes,
    item,
    message,
    part,
    written,
)

CALLS = {"tool_calls": {"name": "simple_browser", "arguments": "{}"}}
SOURCES = {
    "metadata_list": [
        {"type": "webpage", "title": "中央气象台", "url": "http://www.nmc.cn/", "text": "…", "pub_date": "…"},
        {"type": "webpage", "title": "Weather Beijing", "url": "https://www.weather.com.cn/101010100.shtml"},
    ]
}
RESULTS = {
    "tool_result_extra": {
        "search_results": [
            {"match_key": "turn0search0", "title": "A", "url": "https://a.example.com/"},
            {"match_key": "turn0search1", "title": "B", "url": "https://b.example.com/"},
        ]
    }
}
PICTURE = "https://sfile.chatglm.cn/testpath/5e56_0.png"


def grown(name: str, kind: str, *texts: str, statuses: bool = True) -> list[bytes]:
    """The frames of one part with one item that grows through these texts, then is sent again as finished."""
    init, finish = ("init", "finish") if statuses else (None, None)
    return [
        *(message(part(name, item(kind, text, init))) for text in texts),
        message(part(name, item(kind, texts[-1], finish), status="finish")),
    ]


PLAIN = [*grown("a", "text", "你好", "你好！I am ChatGLM 😀"), FINISH]
CODE = [
    *grown("a", "text", "我来", "我来计算。"),
    message(part("b", item("code", "import math"))),
    message(part("b", item("code", "import math\nprint(math.pi)"))),
    message(part("b", item("code", "import math\nprint(math.pi)"), status="finish")),
    *[message(part("c", item("execution_output", "\n3.141592653589793"), status="finish"))] * 2,
    *grown("d", "text", "结果", "结果是 π≈3.14"),
    FINISH,
]
SEARCH = [
    message(part("a", item("tool_calls", CALLS))),
    message(part("a", item("tool_calls", CALLS), status="finish")),
    message(part("b", item("browser_result", {"content": "…"}), status="finish")),
    message(part("c", item("quote_result", {}))),
    message(part("c", item("quote_result", {}), status="finish", meta=SOURCES)),
    *grown("d", "text", "今天", "今天北京晴【1†来源】", "今天北京晴【1†来源】，25℃。"),
    FINISH,
]
DRAWN = [
    *grown("a", "text", "好的，我来画。"),
    message(part("b", item("tool_calls", CALLS), status="finish")),
    message(part("c", item("image", [""]))),
    message(part("c", item("image", [PICTURE]), status="finish")),
    *grown("d", "text", "这是", "这是一只可爱的猫。"),
    FINISH,
]
THOUGHT = [
    *grown("a", "think", "用户", "用户在问 1+1", "用户在问 1+1，答案是 2", statuses=False),
    *grown("b", "text", "等于", "等于 2，", "等于 2，因为皮亚诺公理。", statuses=False),
    FINISH,
]
NEWER = [
    message(status="processing", tool_calls=[]),
    *grown("a", "think", "想", "想一想"),
    message(part("b", item("tool_result", {}), status="finish", meta=RESULTS)),
    *grown("c", "text", "晴【turn0search1】", "晴【turn0search1】。"),
    FINISH,
]

TRANSCRIPTS = {
    "plain": (PLAIN, "你好！I am ChatGLM 😀"),
    "code": (
        CODE,
        "我来计算。\n```python\nimport math\nprint(math.pi)\n```\n\n3.141592653589793\n结果是 π≈3.14",
    ),
    "search": (SEARCH, "{1}{2}今天北京晴[1]，25℃。"),
    "drawn": (DRAWN, f"好的，我来画。\n<{PICTURE}>\n\n这是一只可爱的猫。"),
    "thought": (THOUGHT, "«用户在问 1+1，答案是 2»等于 2，因为皮亚诺公理。"),
    "newer": (NEWER, "«想一想»{turn0search0}{turn0search1}晴[turn0search1]。"),
}
KEY = re.compile(r"\{\w+\}")
each_transcript = pytest.mark.parametrize(("frames", "wanted"), TRANSCRIPTS.values(), ids=TRANSCRIPTS)


@each_transcript
def test_transcripts(frames: list[bytes], wanted: str) -> None:
    deltas = decode(frames)
    assert written(deltas) == wanted
    assert deltas[-1] == Finish("stop")
    assert not any(isinstance(delta, Unknown) for delta in deltas)


@each_transcript
def test_all_parts_so_far_in_every_frame(frames: list[bytes], wanted: str) -> None:
    so_far: dict[str, Any] = {}
    whole = []
    for frame in map(orjson.loads, frames):
        so_far |= {piece["logic_id"]: piece for piece in frame["parts"]}
        whole.append(orjson.dumps({**frame, "parts": list(so_far.values())}))
    assert written(decode(whole)) == wanted


@each_transcript
def test_every_frame_twice(frames: list[bytes], wanted: str) -> None:
    assert written(decode([frame for frame in frames for _ in range(2)])) == wanted


@each_transcript
def test_without_names_parts_are_known_by_place(frames: list[bytes], wanted: str) -> None:
    nameless = [frame.replace(b'"logic_id"', b'"other"') for frame in frames]
    assert written(decode(nameless)) == wanted


@each_transcript
def test_without_any_part_status(frames: list[bytes], wanted: str) -> None:
    bare = []
    for frame in map(orjson.loads, frames):
        for piece in frame["parts"]:
            piece.pop("status")
        bare.append(orjson.dumps(frame))
    assert written(decode(bare)) == wanted


@each_transcript
def test_only_the_finish_frame(frames: list[bytes], wanted: str) -> None:
    last: dict[str, Any] = {}
    for frame in map(orjson.loads, frames):
        last |= {piece["logic_id"]: piece for piece in frame["parts"]}
    # The sources of a frame come before its text.
    shown = written(decode([message(*last.values(), status="finish")]))
    assert KEY.sub("", shown) == KEY.sub("", wanted)
    assert KEY.findall(shown) == KEY.findall(wanted)


@each_transcript
def test_cut_anywhere_it_is_a_beginning(frames: list[bytes], wanted: str) -> None:
    for count in range(len(frames)):
        deltas = decode(frames[:count])
        assert not any(isinstance(delta, Finish | Failed) for delta in deltas)
        # A fence is closed where the answer ends; a picture or output that is not finished may still be shown.
        begun = written(deltas).removesuffix("\n```\n").removesuffix("»")
        assert wanted.startswith(begun) or "【" in begun


@each_transcript
def test_the_same_for_every_cut_of_the_bytes(frames: list[bytes], wanted: str) -> None:
    data = body(frames)
    for at in range(0, len(data) + 1, 1 if len(data) < 4000 else 7):
        assert written(decode_bytes([data[:at], data[at:]])) == wanted
    assert written(decode_bytes(data[at : at + 1] for at in range(len(data)))) == wanted


def test_deltas_leave_as_soon_as_they_come() -> None:
    decoder = GlmDecoder(ASSISTANT)
    fed = [decoder.feed(SseFrame("message", frame)) for frame in THOUGHT]
    assert fed == [
        [Thinking("用户")],
        [Thinking("在问 1+1")],
        [Thinking("，答案是 2")],
        [],
        [Text("等于")],
        [Text(" 2，")],
        [Text("因为皮亚诺公理。")],
        [],
        [Finish("stop")],
    ]
    assert decoder.end() == []
    assert decoder.feed(SseFrame("message", PLAIN[0])) == []


def test_the_conversation_is_named_by_the_first_frame() -> None:
    decoder = GlmDecoder(ASSISTANT)
    assert decoder.conversation is None
    decoder.feed(SseFrame("message", b'{"conversation_id":"","parts":[],"status":"init"}'))
    decoder.feed(SseFrame("message", b'{"conversation_id":null,"parts":[],"status":"init"}'))
    assert decoder.conversation is None
    decoder.feed(SseFrame("message", PLAIN[0]))
    assert decoder.conversation == Conversation(CONVERSATION, about={"assistant_id": ASSISTANT})


def test_a_number_is_a_name_too() -> None:
    decoder = GlmDecoder(ASSISTANT)
    decoder.feed(SseFrame("message", b'{"conversation_id":12345,"parts":[],"status":"init"}'))
    assert decoder.conversation == Conversation("12345", about={"assistant_id": ASSISTANT})


def test_the_conversation_may_be_named_late() -> None:
    decoder = GlmDecoder(ASSISTANT)
    for text, name in (("a", ""), ("ab", ""), ("abc", CONVERSATION)):
        decoder.feed(SseFrame("message", message(part("a", item("text", text)), conversation_id=name)))
    assert decoder.conversation is not None


# --- separators ------------------------------------------------------------------------------------------------

KINDS = {
    "text": ("甲", "甲"),
    "think": ("乙", "«乙»"),
    "code": ("丙", "```python\n丙\n```\n"),
    "execution_output": ("丁", "丁\n"),
    "image": ([PICTURE], f"<{PICTURE}>\n"),
    "tool_calls": (CALLS, ""),
    "quote_result": ({"meta_data": SOURCES}, "{1}{2}"),
}


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("together", [False, True])
def test_separators(first: str, second: str, together: bool) -> None:
    items = [item(kind, KINDS[kind][0], "finish") for kind in (first, second)]
    if together:
        frames = [message(part("a", *items, status="finish"))]
    else:
        frames = [message(part(str(at), one, status="finish")) for at, one in enumerate(items)]
    before, after = KINDS[first][1], KINDS[second][1]
    shown = ("text", "think", "code", "execution_output", "image")
    separated = first == "text" or (first == "image" and second in ("text", "think"))
    between = "\n" if separated and second in shown else ""
    wanted = before + between + after
    assert KEY.sub("", written(decode([*frames, FINISH]))) == KEY.sub("", wanted.replace("»«", ""))


def test_a_byte_that_is_no_utf8_costs_a_character() -> None:
    broken = [frame.replace("你".encode(), b"\xe4") for frame in PLAIN]
    assert decode(broken) == [Text("\ufffd好"), Text("！I am ChatGLM 😀"), Finish()]


def test_quiet_items_do_not_separate() -> None:
    frames = [*grown("a", "text", "甲"), message(part("b", item("quote_result", {}), status="finish", meta=SOURCES))]
    assert written(decode([*frames, *grown("c", "text", "乙"), FINISH])) == "甲{1}{2}\n乙"


def test_an_empty_item_does_not_separate() -> None:
    frames = [*grown("a", "text", "甲"), message(part("b", item("text", ""), item("image", ["", "no address"])))]
    assert written(decode([*frames, FINISH])) == "甲"


def test_code_that_is_only_in_its_last_frame() -> None:
    assert written(decode([message(part("a", item("code", "x = 1"), status="finish")), FINISH])) == (
        "```python\nx = 1\n```\n"
    )


def test_code_that_grows_in_its_last_frame() -> None:
    frames = [message(part("a", item("code", "x"))), message(part("a", item("code", "x = 1"), status="finish"))]
    assert written(decode([*frames, FINISH])) == "```python\nx = 1\n```\n"


def test_several_pictures_each_once() -> None:
    other = PICTURE.replace("_0", "_1")
    done = message(part("a", item("image", [PICTURE, other]), status="finish"))
    deltas = decode([message(part("a", item("image", [PICTURE]))), done, done, FINISH])
    assert deltas == [Image(PICTURE), Image(other), Finish()]


# --- parts and items in every order ----------------------------------------------------------------------------


def test_a_later_part_waits_for_an_unfinished_one() -> None:
    frames = [
        message(part("a", item("text", "一"))),
        message(part("b", item("text", "甲"))),
        message(part("a", item("text", "一二"))),
        message(part("b", item("text", "甲乙"), status="finish")),
        message(part("a", item("text", "一二三"), status="finish")),
    ]
    assert written(decode([*frames, FINISH])) == "一二三\n甲乙"


def test_a_later_part_does_not_wait_for_ever() -> None:
    decoder = GlmDecoder(ASSISTANT)
    decoder.feed(SseFrame("", message(part("a", item("text", "一")))))
    out: list[Delta] = []
    for length in range(1, 3 * PATIENCE):
        out += decoder.feed(SseFrame("", message(part("b", item("text", "甲" * length)))))
        if length < PATIENCE:
            assert out == []
    assert written(out) == "\n" + "甲" * (3 * PATIENCE - 1)
    # What the earlier part adds after all is not lost.
    out += decoder.feed(SseFrame("", message(part("a", item("text", "一二"), item("text", "三"), status="finish"))))
    out += decoder.feed(SseFrame("", FINISH))
    assert written(out) == "\n" + "甲" * (3 * PATIENCE - 1) + "二\n三"


@pytest.mark.parametrize("again", [PATIENCE - 1, PATIENCE])
def test_a_part_that_stays_as_it_is_keeps_others_waiting_for_a_while_only(again: int) -> None:
    decoder = GlmDecoder(ASSISTANT)
    frames = [message(one("a", "text", text)) for text in ("一", "一二", "一二三", *["一二三"] * (again - 1))]
    assert written(decode_all(decoder, frames)) == "一二三"
    both = message(one("a", "text", "一二三"), one("b", "text", "甲"))
    assert written(decode_all(decoder, [both])) == ("\n甲" if again == PATIENCE else "")


def decode_all(decoder: GlmDecoder, frames: list[bytes]) -> list[Delta]:
    return [delta for frame in frames for delta in decoder.feed(SseFrame("", frame))]


def one(name: str, kind: str, text: Any, status: str = "init") -> dict[str, Any]:
    """A part of one item."""
    return part(name, item(kind, text), status=status)


ANNOUNCED: dict[str, tuple[list[list[dict[str, Any]]], list[str]]] = {
    # parts in each frame; what each gives
    "two texts, then one at a time": (
        [
            [one("a", "text", ""), one("b", "text", "")],
            [one("a", "text", "一")],
            [one("a", "text", "一。", "finish")],
            [one("b", "text", "二")],
            [one("b", "text", "二。", "finish")],
        ],
        ["", "一", "。", "\n二", "。"],
    ),
    "thinking and text, both all along": (
        [
            [one("a", "think", ""), one("b", "text", "")],
            [one("a", "think", "想"), one("b", "text", "")],
            [one("a", "think", "想想", "finish"), one("b", "text", "答")],
            [one("a", "think", "想想", "finish"), one("b", "text", "答案", "finish")],
        ],
        ["", "«想»", "«想»答", "案"],
    ),
    "text beside a call": (
        [
            [one("a", "text", ""), one("b", "tool_calls", CALLS)],
            *([one("a", "text", "一二三"[:count])] for count in (1, 2, 3)),
        ],
        ["", "一", "二", "三"],
    ),
    "code in a fence": (
        [
            [one("a", "code", ""), one("b", "text", "")],
            *([one("a", "code", "x=1"[:count])] for count in (1, 2, 3)),
            [one("b", "text", "好", "finish")],
        ],
        ["", "```python\nx", "=", "1", "\n```\n好"],
    ),
}


@pytest.mark.parametrize(("frames", "wanted"), ANNOUNCED.values(), ids=ANNOUNCED)
def test_a_part_that_is_announced_empty_keeps_its_place(frames: list[list[dict[str, Any]]], wanted: list[str]) -> None:
    decoder = GlmDecoder(ASSISTANT)
    assert [written(decoder.feed(SseFrame("", message(*parts)))) for parts in frames] == wanted
    assert written(decoder.feed(SseFrame("", FINISH))) == ""


@pytest.mark.parametrize("waited", [2, PATIENCE, 3 * PATIENCE])
@pytest.mark.parametrize(
    ("kind", "texts", "wanted"),
    [
        ("code", ["x", "x=1", "x=1\ny"], "\n```python\nx=1\ny\n```\n完了"),
        ("text", ["乙", "乙【1", "乙【1†来源】。"], "\n乙[1]。\n完了"),
    ],
)
def test_what_waits_behind_another_part_is_not_taken_for_over(
    waited: int, kind: str, texts: list[str], wanted: str
) -> None:
    last = one("c", "text", "完")
    waiting = [one("b", kind, texts[0]), last]
    frames = [message(one("a", "text", "甲" * length), *waiting) for length in range(1, waited)]
    frames.append(message(one("a", "text", "甲" * waited, "finish"), *waiting))
    frames += [message(one("b", kind, text), last) for text in texts]
    frames.append(message(one("b", kind, texts[-1], "finish"), one("c", "text", "完了", "finish")))
    assert written(decode([*frames, FINISH])) == "甲" * waited + wanted


@pytest.mark.parametrize("status", ["finish", None])
def test_two_items_of_one_part(status: str | None) -> None:
    decoder = GlmDecoder(ASSISTANT)
    think = item("think", "想", status)
    shown = [
        written(decoder.feed(SseFrame("", message(part("a", *items)))))
        for items in ([item("think", "想")], [think, item("text", "答")], [think, item("text", "答案")])
    ]
    assert shown == ["«想»", "答", "案"]


CALL = item("tool_calls", CALLS)
OUTPUT = item("execution_output", "3.14")
DRAWING = item("image", [PICTURE])
ONE_PART = [
    # items so far in each frame of one part; what is to be read
    ([[OUTPUT], [OUTPUT, item("text", "结果")], [OUTPUT, item("text", "结果是")]], "3.14\n结果是"),
    ([[DRAWING], [DRAWING, item("text", "一")], [DRAWING, item("text", "一二")]], f"<{PICTURE}>\n\n一二"),
    (
        [[DRAWING], [DRAWING, item("code", "x=1")], [DRAWING, item("code", "x=1\ny=2")]],
        f"<{PICTURE}>\n```python\nx=1\ny=2\n```\n",
    ),
    (
        [
            [item("code", "x=1")],
            [item("code", "x=1"), OUTPUT],
            [item("code", "x=1"), OUTPUT, item("text", "结")],
            [item("code", "x=1"), OUTPUT, item("text", "结果")],
        ],
        "```python\nx=1\n```\n3.14\n结果",
    ),
    (
        # The address comes when something else has begun behind it.
        [[item("image", [""])], [item("image", [""]), item("text", "一")], [DRAWING, item("text", "一二")]],
        f"<{PICTURE}>\n\n一二",
    ),
]


@pytest.mark.parametrize(("versions", "wanted"), ONE_PART)
@pytest.mark.parametrize("finished", [True, False])
def test_the_items_of_a_part_without_statuses_of_their_own(
    versions: list[list[Any]], wanted: str, finished: bool
) -> None:
    last = [message(part("a", *versions[-1], status="finish"))] if finished else []
    frames = [message(part("a", *items)) for items in versions]
    assert written(decode([*frames, *last, FINISH])) == wanted


@pytest.mark.parametrize(
    ("first", "wanted"),
    [(item("image", [PICTURE], "init"), f"<{PICTURE}>\n\n"), (item("execution_output", "3", "init"), "3\n")],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_item_that_is_held_for_finished_at_last_is_given_in_its_place(
    first: Any, wanted: str, together: bool
) -> None:
    def frame(length: int) -> bytes:
        text = item("text", "甲" * length, "init")
        return message(part("a", first, text) if together else part("b", text))

    begun = message(part("a", first))
    frames = [begun, *map(frame, range(1, 2 * PATIENCE))]
    wanted += "甲" * (2 * PATIENCE - 1)
    assert "".join(written(decode(frames))) == wanted
    assert (
        written(decode([*frames, message(part("a", {**first, "status": "finish"}, status="finish")), FINISH])) == wanted
    )


@pytest.mark.parametrize("resumed", [True, False])
def test_a_fence_is_closed_when_an_earlier_item_goes_on(resumed: bool) -> None:
    frames = [
        message(part("a", item("text", "一"))),
        *(message(part("b", item("code", "x" * length))) for length in range(1, PATIENCE + 4)),
        message(part("a", item("text", "一二"), status="finish")),
    ]
    wanted = "一\n```python\n" + "x" * (PATIENCE + 3) + "\n```\n二"
    if resumed:
        frames += [message(part("b", item("code", "x" * length))) for length in (PATIENCE + 4, PATIENCE + 6)]
        wanted += "\n```python\nxxx\n```\n"
    assert written(decode([*frames, FINISH])) == wanted
    frames.append(message(part("c", item("text", "三"), status="finish")))
    # Two texts do not run together, whatever came between.
    assert written(decode([*frames, FINISH])) == wanted + ("三" if resumed else "\n三")


def test_an_item_of_another_kind_takes_the_place() -> None:
    frames = [
        message(part("a", item("tool_calls", CALLS))),
        message(part("a", item("text", "一"))),
        message(part("a", item("code", "x"))),
        message(part("a", item("text", "二"), status="finish")),
    ]
    assert written(decode([*frames, FINISH])) == "一\n```python\nx\n```\n二"


def test_an_item_that_comes_back_to_its_place_is_not_given_again() -> None:
    think, answer = item("think", "想"), item("text", "答")
    frames = [message(part("a", think)), message(part("a", answer)), message(part("a", think), status="finish")]
    assert written(decode(frames)) == "«想»答"
    more = message(part("a", item("think", "想一想"), status="finish"))
    assert written(decode([*frames[:2], more, message(part("a", item("text", "答案"))), FINISH])) == "«想»答«一想»案"
    found = item("quote_result", {})
    frames = [message(part("a", one, meta=SOURCES)) for one in (found, answer, {**found, "status": "finish"})]
    assert written(decode([*frames, FINISH])) == "{1}{2}答"


NAMELESS = {
    # the only item of two parts, and what is to be read
    "text": (item("text", "好"), item("text", "好的，"), "好\n好的，"),
    "other text": (item("text", "好的"), item("text", "好"), "好的\n好"),
    "think": (item("think", "好"), item("think", "好的"), "«好好的»"),
    "code": (item("code", "x"), item("code", "x = 1"), "```python\nx\n```\n```python\nx = 1\n```\n"),
    "output": (OUTPUT, item("execution_output", "3.14159"), "3.14\n3.14159\n"),
    "picture": (DRAWING, item("image", [PICTURE, f"{PICTURE}?"]), f"<{PICTURE}>\n<{PICTURE}>\n<{PICTURE}?>\n"),
    "other picture": (DRAWING, item("image", [f"{PICTURE}?"]), f"<{PICTURE}>\n<{PICTURE}?>\n"),
}


@pytest.mark.parametrize(("first", "second", "wanted"), NAMELESS.values(), ids=NAMELESS)
def test_a_part_without_a_name_begins_behind_one_that_is_finished(first: Any, second: Any, wanted: str) -> None:
    frames = [message(part(None, first)), message(part(None, first, status="finish"))]
    frames += [message(part(None, second)), message(part(None, second, status="finish"))]
    assert written(decode([*frames, FINISH])) == wanted
    assert written(decode([frame for frame in frames for _ in range(2)] + [FINISH])) == wanted


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        *(("other text", status) for status in ("init", "finish", None)),
        *(("other picture", status) for status in ("finish", None)),
    ],
)
def test_a_part_without_a_name_is_another_when_it_does_not_begin_like_the_one_before(
    kind: str, status: str | None
) -> None:
    first, second, wanted = NAMELESS[kind]
    frames = [message(part(None, one, status=status)) for one in (first, second, second)]
    assert written(decode([*frames, FINISH])) == wanted


def test_a_picture_may_change_while_its_part_is_not_finished() -> None:
    others = [item("image", [f"{PICTURE}?{number}"]) for number in range(3)]
    frames = [message(part(None, one)) for one in (DRAWING, *others)]
    assert written(decode([*frames, FINISH])) == f"<{PICTURE}?2>\n"


def test_a_part_without_a_name_that_has_fewer_items_is_another() -> None:
    code = item("code", "x")
    frames = [message(part(None, *items, status=None)) for items in ([code, OUTPUT], [code])]
    fence = "```python\nx\n```\n"
    assert written(decode([*frames, FINISH])) == f"{fence}3.14\n{fence}"


def test_a_part_without_a_name_that_says_nothing_new_is_the_same() -> None:
    frames = [
        message(part(None, item("text", text), *more, status=None))
        for text, more in (("好", []), ("", []), ("好的", [CALL]), ("好的，", [CALL, OUTPUT]))
    ]
    frames.insert(2, message(part(None, status=None)))
    assert written(decode([*frames, FINISH])) == "好的，\n3.14\n"


def test_sources_of_parts_without_names() -> None:
    more = {"metadata_list": [{"title": "C", "url": "https://c.example.com/"}]}
    found = item("quote_result", {})
    frames = [
        message(part(None, found, status="finish", meta=SOURCES)),
        message(part(None, found)),
        message(part(None, found, status="finish", meta=more)),
        message(part(None, item("text", "晴【1†来源】【3†来源】"))),
    ]
    assert written(decode([*frames, FINISH])) == "{1}{2}{3}晴[1][3]"
    del frames[1]
    assert written(decode([*frames, FINISH])) == "{1}{2}{3}晴[1][3]"


def test_the_same_output_of_two_parts_is_given_twice() -> None:
    frames = [message(part(name, OUTPUT, status="finish")) for name in ("a", "a", "b")]
    assert written(decode([*frames, FINISH])) == "3.14\n3.14\n"


def test_a_rewritten_text_goes_on_behind_what_was_sent() -> None:
    frames = [
        message(part("a", item("text", text)))
        for text in ("一二三四五六七八九", "一二三四五六七八玖十", "一", "一二三四五六七八玖十末")
    ]
    deltas = decode([*frames, FINISH])
    assert written(deltas) == "一二三四五六七八九十末"
    assert deltas.count(Unknown("rewritten")) == 2


ALPHABET = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]


@st.composite
def schedules(draw: st.DrawFn) -> tuple[list[bytes], str, bool]:
    """Frames that grow some parts in any order, all their text in order, and whether the statuses are all there."""
    letters = iter(ALPHABET)
    kinds = st.sampled_from(["text", "think", "code"])
    plan = draw(st.lists(st.lists(st.tuples(kinds, st.integers(1, 6)), min_size=1, max_size=2), min_size=1, max_size=4))
    texts = [[(kind, "".join(next(letters) for _ in range(size))) for kind, size in items] for items in plan]
    stated, sent_again, in_turns = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    shown = [[0] * len(items) for items in texts]
    begun = 0
    frames = []

    def seen(at: int) -> dict[str, Any]:
        over = [count == len(text) for count, (_, text) in zip(shown[at], texts[at], strict=True)]
        items = [
            item(kind, text[:count], ("finish" if done else "init") if stated else None)
            for (kind, text), count, done in zip(texts[at], shown[at], over, strict=True)
            if count
        ]
        return part(f"part {at}", *items, status=("finish" if all(over) else "init") if stated else None)

    while True:
        open_parts = [at for at in range(len(texts)) if shown[at] != [len(text) for _, text in texts[at]]]
        if not open_parts:
            break
        choice = open_parts[: begun + 1] if in_turns else open_parts[:1]
        at = draw(st.sampled_from([at for at in choice if at <= begun] or open_parts[:1]))
        begun = max(begun, at + 1)
        # Items of one part grow one after the other: that is what a list of contents is.
        place = next(i for i, (_, text) in enumerate(texts[at]) if shown[at][i] < len(text))
        shown[at][place] += draw(st.integers(1, len(texts[at][place][1]) - shown[at][place]))
        changed = range(begun) if sent_again else [at]
        frames.append(message(*map(seen, changed)))
        if draw(st.booleans()):
            frames.append(frames[-1])
    rest = map(seen, range(len(texts))) if draw(st.booleans()) else []
    frames.append(message(*rest, status="finish"))
    return frames, "".join(text for items in texts for _, text in items), stated


@settings(max_examples=400, deadline=None)
@given(schedules())
def test_every_character_leaves_exactly_once(schedule: tuple[list[bytes], str, bool]) -> None:
    frames, wanted, stated = schedule
    deltas = decode(frames)
    given = "".join(delta.text for delta in deltas if isinstance(delta, Text | Thinking))
    letters = [letter for letter in given if letter in wanted]
    assert sorted(letters) == sorted(wanted)
    assert not any(isinstance(delta, Unknown) for delta in deltas)
    if stated and len(frames) <= PATIENCE:
        assert "".join(letters) == wanted


@settings(max_examples=400, deadline=None)
@given(schedules())
def test_frames_read_by_what_is_new_say_what_whole_ones_say(schedule: tuple[list[bytes], str, bool]) -> None:
    frames, _, _ = schedule
    # Unfinished texts go on for a while, as in most frames of a site.
    frames = [
        again for frame in frames for again in (frame, frame.replace(b'","status":"init"', b'!","status":"init"'))
    ]
    given_by_growth = written(decode(frames))
    with patch.object(Growth, "added", return_value=None):
        assert written(decode(frames)) == given_by_growth


def test_a_frame_without_the_text_being_written_says_nothing_of_it() -> None:
    first, again = item("text", "xy"), item("text", "xyz")
    frames = [
        message(part("a", first, status="finish")),
        message(part("b", first)),
        message(part("a", first, status="finish")),
        message(part("a", again, status="finish")),
        message(part("b", item("text", "xyw"))),
    ]
    assert written(decode([*frames, FINISH])) == "xy\nxyzw"


def test_a_text_grows_while_what_follows_it_waits() -> None:
    def both(text: str, status: str = "init") -> bytes:
        return message(part("a", item("text", text, status), item("text", "next", status), status=status))

    frames = [both("ab"), both("abc"), both("abcd"), both("abcd!", "finish"), FINISH]
    assert written(decode(frames)) == "abcd!\nnext"


# --- sources and marks -----------------------------------------------------------------------------------------


def test_sources_are_numbered_over_the_whole_answer() -> None:
    more = {"metadata_list": [{"title": "C", "url": "https://c.example.com/"}, {"title": "no address"}, "?"]}
    frames = [
        message(part("a", item("quote_result", {}), status="finish", meta=SOURCES)),
        message(part("b", item("quote_result", {}), status="finish", meta=more)),
        *grown("c", "text", "一【3†source】二【9†源】"),
    ]
    assert decode([*frames, FINISH])[:3] == [
        Reference("1", "中央气象台", "http://www.nmc.cn/"),
        Reference("2", "Weather Beijing", "https://www.weather.com.cn/101010100.shtml"),
        Reference("3", "C", "https://c.example.com/"),
    ]
    assert written(decode([*frames, FINISH])) == "{1}{2}{3}一[3]二[9]"


def test_a_source_with_a_key_is_cited_by_key_or_number() -> None:
    found = message(part("a", item("tool_result", {}), status="finish", meta=RESULTS))
    frames = [found, found, message(part("b", item("tool_result", {"meta_data": RESULTS}), status="finish"))]
    frames += grown("c", "text", "一【turn0search0】二【2†来源】")
    assert written(decode([*frames, FINISH])) == "{turn0search0}{turn0search1}一[turn0search0]二[turn0search1]"


def test_sources_come_before_the_text_that_follows_them() -> None:
    frames = [
        message(part("a", item("quote_result", {}), meta=SOURCES)),
        message(part("b", item("text", "晴【1†来源】"))),
    ]
    assert written(decode(frames)) == "{1}{2}晴[1]"


@pytest.mark.parametrize("status", ["init", "finish", None])
def test_sources_come_before_the_text_that_follows_them_in_their_part(status: str | None) -> None:
    found = item("tool_result", {}, status)
    frames = [message(part("a", found, item("text", text), meta=RESULTS)) for text in ("晴【", "晴【turn0search0】好")]
    wanted = "{turn0search0}{turn0search1}晴[turn0search0]好"
    if status == "init":
        # The text waits for the item to be over, its sources do not.
        assert written(decode(frames[:1])) == "{turn0search0}{turn0search1}晴【"
    assert written(decode([message(part("a", found)), *frames, FINISH])) == wanted
    later = message(part("a", found, item("text", "晴【turn0search0】好"), meta={**RESULTS}, status="finish"))
    assert written(decode([*frames, later, FINISH])) == wanted


def test_sources_that_come_when_something_else_has_begun() -> None:
    results = RESULTS["tool_result_extra"]["search_results"]
    frames = [
        message(
            part("a", item("tool_result", {}), item("text", "晴"), meta={"tool_result_extra": {"search_results": some}})
        )
        for some in (results[:1], results)
    ]
    assert written(decode([*frames, FINISH])) == "{turn0search0}晴{turn0search1}"


def test_marks_are_found_whatever_the_frames_cut() -> None:
    text = "晴【1†来源】雨【turn0search1】风【12†source】雪【3†源】【标题】【1†"
    for at in range(len(text) + 1):
        frames = [message(part("a", item("text", piece))) for piece in (text[:at], text)]
        assert written(decode([*frames, FINISH])) == "晴[1]雨[turn0search1]风[12]雪[3]【标题】【1†"


def test_a_mark_that_is_not_whole_is_text_when_the_next_item_begins() -> None:
    assert written(decode([*grown("a", "text", "晴【1†"), *grown("b", "text", "源】"), FINISH])) == "晴【1†\n源】"


def test_no_marks_in_code_or_thinking() -> None:
    frames = [*grown("a", "think", "【1†源】"), *grown("b", "code", "【1†源】"), FINISH]
    assert written(decode(frames)) == "«【1†源】»```python\n【1†源】\n```\n"


def test_a_silent_model_leaves_out_thinking_and_sources() -> None:
    assert written(decode(THOUGHT, silent=True)) == "等于 2，因为皮亚诺公理。"
    assert written(decode(SEARCH, silent=True)) == "今天北京晴[1]，25℃。"
    frames = [*grown("a", "text", "甲"), *grown("b", "think", "乙"), *grown("c", "text", "丙"), FINISH]
    assert written(decode(frames, silent=True)) == "甲\n丙"
    assert written(decode(DRAWN, silent=True)) == TRANSCRIPTS["drawn"][1]
    assert written(decode(CODE, silent=True)) == TRANSCRIPTS["code"][1]


# --- endings ---------------------------------------------------------------------------------------------------


def test_the_parts_of_the_finish_frame_are_read() -> None:
    last = message(part("a", item("text", "你好！"), status="finish"), status="finish")
    assert decode([PLAIN[0], last]) == [Text("你好"), Text("！"), Finish("stop")]


@pytest.mark.parametrize("status", ["intervene", "init"])
def test_the_filter_with_a_notice(status: str) -> None:
    notice = message(status=status, last_error={"intervene_text": "很抱歉…"})
    assert decode([PLAIN[0], notice]) == [Text("你好"), Text("\n\n很抱歉…"), Finish("content_filter")]


@pytest.mark.parametrize("error", [{}, None, {"intervene_text": ""}, {"intervene_text": 7}, "text"])
def test_the_filter_without_a_notice(error: Any) -> None:
    assert decode([message(status="intervene", last_error=error)]) == [Finish("content_filter")]


ERRORS = [
    (message(last_error={"message": "服务异常"}), UpstreamUnavailable, "服务异常"),
    (message(last_error="服务异常"), UpstreamUnavailable, "服务异常"),
    (message(last_error={"message": "智能体未发布"}), RequestRefused, "智能体未发布"),
    (message(last_error={"code": 500, "message": "internal error"}), UpstreamUnavailable, "internal error"),
    (message(last_error={"status": "failed", "message": "boom"}), RequestRefused, "boom"),
    (message(last_error={"error_code": 10040, "error_msg": "boom"}), RequestRefused, "boom"),
    (message(last_error={"error_message": "次数已用完"}), AccountLimited, "次数已用完"),
    (message(status="finish", last_error={"message": "boom"}), RequestRefused, "boom"),
    (b'{"message":"\xe5\xbd\x93\xe5\x89\x8d\xe8\xbf\x98","result":[],"status":10006}', AccountBusy, "当前还"),
    (b'{"message":"refused","status":401}', SessionRefused, "refused"),
    (b'{"message":"refused","status":"10006"}', AccountBusy, "refused"),
    (b'{"message":"code: 40102, refresh token expired","status":401}', AccountExpired, "Log in"),
    (b'{"validation_error":{"body_params":[{"loc":["a"],"msg":"field required"}]}}', UpstreamChanged, "field"),
    (b"no json", UpstreamChanged, "not JSON"),
    (b"{", UpstreamChanged, "not JSON"),
    (b"<html>", UpstreamChanged, "not JSON"),
    (b"\xff", UpstreamChanged, "not JSON"),
    (b"[" * 100_000, UpstreamChanged, "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "error", "words"), ERRORS)
def test_refusals_inside_the_stream(data: bytes, error: type[Exception], words: str) -> None:
    held = message(part("a", item("text", "你好【1")))
    first, rest, last = decode([held, data])
    assert (first, rest) == (Text("你好"), Text("【1"))
    assert isinstance(last, Failed)
    assert type(last.error) is error
    assert words in last.error.message


@pytest.mark.parametrize("data", [PLAIN[0][:50], b"", b" "])
def test_a_cut_frame(data: bytes) -> None:
    decoder = GlmDecoder(ASSISTANT)
    (failed,) = decoder.feed(SseFrame("message", data, whole=False))
    assert isinstance(failed, Failed)
    assert type(failed.error) is UpstreamUnavailable


# --- what is not known, or not in order ------------------------------------------------------------------------

ODD = [
    (b"", []),
    (b" \n", []),
    (b"{}", []),
    (b'{"message":"success","status":0}', []),
    (b'{"message":"success","status":"0"}', []),
    (b'{"message":"success","status":"processing"}', []),
    (b'{"status":"init"}', []),
    (b'{"parts":null}', []),
    (b'{"parts":[],"status":"processing"}', []),
    (b"[]", [Unknown("malformed frame")]),
    (b"null", [Unknown("malformed frame")]),
    (b'"text"', [Unknown("malformed frame")]),
    (b'{"parts":"text"}', [Unknown("malformed parts")]),
    (b'{"parts":{"a":1}}', [Unknown("malformed parts")]),
    (b'{"parts":[null,1,"a",[]]}', [Unknown("malformed part")] * 4),
    (b'{"parts":[{}]}', []),
    (b'{"parts":[{"content":null}]}', []),
    (b'{"parts":[{"content":"text"}]}', [Unknown("malformed content")]),
    (b'{"parts":[{"logic_id":["a"],"content":[1,null,{},{"type":[]},{"type":7}]}]}', [Unknown("malformed item")] * 5),
    (b'{"parts":[{"content":[{"type":"text","text":7},{"type":"text"},{"type":"think","think":[]}]}]}',
     [Unknown("malformed item")] * 2),
    (b'{"parts":[{"content":[{"type":"image","image":7},{"type":"image","image":[7,{"image_url":7},{}]}],'
     b'"status":"finish"}]}', []),
    (b'{"parts":[{"content":[{"type":"quote_result"}],"meta_data":[]}]}', []),
    (b'{"parts":[{"content":[{"type":"quote_result"}],"meta_data":{"metadata_list":[1,{"url":7,"title":[]}]}}]}', []),
    (b'{"parts":[{"content":[{"type":"tool_result","meta_data":{"tool_result_extra":[]}}]}]}', []),
    (b'{"parts":[{"content":[{"type":"execution_output","content":["a"]}],"status":"finish"}]}',
     [Unknown("malformed item")]),
    (b'{"parts":[{"content":[{"type":"system_error","content":"a"}]}]}', []),
    (b'{"parts":[{"content":[{"type":"hologram","text":"a"}]}]}', [Unknown("hologram")]),
    (b'{"parts":[],"last_error":{"trace":"a"}}', [Unknown("last_error")]),
    (b'{"parts":[],"last_error":7}', [Unknown("last_error")]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "wanted"), ODD)
def test_odd_frames_are_skipped(data: bytes, wanted: list[Delta]) -> None:
    assert decode([data, *PLAIN]) == [*wanted, *decode(PLAIN)]
    assert decode([PLAIN[0], data, *PLAIN[1:]]) == [Text("你好"), *wanted, *decode(PLAIN)[1:]]


def test_an_unknown_kind_is_counted_once_for_each_item() -> None:
    frame = message(part("a", item("hologram", {}), item("hologram", {})))
    assert decode([frame, frame, FINISH]) == [Unknown("hologram")] * 2 + [Finish()]


NAMES = [
    "parts",
    "content",
    "type",
    "text",
    "think",
    "image",
    "image_url",
    "status",
    "logic_id",
    "last_error",
    "meta_data",
    "metadata_list",
    "message",
    "code",
    "conversation_id",
    "validation_error",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-999, 99999)
    | st.text(max_size=4)
    | st.sampled_from(["init", "finish", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(JSON, max_size=4))
def test_nothing_the_site_sends_is_an_exception(values: list[Any]) -> None:
    decode(orjson.dumps(value) for value in values)


# --- surrogates ------------------------------------------------------------------------------------------------


def escaped(text: str) -> bytes:
    return b'{"parts":[{"logic_id":"a","content":[{"type":"text","text":"%s"}],"status":"init"}],"status":"init"}' % (
        text.encode()
    )


def test_a_high_surrogate_waits_for_its_half() -> None:
    decoder = GlmDecoder(ASSISTANT)
    fed = [
        decoder.feed(SseFrame("", escaped(text)))
        for text in ("a", r"a\ud83d", r"a\ud83d\ude00", r"a\ud83d\ude00b", r"a\ud83d\ude00b\ud83d")
    ]
    assert fed == [[Text("a")], [], [Text("😀")], [Text("b")], []]
    assert decoder.end() == []


def test_no_lone_surrogate_leaves() -> None:
    lone = r"\ud83d"
    holder = {
        "logic_id": "a",
        "status": "finish",
        "meta_data": {"metadata_list": [{"title": "LONE!", "url": "https://x/LONE!"}]},
        "content": [
            {"type": "text", "text": "LONE!"},
            {"type": "think", "think": "LONE!"},
            {"type": "code", "code": "LONE!"},
            {"type": "execution_output", "content": "LONE!"},
            {"type": "image", "image": [{"image_url": "https://x/LONE!"}]},
            {"type": "quote_result"},
            {"type": "LONE!"},
        ],
    }
    datas = [
        message(holder, conversation_id="LONE!"),
        message(status="intervene", last_error={"intervene_text": "LONE!"}),
    ]
    deltas = decode(data.replace(b"LONE", lone.encode()) for data in datas)
    assert "�!" in repr(deltas)
    repr(deltas).encode()
    assert len(deltas) >= 9


# --- speed -----------------------------------------------------------------------------------------------------


def test_work_for_a_frame_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is new is looked at for marks, which is all the work there is beyond parsing."""
    looked_at: list[int] = []
    feed = Marks.feed

    def counted(marks: Marks, text: str) -> list[Delta]:
        looked_at.append(len(text))
        return feed(marks, text)

    monkeypatch.setattr(Marks, "feed", counted)
    decoder = GlmDecoder(ASSISTANT)
    for more in range(200):
        decoder.feed(SseFrame("", message(part("a", item("text", "好" * 50_000 + "字" * more)))))
    assert looked_at == [50_000, *[1] * 199]


@pytest.mark.parametrize("name", ["n", None])
def test_a_source_list_that_is_not_sent_again_is_no_other_part(name: str | None) -> None:
    sources = {"metadata_list": [{"url": "https://s/1", "title": "t"}]}
    frames = [
        message(part(name, item("quote_result", {}), item("text", "今天晴"), meta=sources)),
        message(part(name, item("quote_result", {}), item("text", "今天晴，明天雨"))),
        FINISH,
    ]
    assert written(decode(frames)) == "{1}今天晴，明天雨"
