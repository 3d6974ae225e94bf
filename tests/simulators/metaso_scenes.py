"""What the fake metaso.cn answers: events in the site's shape, pure and the same for the same question."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from tests.simulators.answers import SSE_TYPE
from tests.simulators.faults import Fault, Reply

Event = dict[str, Any]

DONE = b"data:[DONE]\n\n"
ANSWER_AT_ONCE = "，直接回答"
LABEL = '<span style="color:#999">[AI生成]</span>'
LETTERS_PER_EVENT = 4
EXCERPT = 60
"""Letters of the question that an answer repeats."""

WEB = (
    {"index": 1, "title": "秘塔AI搜索_百度百科", "link": "https://baike.example.com/item/metaso", "date": "2024-08-08"},
    {"index": 2, "title": "Metaso AI search", "link": "https://news.example.com/metaso?a=1&b=2", "snippet": "..."},
)
LATE = {"index": 3, "title": "秘塔科技", "link": "https://company.example.com/"}
PAPERS = ({"index": 1, "title": "Perovskite stability", "link": "https://doi.example.com/10.1000/1"},)


@dataclass(frozen=True)
class Asked:
    """What a scene is played for."""

    question: str
    mode: str
    engine: str

    @property
    def excerpt(self) -> str:
        """The beginning of the question, in one line."""
        return " ".join(self.question.split())[:EXCERPT]


class Events(Fault):
    """Exactly these events instead of the site's own; dicts are written as JSON, bytes are sent as they are."""

    def __init__(self, *events: Event | bytes) -> None:
        self.events = events


class Says(Fault):
    """Exactly these pieces of text instead of the site's own, with the site's lists before and its end sign after."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces


def limited() -> Reply:
    """Give the limit of the caller's address, as a scripted answer: a stream without an answer."""
    return Reply(b"data:[TOO_MANY_REQUESTS]\n\n\n\ndata:[DONE]\n\n", content_type=SSE_TYPE)


def used_up() -> Events:
    """Give the refusal of an account whose searches are used up."""
    return Events({"type": "error", "code": 4001, "msg": "搜索次数超出限制"}, DONE)


def text(piece: str) -> Event:
    """Give the event of a piece of text."""
    return {"type": "append-text", "text": piece}


def written(events: Iterable[Event | bytes]) -> list[bytes]:
    """Write events as the site does."""
    return [one if isinstance(one, bytes) else b"data:" + orjson.dumps(one) + b"\n\n" for one in events]


def play(asked: Asked, pieces: Iterable[str] | None = None) -> list[Event | bytes]:
    """Give the site's own answer to a question, or its lists around these pieces of text."""
    if "天气" in asked.question and not asked.question.endswith(ANSWER_AT_ONCE):
        return [{"type": "weather-card", "data": {"city": "上海"}}, DONE]
    sources = PAPERS if asked.engine else WEB
    said = _answer(asked) if pieces is None else pieces
    return [
        {"type": "query", "data": [asked.excerpt, "Metaso AI search"]},
        {"type": "set-reference", "list": list(sources)},
        {"type": "heartbeat"},
        *map(text, said),
        {"type": "answer-link-num-highlights", "data": [{"index": 1, "highlights": ["秘塔"]}]},
        {"type": "recommended-question", "data": ["还有呢？"]},
        DONE,
    ]


def _answer(asked: Asked) -> list[str]:
    how = {"concise": "简洁", "detail": "深入", "research": "研究"}[asked.mode]
    what = "论文" if asked.engine else "网页"
    said = (
        f"关于「{asked.excerpt}」[[1]]，我{how}搜索了{what}。🔍"
        f"这是模拟站点的回答[[1]]{'' if asked.engine else '[[2]]'}，一字一句慢慢写出来。\n"
    )
    said += LABEL * ("标签" in asked.question)
    return [said[start : start + LETTERS_PER_EVENT] for start in range(0, len(said), LETTERS_PER_EVENT)]
