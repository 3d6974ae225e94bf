"""What the fake chatglm.cn answers: frames in the site's shape, pure and the same for the same question."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from tests.simulators.chatglm_checks import DRAWING_ASSISTANT
from tests.simulators.faults import Fault

Frame = dict[str, Any]
Item = dict[str, Any]

CREATED_AT = "2025-04-28 14:12:31"
FILTER_NOTICE = "很抱歉，我无法回答这个问题，请换个话题再试试吧。"
SOURCES = (
    {
        "type": "webpage",
        "title": "中央气象台",
        "url": "http://www.nmc.cn/",
        "text": "北京 晴 25℃",
        "pub_date": "2025-04-28",
    },
    {
        "type": "webpage",
        "title": "Weather Beijing",
        "url": "https://www.weather.com.cn/weather/101010100.shtml",
        "text": "Beijing, sunny",
        "pub_date": "2025-04-28",
    },
)
PICTURE_URL = "https://sfile.chatglm.cn/testpath/{id}_0.png"
LETTERS_PER_FRAME = 4
EXCERPT = 40
"""Letters of the question that an answer repeats."""


@dataclass(frozen=True)
class Question:
    """What a scene is played for: the last thing the user said, its attachments, and how it was asked."""

    text: str
    assistant_id: str
    chat_mode: str | None = None
    attachments: tuple[str, ...] = ()

    @property
    def excerpt(self) -> str:
        """The beginning of the text, in one line."""
        return " ".join(self.text.split())[:EXCERPT]


@dataclass(frozen=True)
class Growth:
    """One part as it grows: the versions of its only item, cumulative, each sent in a frame."""

    versions: tuple[Item, ...]
    role: str = "assistant"
    model: str = "chatglm-all-tools"
    meta_data: dict[str, Any] = field(default_factory=dict)

    def parts(self) -> list[dict[str, Any]]:
        """Give the part in each of its versions; the last one again, finished."""
        identity = str(uuid.uuid4())
        growing = [self._part(identity, item, "init") for item in self.versions]
        return [*growing, self._part(identity, self.versions[-1], "finish")]

    def _part(self, identity: str, item: Item, status: str) -> dict[str, Any]:
        return {
            "id": identity.replace("-", "")[:24],
            "logic_id": identity,
            "role": self.role,
            "content": [{**item, "status": status}],
            "model": self.model,
            "recipient": "all",
            "created_at": CREATED_AT,
            "meta_data": {"toolCallRecipient": None, **self.meta_data},
            "status": status,
        }


def growing(kind: str, text: str, step: int = LETTERS_PER_FRAME) -> Growth:
    """Give a part of one item (`text`, `think` or `code`) whose text grows by `step` letters a frame."""
    pieces = [text[start : start + step] for start in range(0, len(text), step)] or [""]
    return Growth(tuple({"type": kind, kind: so_far} for so_far in accumulate(pieces)))


def frames_of(growths: Iterable[Growth]) -> list[Frame]:
    """Give the frames of an answer: each version of each part, then the last one with the end sign."""
    parts = [part for growth in growths for part in growth.parts()]
    frames = [{"parts": [part], "status": "init"} for part in parts]
    return [*frames, {"parts": parts[-1:], "status": "finish"}]


def complete(frame: Frame, defaults: Frame) -> Frame:
    """Give a frame with all the fields of the wire, those missing taken from `defaults`."""
    common = {"created_at": CREATED_AT, "meta_data": {}, "status": "init", "last_error": {}}
    return {**defaults, "parts": [], **common, **frame}


def play(question: Question) -> list[Frame]:
    """Give the site's own answer to a question."""
    thinking = [growing("think", f"用户在问「{question.excerpt}」，我先想一想。")] if question.chat_mode else []
    return frames_of([*thinking, *_scene(question)(question)])


class Scene(Fault):
    """A fault that changes the frames of a stream; the conversation is made and kept as usual."""

    def edit(self, frames: list[Frame]) -> Sequence[Frame | bytes]:
        """Give what is sent, from the site's own frames; dicts are completed, bytes are sent as they are."""
        return frames


class Frames(Scene):
    """Exactly these frames instead of the site's own. In bytes `$CONVERSATION_ID` becomes the id."""

    def __init__(self, *frames: Frame | bytes) -> None:
        self.frames = frames

    def edit(self, frames: list[Frame]) -> Sequence[Frame | bytes]:
        """Give them."""
        return self.frames


class Filter(Scene):
    """The content filter steps in after some frames; with an empty notice the site gives no words for it."""

    def __init__(self, after: int = 0, notice: str = FILTER_NOTICE) -> None:
        self.after = after
        self.notice = notice

    def edit(self, frames: list[Frame]) -> Sequence[Frame | bytes]:
        """Keep the beginning and end with the notice."""
        error = {"intervene_text": self.notice} if self.notice else {}
        return [*frames[: self.after], {"parts": [], "status": "intervene", "last_error": error}]


def _echo(question: Question) -> list[Growth]:
    seen = f"我看到了 {len(question.attachments)} 个文件：{'、'.join(question.attachments)}。" * bool(
        question.attachments
    )
    answer = f"你好！你说的是「{question.excerpt}」。{seen}这是模拟站点的回答，一字一句慢慢写出来。😀"
    return [growing("text", answer)]


def _search(question: Question) -> list[Growth]:
    call = {"name": "simple_browser", "arguments": f'search("{question.excerpt}")'}
    return [
        Growth(({"type": "tool_calls", "tool_calls": call},)),
        Growth(({"type": "browser_result", "content": "2 results"},), role="tool"),
        Growth(({"type": "quote_result"},), role="tool", meta_data={"metadata_list": list(SOURCES)}),
        growing("text", f"关于「{question.excerpt}」：今天北京晴【1†来源】，25℃【2†来源】。"),
    ]


def _picture(question: Question) -> list[Growth]:
    url = PICTURE_URL.format(id=uuid.uuid5(uuid.NAMESPACE_URL, question.text))
    empty, drawn = ({"type": "image", "image": [{"image_url": address}]} for address in ("", url))
    call = {"name": "cogview", "arguments": f'{{"prompt":"{question.excerpt}"}}'}
    return [Growth(({"type": "tool_calls", "tool_calls": call},)), Growth((empty, drawn), model="cogview")]


def _drawing(question: Question) -> list[Growth]:
    return [
        growing("text", "好的，我来画。"),
        *_picture(question),
        growing("text", f"画好了：「{question.excerpt}」。"),
    ]


def _python(question: Question) -> list[Growth]:
    output = {"type": "execution_output", "content": "\n3.141592653589793"}
    return [
        growing("text", "我来计算。"),
        growing("code", "import math\nprint(math.pi)", 12),
        Growth((output,), role="tool"),
        growing("text", "结果是 π≈3.14。"),
    ]


_SUBJECTS: tuple[tuple[tuple[str, ...], Callable[[Question], list[Growth]]], ...] = (
    (("天气", "weather"), _search),
    (("画", "draw"), _drawing),
    (("python",), _python),
    (("",), _echo),
)
"""Which words of a question, the first that fits, lead to which scene."""


def _scene(question: Question) -> Callable[[Question], list[Growth]]:
    if question.assistant_id == DRAWING_ASSISTANT:
        return _picture
    text = question.text.lower()
    return next(scene for words, scene in _SUBJECTS if any(word in text for word in words))
