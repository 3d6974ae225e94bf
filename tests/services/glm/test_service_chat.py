"""Chats, from the client's request to the bytes the site gets, and back."""

from typing import Any

import pytest

from tests.answers import USAGE
from tests.services.glm.test_prompt import WORKED
from tests.services.glm.world import AGENT, MAIN, World, headers_of
from tests.simulators.chatglm import Frames
from tests.simulators.chatglm_checks import CONSTANT_HEADERS

ANSWER = ("你好", "你好！I am ChatGLM 😀")
META = (
    b'"meta_data":{"channel":"",%b"draft_id":"","if_plus_model":true,"input_question_type":"xxxx",'
    b'"is_networking":true,"is_test":false,"platform":"pc","quote_log_id":""}}'
)


def scene(*versions: str) -> Frames:
    """One text that grows, as the worked transcript has it."""
    return Frames(
        *({"parts": [text_part(text)]} for text in versions),
        {"parts": [text_part(versions[-1], "finish")]},
        {"parts": [text_part(versions[-1], "finish")], "status": "finish"},
    )


def text_part(text: str, status: str = "init") -> dict[str, Any]:
    return {
        "logic_id": "0b6c1f5e-0000-4000-8000-000000000001",
        "content": [{"type": "text", "text": text, "status": status}],
        "status": status,
    }


async def test_the_transcript_of_a_stream(world: World) -> None:
    world.site.script("stream", scene(*ANSWER))
    told = await world.chat("你叫什么？")
    await world.deleted()
    refresh, stream, delete = world.site.calls
    (conversation,) = world.site.conversations

    assert (refresh.method, refresh.path, refresh.body) == ("POST", "/chatglm/user-api/user/refresh", b"{}")
    json = {name.lower(): value for name, value in CONSTANT_HEADERS.items()}
    json |= {"accept-encoding": "gzip, deflate, br", "content-type": "application/json"}
    assert headers_of(refresh) == {**json, "authorization": f"Bearer {world.site.account('ann')}"}

    assert (stream.method, stream.path) == ("POST", "/chatglm/backend-api/assistant/stream")
    (access,) = world.site.access_tokens
    page = {**json, "authorization": f"Bearer {access}", "referer": "https://chatglm.cn/main/alltoolsdetail"}
    assert headers_of(stream) == page
    asked = '"messages":[{"role":"user","content":[{"type":"text","text":"你叫什么？\\n"}]}],'.encode()
    assert stream.body == b'{"assistant_id":"%b","conversation_id":"",%b%b' % (MAIN.encode(), asked, META % b"")

    assert (delete.method, delete.path) == ("POST", "/chatglm/backend-api/assistant/conversation/delete")
    assert headers_of(delete) == page
    assert delete.body == b'{"assistant_id":"%b","conversation_id":"%b"}' % (MAIN.encode(), conversation.encode())

    assert (told.id, told.chunks[0]["model"]) == (conversation, "glm-4-plus")
    assert told.pieces == ["你好", "！I am ChatGLM 😀"]
    assert list(told.chunks[1]) == ["id", "object", "created", "model", "choices"]
    assert told.chunks[-1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert told.chunks[-1]["usage"] == USAGE
    assert told.chunks[-1]["conversation_id"] == conversation
    assert told.headers["Cache-Control"] == "no-cache"


async def test_the_same_whole(world: World) -> None:
    world.site.script("stream", scene(*ANSWER))
    told = await world.whole("你叫什么？")
    (conversation,) = world.site.conversations
    created = told.value.pop("created")
    assert isinstance(created, int)
    assert told.value == {
        "id": conversation,
        "object": "chat.completion",
        "model": "glm-4-plus",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": ANSWER[-1]}, "finish_reason": "stop"},
        ],
        "usage": USAGE,
        "conversation_id": conversation,
    }


async def test_an_access_token_is_used_again(world: World) -> None:
    for _ in range(3):
        assert (await world.chat("hi")).finish == "stop"
    assert world.site.outcomes("refresh") == {"ok": 1}
    assert world.site.outcomes("stream") == {"ok": 3}


async def test_each_call_has_ids_of_its_own(world: World) -> None:
    for _ in range(3):
        await world.chat("hi")
    await world.deleted()
    names = ("X-Device-Id", "X-Request-Id", "X-Nonce")
    ids = [call.headers[name] for call in world.site.calls for name in names]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("stream", [True, False])
