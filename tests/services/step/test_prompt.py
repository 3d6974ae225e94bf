"""The text the site is sent, and what a model name asks for."""

from typing import Any

import orjson
import pytest

from services.step.models import Choice, choice
from services.step.prompt import prompt
from shared.openai.parse import read_chat

FILE = {"type": "file", "file_url": {"url": "https://files.example.com/a.pdf"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://files.example.com/a.png"}}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def by(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


HINT = "system:以上为历史消息，关注以下用户消息\n"
FILES_HINT = "system:以上为历史消息，关注以下用户发送的文件和消息\n"
WORKED: list[tuple[list[dict[str, Any]], str]] = [
    ([user("你是谁？")], f"{HINT}user:你是谁？\nassistant:"),
    (
        [
            by("system", "你是一个严谨的助手。\nAnswer briefly."),
            user("1+1=?"),
            by("assistant", "2"),
            user("再加 3 呢？🤔"),
        ],
        f"system:你是一个严谨的助手。\nAnswer briefly.\nuser:1+1=?\nassistant:2\n{HINT}user:再加 3 呢？🤔\nassistant:",
    ),
    (
        [
            user([text("第一段"), text("第二段"), {"type": "audio"}, "bare string"]),
            by("assistant", None),
            {"content": "no role here"},
        ],
        # The null of an assistant is empty, not the word.
        f"user:第一段\nuser:第二段\nassistant:\n{HINT}user:no role here\nassistant:",
    ),
    ([user([FILE, text("文档里说了什么？")])], f"{FILES_HINT}user:文档里说了什么？\nassistant:"),
    (
        [user("之前的问题"), by("assistant", "之前的回答"), user([IMAGE, text("图像描述了什么？")])],
        f"user:之前的问题\nassistant:之前的回答\n{FILES_HINT}user:图像描述了什么？\nassistant:",
    ),
    (
        [user([FILE, text("看这个")]), by("assistant", "看完了"), user("总结一下")],
        f"user:看这个\nassistant:看完了\n{HINT}user:总结一下\nassistant:",
    ),
    (
        [user("查天气"), by("assistant", "", tool_calls=[]), by("tool", "晴")],
        f"user:查天气\nassistant:\n{HINT}tool:晴\nassistant:",
    ),
    ([user([{"type": "text"}])], f"{HINT}user:\nassistant:"),
    ([user([])], f"{HINT}assistant:"),
    ([by("", "x")], f"{HINT}user:x\nassistant:"),
]


def folded(messages: list[dict[str, Any]], *, continued: bool = False) -> str:
    return prompt(read_chat(orjson.dumps({"messages": messages})).messages, continued=continued)


@pytest.mark.parametrize(("messages", "wanted"), WORKED)
def test_worked_examples(messages: list[dict[str, Any]], wanted: str) -> None:
    assert folded(messages) == wanted


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [
        ([user("再说一遍")], "再说一遍"),
        ([user("一"), by("assistant", "二"), user([text("三"), FILE, text("四")])], "三\n四"),
        ([user([FILE])], ""),
    ],
)
def test_a_continued_chat_is_sent_the_last_message(messages: list[dict[str, Any]], wanted: str) -> None:
    assert folded(messages, continued=True) == wanted


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("step", Choice("step")),
        ("step-search", Choice("step", True)),
        ("step-nosearch", Choice("step", False)),
        ("step-r-mini-search", Choice("step-r-mini", True)),
        ("deepseek-r1-nosearch", Choice("deepseek-r1", False)),
        ("research", Choice("research")),
        ("", Choice("")),
    ],
)
def test_model_names(model: str, wanted: Choice) -> None:
    assert choice(model) == wanted
