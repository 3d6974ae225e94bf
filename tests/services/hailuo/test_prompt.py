import orjson
import pytest

from services.hailuo import prompt
from shared.openai.messages import Message
from shared.openai.parse import read_chat

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACADs="}}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def messages(*said: tuple[str, object]) -> tuple[Message, ...]:
    body = {"messages": [{"role": role, "content": content} for role, content in said]}
    return read_chat(orjson.dumps(body)).messages


EXAMPLES = {
    "one": ([("user", "你是谁？")], "你是谁？\n"),
    "one with parts": ([("user", [text("a"), IMAGE, text("b")])], "a\nb\n"),
    "history": (
        [
            ("system", "You answer in English only."),
            ("user", "你好"),
            ("assistant", "Hello! How can I help?"),
            ("user", "今天星期几？"),
        ],
        "system:You answer in English only.\nuser:你好\nassistant:Hello! How can I help?\nuser:今天星期几？\n"
        "assistant:",
    ),
    "parts": (
        [("user", [text("first line"), text("second line")]), ("assistant", "ok"), ("user", [text("and now?")])],
        "user:first line\nuser:second line\nassistant:ok\nuser:and now?\nassistant:",
    ),
    "pictures": (
        [
            ("user", "画一只猫"),
            (
                "assistant",
                "好的 ![cat](https://img.example.com/cat.png)\n"
                "![a](https://x/1.png) 中间的字 ![b](https://x/2.png) 尾巴",
            ),
            ("user", "再画一只狗"),
        ],
        "user:画一只猫\nassistant:好的 \n 尾巴\nuser:再画一只狗\nassistant:",
    ),
    "files": (
        [("user", [IMAGE, text("第一张")]), ("assistant", "看到了"), ("user", [text("这张呢？"), IMAGE])],
        "user:第一张\nassistant:看到了\nsystem:关注用户最新发送文件和消息\nuser:这张呢？\nassistant:",
    ),
    "an unreadable conversation id changes nothing": (
        [("user", "a"), ("assistant", "b"), ("user", "c")],
        "user:a\nassistant:b\nuser:c\nassistant:",
    ),
    "null is no word": (
        [("user", "weather?"), ("assistant", None), ("tool", '{"t":12}')],
        'user:weather?\nassistant:\ntool:{"t":12}\nassistant:',
    ),
    "recorded": (
        [("system", "Be brief."), ("user", [text("图里有什么？"), IMAGE])],
        "system:Be brief.\nsystem:关注用户最新发送文件和消息\nuser:图里有什么？\nassistant:",
    ),
}


@pytest.mark.parametrize(("said", "wanted"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples(said: list[tuple[str, object]], wanted: str) -> None:
    assert prompt.prompt(messages(*said), continued=False) == wanted


def test_continued() -> None:
    assert prompt.prompt(messages(("user", "继续"), ("user", "写完它")), continued=True) == "继续\n写完它\n"


def test_a_picture_pattern_stops_at_every_line_end_of_javascript() -> None:
    said = [("user", "![a\u2028](b)"), ("user", "x")]
    assert prompt.prompt(messages(*said), continued=False) == "user:![a\u2028](b)\nuser:x\nassistant:"


def test_the_messages_stay_as_they_are() -> None:
    said = messages(("user", "a"), ("user", [text("b"), IMAGE]))
    assert prompt.prompt(said, continued=False) == prompt.prompt(said, continued=False)


def test_spoken() -> None:
    said = "# 标题\n【重点】看(这里)《书名》[a]{b}<c>「d」『e』〈f〉〖g〗"
    assert prompt.spoken(said) == "  标题。 重点 看 这里  书名  a  b  c  d  e  f  g "
    assert prompt.spoken("（a）") == " a "


def test_repeat_prompt() -> None:
    assert prompt.repeat_prompt("早上{0}好！") == (
        "user:完整复述以下内容，不要进行任何修改，也不需要进行任何解释。\n早上{0}好！\nassistant:好的，我将开始完整复述：\n\n"
    )


def test_form() -> None:
    uploads = [
        prompt.Upload("a.png", "image/png", "1"),
        prompt.Upload("b.pdf", "application/pdf", 2),
        prompt.Upload("c", None, "3"),
    ]
    assert prompt.form(uploads, "看\n") == (
        '[{"name":"","formType":2,"content":"a.png","fileID":"1"},{"name":"","formType":6,"content":"b.pdf","fileID":2},'
        '{"name":"","formType":6,"content":"c","fileID":"3"},{"name":"","formType":1,"content":"看\\n"}]'
    )
    assert prompt.form([], "text") == ""


def test_search_mode() -> None:
    assert prompt.search_mode("hailuo") == "0"
    assert prompt.search_mode("hailuo-nosearch") == "1"
