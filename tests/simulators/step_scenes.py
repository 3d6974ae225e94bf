"""What the fake site answers: events in its shape, pure and the same for the same question."""

import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tests.simulators.faults import Fault

Event = dict[str, Any]
LETTERS = 4
"""Letters of the answer in one event."""

EXCERPT = 60
"""Letters of the question that an answer repeats."""

DONE: Event = {"doneEvent": {}}
SEARCHES: tuple[tuple[str, tuple[Event, ...]], ...] = (
    (
        "上海 天气",
        (
            {
                "title": "上海天气预报_今日天气",
                "url": "https://www.weather.example.cn/shanghai",
                "snippet": "多云",
            },
            {
                "title": "Shanghai weather – 7 day forecast",
                "url": "https://weather.example.com/sh?d=7",
                "snippet": "cloudy",
            },
        ),
    ),
    (
        "上海 湿度",
        ({"title": "湿度", "url": "https://humidity.example.cn/sh", "snippet": "70%"},),
    ),
)


@dataclass(frozen=True)
class Question:
    """What an answer is made for: what the user said, the names of the files, and how it is to be answered."""

    text: str
    files: tuple[str, ...] = ()
    thinks: bool = False
    searches: bool = True

    @property
    def excerpt(self) -> str:
        """The beginning of the text, in one line."""
        return " ".join(self.text.split())[:EXCERPT]


def framed(payload: bytes, flags: int = 0) -> bytes:
    """Give a frame."""
    return struct.pack(">BI", flags, len(payload)) + payload


def end(payload: Event | None = None) -> bytes:
    """Give the frame that ends a stream."""
    return framed(orjson.dumps(payload or {}), 2)


def failure(code: str, message: str) -> bytes:
    """Give the frame that ends a stream with an error."""
    return end({"error": {"code": code, "message": message}})


def texts(text: str, stage: str | None = None) -> list[Event]:
    """Give the events of a text that grows by some letters each time."""
    more = {} if stage is None else {"stage": f"TEXT_STAGE_{stage}"}
    return [{"textEvent": {"text": text[at : at + LETTERS], **more}} for at in range(0, len(text), LETTERS)]


def play(question: Question) -> list[Event | bytes]:
    """Give the site's own answer to a question."""
    stage = "SOLUTION" if question.thinks else None
    thinking = texts(f"用户说「{question.excerpt}」，我先想一想<web_1>。", "THINKING") if question.thinks else []
    scene = _search if question.searches and _about_weather(question.text) else _echo
    return [_start(), *thinking, *scene(question, stage), DONE, end()]


def newer(frame: Event | bytes) -> Event | bytes:
    """Give an event as stepfun.com writes it; what is no event of an answer stays as it is."""
    if isinstance(frame, bytes):
        return frame
    text = frame.get("textEvent", {})
    if "stage" in text:
        name = "reasoningEvent" if text["stage"] == "TEXT_STAGE_THINKING" else "textEvent"
        frame = {name: {"text": text["text"]}}
    return {"data": {"event": frame}}


class Scene(Fault):
    """A fault that changes the frames of a stream; the chat is made and kept as usual."""

    def edit(self, frames: list[Event | bytes]) -> Sequence[Event | bytes]:
        """Give what is sent, from the site's own frames; events are framed, bytes are sent as they are."""
        return frames


class Frames(Scene):
    """Exactly these frames instead of the site's own."""

    def __init__(self, *frames: Event | bytes) -> None:
        self.frames = frames

    def edit(self, frames: list[Event | bytes]) -> Sequence[Event | bytes]:
        """Give them."""
        return self.frames


class Compressed(Scene):
    """Every event compressed."""

    def edit(self, frames: list[Event | bytes]) -> Sequence[Event | bytes]:
        """Compress them."""
        return [one if isinstance(one, bytes) else framed(gzip.compress(orjson.dumps(one)), 1) for one in frames]


def _start() -> Event:
    return {"startEvent": {"messageId": "154303118201421824", "parentMessageId": "154303118129500160"}}


def _about_weather(text: str) -> bool:
    return any(word in text.lower() for word in ("天气", "weather"))


def _echo(question: Question, stage: str | None) -> list[Event]:
    seen = f"我看到了 {len(question.files)} 个文件：{'、'.join(question.files)}。" * bool(question.files)
    answer = f"你好！你说的是「{question.excerpt}」。{seen}这是模拟站点的回答，一字一句慢慢写出来。😀"
    return [{"heartBeatEvent": {}}, *texts(answer, stage)]


def _search(question: Question, stage: str | None) -> list[Event]:
    searches = [
        {"pipelineEvent": {"eventSearch": {"query": query, "results": list(results)}}} for query, results in SEARCHES
    ]
    said = f"关于「{question.excerpt}」：上海今天多云<web_1>，22~28℃<web_2><url_a1B2>，湿度 70%<web_3>。<unknown_9>"
    return [{"pipelineEvent": {"eventSearch": {}}}, *searches, *texts(said, stage)]
