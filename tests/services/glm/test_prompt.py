import orjson
import pytest

from services.glm.prompt import (
    chat_body,
    drawing_body,
    drawing_prompt,
    is_agent,
    prompt,
    user_message,
)
from services.glm.site import GlmSite
from shared.openai.messages import FilePart, Message, TextPart
from shared.settings import SettingsError, read_site
from shared.terms import Conversation

SITE = GlmSite()
IMAGE = FilePart("image", "https://files.example.com/cat.png")
FILE = FilePart("file", "https://files.example.com/report.pdf")
CONVERSATION = Conversation("680f1c2e9a4b7d3e5f60718a")


def said(role: str, *parts: str | FilePart | None) -> Message:
    """One string is a string content, None a null content, anything else an array content."""
    if parts == (None,):
        return Message(role, ())
    whole = tuple(TextPart(part) if isinstance(part, str) else part for part in parts if part is not None)
    return Message(role, whole, listed=len(parts) > 1 or not isinstance(parts[0], str))


WORKED = {
    "1 alone": ([said("user", "你叫什么？")], False, "你叫什么？⏎"),
    "2 history": (
        [
            said("system", "You are a pirate."),
            said("user", "Hi"),
            said("assistant", "Arr! 你好"),
            said("user", "今天星期几？"),
        ],
        False,
        "<|sytstem|>⏎You are a pirate.⏎<|user|>⏎Hi⏎<|assistant|>⏎Arr! 你好⏎<|user|>⏎今天星期几？⏎<|assistant|>⏎",
    ),
    "3 clean-up": (
        [
            said("user", "画一只猫"),
            said(
                "assistant",
                "好的 ![图像](https://sfile.chatglm.cn/a.png) 还有 ![b](http://x/y.png) 完成\n"
                "文件在 /mnt/data/out.csv 请下载\n完",
            ),
            said("tool", '{"ok":true}'),
            said("user", "继续", "第二段"),
        ],
        False,
        '<|user|>⏎画一只猫⏎<|assistant|>⏎好的  完成⏎文件在 ⏎完⏎tool⏎{"ok":true}⏎'
        "<|user|>⏎继续⏎<|user|>⏎第二段⏎<|assistant|>⏎",
    ),
    "4 continued": ([said("system", "be brief"), said("user", "再说一遍")], True, "be brief⏎再说一遍⏎"),
    "5 image alone": ([said("user", IMAGE, "图像描述了什么？")], False, "图像描述了什么？⏎"),
    "6 files after a history": (
        [
            said("system", "sys"),
            said("user", "hi"),
            said("assistant", "hello"),
            said("user", FILE, IMAGE, "比较"),
        ],
        False,
        "<|sytstem|>⏎sys⏎<|user|>⏎hi⏎<|assistant|>⏎hello⏎"
        "<|sytstem|>⏎关注用户最新发送文件和消息⏎<|user|>⏎比较⏎<|assistant|>⏎",
    ),
    "7 the attention line comes once": (
        [said("user", "hi"), said("assistant", "hello"), said("user", IMAGE, "图像描述了什么？")],
        False,
        "<|user|>⏎hi⏎<|assistant|>⏎hello⏎<|sytstem|>⏎关注用户最新发送文件和消息⏎"
        "<|user|>⏎图像描述了什么？⏎<|assistant|>⏎",
    ),
    "8 nothing": ([], False, ""),
    "9 null is no text": ([said("user", None)], False, ""),
    "files of earlier messages need no attention": (
        [said("user", IMAGE, "看"), said("user", "好")],
        False,
        "<|user|>⏎看⏎<|user|>⏎好⏎<|assistant|>⏎",
    ),
    "null in a history": (
        [said("user", "a"), said("assistant", None), said("user", "b")],
        False,
        "<|user|>⏎a⏎<|user|>⏎b⏎<|assistant|>⏎",
    ),
    "bare roles": (
        [said("developer", "d"), said("function", "f"), said("user", "")],
        False,
        "developer⏎d⏎function⏎f⏎<|user|>⏎⏎<|assistant|>⏎",
    ),
    "a continued conversation is not cleaned": (
        [said("assistant", "![a](b) /mnt/data/x"), said("user", "y")],
        True,
        "![a](b) /mnt/data/x⏎y⏎",
    ),
}


@pytest.mark.parametrize(("messages", "continued", "wanted"), WORKED.values(), ids=WORKED)
def test_worked_examples(messages: list[Message], continued: bool, wanted: str) -> None:
    before = list(messages)
    assert prompt(messages, continued=continued) == wanted.replace("⏎", "\n")
    assert prompt(messages, continued=continued) == wanted.replace("⏎", "\n"), "a retry gives the same"
    assert messages == before


