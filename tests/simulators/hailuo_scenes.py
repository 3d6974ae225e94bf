"""What the fake hailuoai.com answers: events in the site's shape, the same for the same question."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import orjson

from tests.simulators.faults import Fault

Event = tuple[str, Any]
"""A name and what the event carries: anything JSON can hold, or bytes as they are."""

OK = {"code": 0, "httpCode": 0, "message": "成功", "serviceTime": 1737776102, "requestID": "simulated"}
LETTERS_PER_EVENT = 4
EXCERPT = 40
"""Letters of the question that an answer repeats."""
SOURCES = (
    {"detail": "中央气象台", "url": "http://www.nmc.cn/"},
    {"detail": "新华网", "url": "https://www.news.cn/today.html"},
)
_SEARCHED = re.compile("天气|新闻|搜索|weather|news|search|new today", re.IGNORECASE)
_REPEAT = re.compile(
    r"user:完整复述以下内容，不要进行任何修改，也不需要进行任何解释。\n(.*)\nassistant:好的，我将开始完整复述：\n\n",
    re.DOTALL,
)
DEFAULT_HEARD = "你好，这是模拟站点听到的话。"


@dataclass(frozen=True)
class Turn:
    """What an answer is given to: the prompt, the site's ids, the names of the attached files."""

    prompt: str
    chat: str
    message: str
    files: Sequence[str] = ()
    searching: bool = True

    @property
    def said(self) -> str:
        """The last thing the user said."""
        return re.split(r"(?:^|\n)user:", self.prompt.removesuffix("\nassistant:"))[-1].strip()


@dataclass(frozen=True)
class Events(Fault):
    """These events instead of the site's own; `$CHAT` and `$MESSAGE` become the ids."""

    events: tuple[Event, ...] = field(default=())


@dataclass(frozen=True)
class Says(Fault):
    """Another text in the site's own events."""

    text: str


def answer(turn: Turn) -> str:
    """Give the text of an answer."""
    if repeat := _REPEAT.fullmatch(turn.prompt):
        return repeat[1]
    excerpt = " ".join(turn.said.split())[:EXCERPT]
    seen = f"我看到了 {len(turn.files)} 个文件：{'、'.join(turn.files)}。" if turn.files else ""
    return f"你好！你说的是「{excerpt}」。{seen}这是模拟站点的回答，一字一句慢慢写出来。😀"


def play(turn: Turn, text: str) -> list[Event]:
    """Give the events of an answer: cumulative text, with a half-written character at the end of some."""
    links = list(SOURCES) if turn.searching and _SEARCHED.search(turn.said) else []
    pieces = [text[at : at + LETTERS_PER_EVENT] for at in range(0, len(text), LETTERS_PER_EVENT)]
    grown = list(accumulate(pieces))
    growing = [result(turn, so_far + "\ufffd" * (n % 3 == 0), links) for n, so_far in enumerate(grown[:-1])]
    return [
        sent(turn),
        ("heartbeat", {"type": 3, "data": {}}),
        result(turn, "", links),
        *growing,
        result(turn, text, links, last=True),
        ("follow_up_question_result", {"type": 4, "data": {"followUpQuestions": ["还有呢？"]}, "statusInfo": OK}),
        ("close_chunk", {"type": 8, "data": {}}),
    ]


def sent(turn: Turn) -> Event:
    """Give the event with which the site takes a question."""
    ids = {"userMsgID": f"{int(turn.message) - 1}", "chatID": turn.chat, "systemMsgID": turn.message}
    return "send_result", {"type": 1, "data": {"sendResult": {**ids, "chatTitle": "新对话"}}, "statusInfo": OK}


def result(turn: Turn, content: str, links: Sequence[Mapping[str, str]] = (), *, last: bool = False) -> Event:
    """Give an event of the answer."""
    said = {
        "chatID": turn.chat,
        "msgID": turn.message,
        "isEnd": 0 if last else 1,
        "content": content,
        "extra": {"netSearchStatus": {"linkDetail": list(links)}},
    }
    return "message_result", {"type": 2, "data": {"messageResult": said}, "statusInfo": OK}


def written(event: Event, turn: Turn | None = None) -> bytes:
    """Give an event as it is on the wire."""
    name, value = event
    data = value if isinstance(value, bytes) else b"event:" + name.encode() + b"\ndata:" + orjson.dumps(value) + b"\n\n"
    if turn is not None:
        data = data.replace(b"$CHAT", turn.chat.encode()).replace(b"$MESSAGE", turn.message.encode())
    return data


def hearing(text: str) -> list[Event]:
    """Give the events of a call that was spoken: what was heard, then the spoken answer."""
    said = "我听到了。"
    pieces = {"asr_chunk": {"text": text}, "text_chunk": {"text": said}, "audio_chunk": {"hex": ["fffb58c0"]}}
    return [(name, {"status_code": 0, "err_message": "", "data": data}) for name, data in pieces.items()]