async def test_usage_when_asked_for(world: World, stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
    told = await world.request("/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
    last = told.chunks[-1] if stream else told.value
    assert last["usage"] == USAGE
    assert (last["choices"] == []) == stream


@pytest.mark.parametrize(
    ("model", "assistant", "mode", "page"),
    [
        ("glm-4-plus", MAIN, b"", "/main/alltoolsdetail"),
        ("whatever", MAIN, b"", "/main/alltoolsdetail"),
        ("glm-4-zero", MAIN, b'"chat_mode":"zero",', "/main/alltoolsdetail"),
        ("glm-4-think", MAIN, b'"chat_mode":"zero",', "/main/alltoolsdetail"),
        ("glm-4-deepresearch", MAIN, b'"chat_mode":"deep_research",', "/main/alltoolsdetail"),
        ("deepresearch-zero-think", MAIN, b'"chat_mode":"deep_research",', "/main/alltoolsdetail"),
        ("glm-4-think-silent", MAIN, b'"chat_mode":"zero",', "/main/alltoolsdetail"),
        (AGENT, AGENT, b"", f"/main/gdetail/{AGENT}"),
        ("A" + AGENT, MAIN, b"", "/main/alltoolsdetail"),
    ],
)
async def test_what_a_model_name_means(world: World, model: str, assistant: str, mode: bytes, page: str) -> None:
    told = await world.both("hi", model=model)
    assert told.chunks[0]["model"] == model
    await world.deleted()
    for call in world.site.calls_of("stream"):
        assert call.body.startswith(b'{"assistant_id":"%b",' % assistant.encode())
        assert call.body.endswith(META % mode)
        assert call.headers["Referer"] == f"https://chatglm.cn{page}"
    assert [body["assistant_id"] for body in world.asked("delete")] == [assistant] * 2
    assert {call.headers["Referer"] for call in world.site.calls_of("delete")} == {
        "https://chatglm.cn/main/alltoolsdetail"
    }


async def test_without_a_model_it_is_the_default(world: World) -> None:
    for body in ({}, {"model": None}, {"model": ""}):
        told = await world.request("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], **body})
        assert told.value["model"] == "glm"


HISTORY = [
    {"role": "system", "content": "You are a pirate."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Arr! 你好"},
    {"role": "user", "content": "今天星期几？"},
]


@pytest.mark.parametrize(
    ("messages", "name"),
    [
        ([{"role": "user", "content": "你叫什么？"}], "1 alone"),
        (HISTORY, "2 history"),
        (
            [
                {"role": "user", "content": "画一只猫"},
                {
                    "role": "assistant",
                    "content": "好的 ![图像](https://sfile.chatglm.cn/a.png) 还有 ![b](http://x/y.png) 完成\n"
                    "文件在 /mnt/data/out.csv 请下载\n完",
                },
                {"role": "tool", "content": '{"ok":true}', "tool_call_id": "c1"},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "继续"}, {"type": "input_text", "text": "第二段"}],
                },
            ],
            "3 clean-up",
        ),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": None, "tool_calls": []},
                {"role": "user", "content": "b"},
            ],
            "null in a history",
        ),
        ([{"content": "你叫什么？", "name": "x", "unknown": [1]}], "1 alone"),
    ],
)
async def test_a_history_is_folded(world: World, messages: list[Any], name: str) -> None:
    assert (await world.both(messages)).finish == "stop"
    assert world.prompts() == [WORKED[name][2].replace("⏎", "\n")] * 2


async def test_what_the_site_has_no_use_for_is_taken(world: World) -> None:
    more = {
        "temperature": 0,
        "top_p": 1,
        "n": 1,
        "stop": ["x"],
        "max_tokens": 5,
        "max_completion_tokens": 5,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "user": "u",
        "metadata": {"a": "b"},
    }
    assert (await world.both("hi", **more)).finish == "stop"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"role": "pirate", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "hi"}], "conversation_id": 7}, "conversation_id"),
        ({"messages": [{"role": "user", "content": "hi"}], "stream": "perhaps"}, "stream"),
    ],
)
async def test_a_wrong_request_never_reaches_the_site(world: World, body: Any, param: str) -> None:
    told = await world.request("/v1/chat/completions", body)
    assert (told.status, told.error["type"], told.error["param"]) == (400, "invalid_request_error", param)
    assert world.site.calls == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"null", 200),
        (b'""', 200),
        (b'"\\ud800 half"', 200),
        (b'"' + "长".encode() * 3_500_000 + b'"', 200),
        (b'[{"type":"hologram","data":1},{"type":"text","text":"hi"}]', 200),
        (b"[]", 200),
        (b'["text"]', 200),
        (b'[{"type":"text","text":null}]', 200),
        (b'[{"type":"image_url","image_url":{"url":"nowhere"}}]', 400),
        (b"7", 400),
        (b'"\xff"', 400),
        (b'"', 400),
        (b'"x"}]}]', 400),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_odd_content_is_no_fault_of_the_service(world: World, content: bytes, status: int) -> None:
    for stream in (b"true", b"false"):
        body = b'{"stream":%b,"messages":[{"role":"user","content":%b}]}' % (stream, content)
        told = await world.send("/v1/chat/completions", body)
        assert told.status == status
    assert len(world.site.calls_of("stream")) == (2 if status == 200 else 0)


async def test_models(world: World) -> None:
    client, url = world.house.client, world.house.url
    async with client.get(f"{url}/v1/models") as response:
        listed = await response.json()
    assert listed["object"] == "list"
    names = [model["id"] for model in listed["data"]]
    assert {"glm-4-plus", "glm-4-zero", "glm-4-think", "glm-4-deepresearch", "glm-4-think-silent"} < set(names)
    assert {"cogview-3", "cogvideox", "cogvideox-pro"} < set(names)
    for name in [*names, AGENT]:
        async with client.get(f"{url}/v1/models/{name}") as response:
            assert (response.status, (await response.json())["id"]) == (200, name)
    async with client.get(f"{url}/v1/models/nothing") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "model_not_found")
    async with client.get(f"{url}/ping") as response:
        assert await response.text() == "pong"
