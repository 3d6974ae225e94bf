import re
from typing import Any
from urllib.parse import unquote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metaso.prompt import query, question, read_question, search_url, session_body
from services.metaso.site import MetasoSite
from shared.openai.errors import BadRequest
from shared.openai.parse import read_chat
from shared.settings import read_site
from shared.terms import Conversation
from tests.simulators.metaso_checks import escaped

SITE = MetasoSite()
SESSION = Conversation("8466827997659213824")
META_TOKEN = "Zk3+Qp7LmX0uTn9/vB2dWs5yRf8hJc1eKa4gIo6tUxNqVwInventedMetaToken0123456789=="


def told(model: str, said: Any, **more: Any) -> tuple[str, str, str]:
    """Mode, engine and text of what a client's body asks for."""
    messages = said if isinstance(said, list) and "role" in said[0] else [{"role": "user", "content": said}]
    request = read_chat(orjson.dumps({"model": model, "messages": messages, **more}))
    asked = read_question(request)
    return asked.mode, asked.engine, asked.text


WORKED = [
    ("concise", None, "秘塔AI", ("concise", "", "秘塔AI")),
    ("detail", None, "你好", ("detail", "", "你好")),
    ("gpt-4o", None, "小米su7", ("detail", "", "小米su7")),
    ("any", 0.2, "小米su7", ("concise", "", "小米su7")),
    ("any", 0.7, "小米su7", ("research", "", "小米su7")),
    ("any", 0.9, "简洁搜索：小米su7", ("concise", "", "小米su7")),
    ("any", 0.1, "请深入搜索 小米su7，再深入搜索:su7 ultra", ("detail", "", "请 小米su7，再su7 ultra")),
    ("any", None, "学术研究搜索：小米su7", ("research", "scholar", "小米su7")),
    ("concise", None, "研究搜索：小米su7", ("concise", "", "研究搜索：小米su7")),
    ("concise", None, "上海明天天气", ("concise", "", "上海明天天气，直接回答")),
    ("any", None, "学术简洁搜索:天气预报模型", ("concise", "scholar", "天气预报模型，直接回答")),
    # A word is no order: 学术会议 stays whole where the model says how to search.
    ("detail", None, "学术会议投稿指南", ("detail", "", "学术会议投稿指南")),
    ("research-scholar", None, "钙钛矿 电池 稳定性", ("research", "scholar", "钙钛矿 电池 稳定性")),
    (
        "concise",
        None,
        [
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": "第一问"},
            {"role": "assistant", "content": "第一答"},
            {"role": "user", "content": "第二问：秘塔在哪？"},
        ],
        ("concise", "", "第二问：秘塔在哪？"),
    ),
]


@pytest.mark.parametrize(("model", "temperature", "said", "wanted"), WORKED)
@pytest.mark.parametrize("name", ["temperature", "tempature"])
def test_worked_examples(model: str, temperature: float | None, said: Any, wanted: Any, name: str) -> None:
    assert told(model, said, **{name: temperature}) == wanted


@pytest.mark.parametrize(
    ("model", "text", "wanted"),
    [
        ("concise-scholar", "x", ("concise", "scholar", "x")),
        ("detail-scholar", "x", ("detail", "scholar", "x")),
        ("research-scholar", "学术会议", ("research", "scholar", "学术会议")),
        ("detail-scholar-more", "x", ("detail", "scholar", "x")),
        ("detail-scholars", "x", ("detail", "", "x")),
        ("detail-", "x", ("detail", "", "x")),
        ("any-scholar", "简洁搜索|x", ("concise", "scholar", "x")),
        ("Detail", "研究搜索x", ("research", "", "x")),
        ("any", "学术会议投稿指南", ("detail", "scholar", "会议投稿指南")),
        ("any", "学术：小米", ("detail", "scholar", "：小米")),
        ("detail", "学术：小米", ("detail", "scholar", "：小米")),
        ("detail", "学术:小米", ("detail", "scholar", ":小米")),
        ("detail", "学术研究搜索：小米", ("detail", "scholar", "研究搜索：小米")),
        ("detail", "学术研究：小米", ("detail", "", "学术研究：小米")),
        ("detail", "谈学术：小米", ("detail", "", "谈学术：小米")),
        ("any", "谈学术：小米", ("detail", "", "谈学术：小米")),
        ("any", "简洁搜索学术：x", ("concise", "scholar", "：x")),
        ("any", "研究搜索深入搜索简洁搜索", ("concise", "", "研究搜索深入搜索")),
        ("any", "研究搜索:深入搜索：x", ("detail", "", "研究搜索:x")),
        ("any", "简洁搜索::x", ("concise", "", ":x")),
        ("any", " 简洁搜索 x ", ("concise", "", "  x ")),
        ("any", "天气 研究搜索", ("research", "", "天气 ，直接回答")),
        ("concise", "天 气", ("concise", "", "天 气")),
    ],
)
def test_names_before_instructions(model: str, text: str, wanted: Any) -> None:
    assert told(model, text) == wanted


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, "detail"),
        ({"temperature": None}, "detail"),
        ({"temperature": 0}, "concise"),
        ({"temperature": 0.399}, "concise"),
        ({"temperature": 0.4}, "detail"),
        ({"temperature": 0.699}, "detail"),
        ({"temperature": 0.7}, "research"),
        ({"temperature": 2}, "research"),
        ({"tempature": 0.1}, "concise"),
        ({"temperature": 0.9, "tempature": 0.1}, "research"),
        ({"temperature": None, "tempature": 0.1}, "concise"),
    ],
)
def test_temperatures(fields: dict[str, Any], mode: str) -> None:
    assert told("any", "x", **fields)[0] == mode
    assert told("detail", "x", **fields)[0] == "detail"