@pytest.mark.parametrize(
    ("text", "wanted"), [("一只可爱的猫", "请画：一只可爱的猫"), ("画一只猫", "画一只猫"), ("", "请画：")]
)
def test_drawing_prompt(text: str, wanted: str) -> None:
    assert drawing_prompt(text) == wanted


def test_paths_stop_at_every_line_end() -> None:
    messages = [said("user", "/mnt/data/a b\u2028c\n/mnt/data/d\re\n/mnt/data/"), said("user", "f")]
    assert prompt(messages, continued=False) == ("<|user|>\n\u2028c\n\re\n/mnt/data/\n<|user|>\nf\n<|assistant|>\n")


def test_chat_body_byte_for_byte() -> None:
    body = chat_body(SITE, "glm-4-plus", user_message("你叫什么？\n"), None)
    assert orjson.dumps(body).decode() == (
        '{"assistant_id":"65940acff94777010aa6b796","conversation_id":"","messages":[{"role":"user","content":'
        '[{"type":"text","text":"你叫什么？\\n"}]}],"meta_data":{"channel":"","draft_id":"","if_plus_model":true,'
        '"input_question_type":"xxxx","is_networking":true,"is_test":false,"platform":"pc","quote_log_id":""}}'
    )


def test_drawing_body_byte_for_byte() -> None:
    assert orjson.dumps(drawing_body(SITE, "cogview-3", "一只可爱的猫")).decode() == (
        '{"assistant_id":"65a232c082ff90a2ad2f15e2","conversation_id":"","messages":[{"role":"user","content":'
        '[{"type":"text","text":"请画：一只可爱的猫\\n"}]}],"meta_data":{"channel":"","draft_id":"","if_plus_model":true,'
        '"input_question_type":"xxxx","is_test":false,"platform":"pc","quote_log_id":""}}'
    )


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("glm-4-plus", None),
        ("glm-4-zero", "zero"),
        ("glm-4-think", "zero"),
        ("glm-4-deepresearch", "deep_research"),
        ("glm-4-think-deepresearch", "deep_research"),
        ("glm-4-zero-silent", "zero"),
        ("GLM-4-ZERO", None),
        ("", None),
    ],
)
def test_mode_of_a_model_name(model: str, mode: str | None) -> None:
    body = chat_body(SITE, model, {}, None)
    assert body["assistant_id"] == SITE.main_assistant
    assert body["meta_data"].get("chat_mode") == mode
    if mode:
        assert list(body["meta_data"])[:3] == ["channel", "chat_mode", "draft_id"]


@pytest.mark.parametrize(
    ("model", "agent"),
    [
        ("65c046a531d3fcb034918abe", True),
        ("65c046a531d3fcb034918abe0", True),
        ("65c046a531d3fcb034918ab", False),
        ("65C046A531D3FCB034918ABE", False),
        ("65c046a531d3fcb034918abe\n", False),
    ],
)
def test_agents(model: str, agent: bool) -> None:
    assert is_agent(model) is agent
    assert chat_body(SITE, model, {}, None)["assistant_id"] == (model if agent else SITE.main_assistant)
    assert drawing_body(SITE, model, "")["assistant_id"] == (model if agent else SITE.drawing_assistant)


def test_a_continued_conversation_is_named() -> None:
    assert chat_body(SITE, "glm-4", {}, CONVERSATION)["conversation_id"] == CONVERSATION.id


def test_what_the_site_changes_is_data() -> None:
    site = GlmSite(
        chat_modes={"glm-5.3": "thinking"},
        selected_models={"glm-5.3-flash": "glm-5.3-flash", "glm-5.3": "glm-5.3"},
        extra_body={"project_id": "", "meta_data": {"cogview": {"rm_label_watermark": False}}},
    )
    body = chat_body(site, "glm-5.3", {}, None)
    assert body["project_id"] == ""
    assert body["meta_data"]["selected_model"] == "glm-5.3"
    assert body["meta_data"]["chat_mode"] == "thinking"
    assert body["meta_data"]["cogview"] == {"rm_label_watermark": False}


def test_extra_fields_that_cannot_be_added_are_refused() -> None:
    with pytest.raises(SettingsError, match="GLM_EXTRA_BODY takes an object under `meta_data`"):
        read_site(GlmSite, {"GLM_EXTRA_BODY": '{"meta_data": 5}'}, "glm")
