from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.emohaa.prompt import prompt, query
from services.emohaa.site import EmohaaSite
from shared.openai.messages import Message
from shared.openai.parse import read_chat
from shared.settings import SettingsError, read_site

WHOLE = EmohaaSite()


def messages(*said: Any) -> tuple[Message, ...]:
    """Read (role, content) pairs, and messages as they are, the way a client's are read."""
    written = [one if isinstance(one, dict) else {"role": one[0], "content": one[1]} for one in said]
    return read_chat(orjson.dumps({"messages": written})).messages


COUNSEL = (
    ("system", "你是一位心理咨询师。\nBe warm."),
    ("user", "我有点难过"),
    ("assistant", "怎么了？"),
    ("user", "考试没考好 😢"),
    ("assistant", "抱抱你"),
    ("user", "assistant 是什么意思？"),
)
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}

WORKED = [
    ([("user", "你好")], "user:你好\n"),
    (
        COUNSEL,
        "system:你是一位心理咨询师。\nBe warm.\nuser:我有点难过\nemohaa:怎么了？\nuser:考试没考好 😢\n"
        "emohaa:抱抱你\nuser:assistant 是什么意思？\n",
    ),
    (
        [("user", "What is an assistant?"), ("assistant", "A helper."), ("user", "ok")],
        "user:What is an assistant?\nemohaa:A helper.\nuser:ok\n",
    ),
    (
        [
            ("user", "前文"),
            ("user", [{"type": "text", "text": "第一段"}, PICTURE, {"type": "text", "text": "第二段"}, "bare"]),
            ("assistant", None),
            {"content": "no role"},
        ],
        "user:前文\nuser:第一段第二段\nemohaa:\nuser:no role\n",
    ),
    # What the site was always sent right.
    ([("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V")], "system:S\nuser:U\nemohaa:A\nuser:V\n"),
    ([("user", "")], "user:\n"),
    ([("user", " a \n b<br>\\n ")], "user: a \n b<br>\\n \n"),
    ([("tool", "42"), ("developer", "D")], "tool:42\ndeveloper:D\n"),
]


@pytest.mark.parametrize(("said", "wanted"), WORKED)
def test_worked_examples(said: Any, wanted: str) -> None:
    assert prompt(WHOLE, messages(*said), continued=False) == wanted


@pytest.mark.parametrize(
    ("style", "said", "wanted"),
    [
        ("last", COUNSEL, "user:assistant 是什么意思？\n"),
        ("last", [("user", "a"), ("assistant", "b")], "user:a\n"),
        ("last", [("system", "a")], "system:a\n"),
        ("dialogue", [("system", "S"), ("developer", "D"), ("user", "U"), ("assistant", "A")], "user:U\nemohaa:A\n"),
        ("dialogue", [("system", "a")], "system:a\n"),
    ],
)
def test_styles_that_leave_messages_out(style: str, said: Any, wanted: str) -> None:
    site = read_site(EmohaaSite, {"EMOHAA_PROMPT": style}, "emohaa")
    assert prompt(site, messages(*said), continued=False) == wanted


def test_no_other_style() -> None:
    with pytest.raises(SettingsError):
        read_site(EmohaaSite, {"EMOHAA_PROMPT": "first"}, "emohaa")


@pytest.mark.parametrize("style", ["whole", "dialogue", "last"])
def test_a_continued_conversation_is_sent_its_last_message(style: str) -> None:
    site = read_site(EmohaaSite, {"EMOHAA_PROMPT": style}, "emohaa")
    assert prompt(site, messages(*COUNSEL), continued=True) == "user:assistant 是什么意思？\n"
    assert prompt(site, messages(("user", "a"), ("tool", "b")), continued=True) == "tool:b\n"


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "tool"]), st.text(st.characters(codec="utf-8")))))
def test_texts_are_left_alone(said: list[tuple[str, str]]) -> None:
    told = prompt(WHOLE, messages(*said, ("assistant", "assistant")), continued=False)
    assert told == "".join(f"{role}:{text}\n" for role, text in said) + "emohaa:assistant\n"


ESCAPED = [
    (
        "user:a b+c&d=e%f#g?h/i:j;k,l@m$n!o'p(q)r*s~t_u-v.w\"x<y>z\\\n\t中文🤔\n",
        "user%3Aa%20b%2Bc%26d%3De%25f%23g%3Fh%2Fi%3Aj%3Bk%2Cl%40m%24n!o%27p(q)r*s~t_u-v.w%22x%3Cy%3Ez%5C%0A%09"
        "%E4%B8%AD%E6%96%87%F0%9F%A4%94%0A",
    ),
    ("user:你好\n", "user%3A%E4%BD%A0%E5%A5%BD%0A"),
    ("", ""),
    ("eyJhbGciOiJIUzUxMiJ9.e30.a-b_c", "eyJhbGciOiJIUzUxMiJ9.e30.a-b_c"),
    ("t&cid=x#", "t%26cid%3Dx%23"),
]


@pytest.mark.parametrize(("text", "escaped"), ESCAPED)
def test_escapes(text: str, escaped: str) -> None:
    assert query(token="T", prompt=text) == f"token=T&prompt={escaped}"