@pytest.mark.parametrize("name", ["temperature", "tempature"])
@pytest.mark.parametrize("value", ["0.5", True, [], {}])
def test_a_temperature_that_is_no_number(name: str, value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        told("detail", "x", **{name: value})
    assert caught.value.param == name


def test_parts_are_joined_with_a_newline() -> None:
    parts = [{"type": "text", "text": "简洁搜索：第一段"}, {"type": "video"}, {"type": "input_text", "text": "第二段"}]
    assert told("any", parts) == ("concise", "", "第一段\n第二段")


@given(st.text(), st.sampled_from(["concise", "any", "any-scholar"]), st.floats(0, 2))
def test_a_text_without_instructions_is_left_alone(text: str, model: str, temperature: float) -> None:
    asked = question(model, text, temperature)
    if not re.search("搜索|^学术|天气", text):
        assert asked.text == text


def test_the_body_of_a_session() -> None:
    body = orjson.dumps(session_body(question("detail", "秘塔AI", 0.6)))
    assert body == '{"question":"秘塔AI","mode":"detail","engineType":"","scholarSearchDomain":"all"}'.encode()
    assert orjson.loads(orjson.dumps(session_body(question("concise-scholar", "x", 0.6))))["engineType"] == "scholar"


def test_the_query_of_the_transcript() -> None:
    url = search_url(SITE, question("detail", "秘塔AI", 0.6), SESSION, META_TOKEN)
    assert url == (
        "https://metaso.cn/api/searchV2?"
        "sessionId=8466827997659213824&question=%E7%A7%98%E5%A1%94AI&lang=zh&mode=detail"
        "&url=https:%2F%2Fmetaso.cn%2Fsearch%2F8466827997659213824%3FnewSearch%3Dtrue%26q%3D%E7%A7%98%E5%A1%94AI"
        "&enableMix=true&scholarSearchDomain=all&expectedCurrentSessionSearchCount=1&is-mini-webview=0"
        "&token=Zk3%2BQp7LmX0uTn9%2FvB2dWs5yRf8hJc1eKa4gIo6tUxNqVwInventedMetaToken0123456789%3D%3D"
    )


ODD = 'C++ & C# 100% "quote" a=b?\nline2 😀 [x] $1, 2'
ODD_ESCAPED = "C%2B%2B+%26+C%23+100%25+%22quote%22+a%3Db%3F%0Aline2+%F0%9F%98%80+[x]+$1,+2"


def test_escapes() -> None:
    assert query({"question": ODD}) == f"question={ODD_ESCAPED}"
    url = search_url(SITE, question("detail", ODD, 0.6), SESSION, META_TOKEN)
    assert f"&url=https:%2F%2Fmetaso.cn%2Fsearch%2F{SESSION.id}%3FnewSearch%3Dtrue%26q%3D{ODD_ESCAPED}&" in url
    assert query({"a": "-_.!~*'()", "b": "%20"}) == "a=-_.!~*'()&b=%2520"


@given(st.text(st.characters(codec="utf-8")))
def test_every_text_comes_back_and_is_escaped_as_the_page_does_it(text: str) -> None:
    written = query({"q": text}).removeprefix("q=")
    assert unquote_plus(written) == text
    assert written == escaped(text)


def test_fields_of_newer_pages_can_be_added() -> None:
    site = read_site(MetasoSite, {"METASO_EXTRA_QUERY": '{"newEngine": "true", "metaso-h5": "1"}'}, "metaso")
    url = search_url(site, question("detail", "x", 0.6), SESSION, "t")
    assert url.endswith("&is-mini-webview=0&token=t&newEngine=true&metaso-h5=1")
