"""A site that sends what it never should: no fault of the service, and every body is closed."""

import asyncio
import json
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import cleanup
from tests.services.glm.frames import item, part
from tests.services.glm.world import World
from tests.simulators import Fault, Reply, Split, Together
from tests.simulators.chatglm import Frames

TRUE_STATUSES = {200, 400, 401, 403, 404, 429, 502, 504}
HI = {"parts": [part("1", item("text", "你好"), status="finish")]}
END = {"status": "finish"}

MALFORMED: dict[str, tuple[Any, str, str | None]] = {
    # frames after the first: content, finish reason
    "no object": (b"data: 7\n\n", "你好", "stop"),
    "null": (b"data: null\n\n", "你好", "stop"),
    "a list": (b"data: [[[]]]\n\n", "你好", "stop"),
    "no parts": ({"parts": None}, "你好", "stop"),
    "parts that are none": ({"parts": {"0": []}}, "你好", "stop"),
    "a part that is none": ({"parts": [7, None, "x", []]}, "你好", "stop"),
    "content that is none": ({"parts": [part("2", status=None) | {"content": 7}]}, "你好", "stop"),
    "items that are none": ({"parts": [part("2", 7, None, "x", {}, {"type": 7})]}, "你好", "stop"),
    "text that is none": (
        {"parts": [part("2", item("text", 7), item("text", None), item("text", ["x"]))]},
        "你好",
        "stop",
    ),
    "pictures that are none": ({"parts": [part("2", {"type": "image", "image": 7}, status="finish")]}, "你好", "stop"),
    "sources that are none": (
        {"parts": [part("2", item("quote_result", {}), status="finish", meta={"metadata_list": [7, None, {}]})]},
        "你好",
        "stop",
    ),
    "no status": ({"status": None}, "你好", "stop"),
    "a status that is none": ({"status": {"finish": 1}}, "你好", "stop"),
    "an error that is none": ({"last_error": 0}, "你好", "stop"),
    "an empty event": (b"data:\n\n", "你好", "stop"),
    "no JSON": (b"data: {'parts': []}\n\n", "你好", None),
    "half of it": (b'data: {"parts": [\n\n', "你好", None),
    "no text at all": (b"data: \xff\xfe\xfd\n\n", "你好", None),
    "a page": (b"data: <html></html>\n\n", "你好", None),
    "the sign of others": (b"data: [DONE]\n\n", "你好", None),
    "half a letter": (
        {"parts": [part("1", item("text", "你好"), status="finish"), part("2", item("text", "😀"))]},
        "你好\n😀",
        "stop",
    ),
    "a lone surrogate": (
        rb'data: {"parts":[{"logic_id":"2","content":[{"type":"text","text":"a\ud83d b"}],"status":"finish"}]}'
        b"\n\n",
        "你好\na\ufffd b",
        "stop",
    ),
    "another conversation": ({"conversation_id": "f" * 24}, "你好", "stop"),
}


@pytest.mark.parametrize(("frame", "content", "finish"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("split", [None, 7])
async def test_a_malformed_frame(world: World, frame: Any, content: str, finish: str | None, split: int | None) -> None:
    scene: Fault = Frames(HI, frame, END)
    if split:
        scene = Together(scene, Split(size=split, gap=0))
    world.site.script("stream", scene, scene)
    streamed, whole = await world.chat("hi"), await world.whole("hi")
    if finish is None:
        assert streamed.outcome == (200, "", content, None, "upstream_changed")
        assert whole.outcome == (502, "", "", None, "upstream_changed")
        world.errors += ["upstream_changed"] * 2
    else:
        assert streamed.outcome == whole.outcome == (200, "", content, finish, None)


@pytest.mark.parametrize("name", [b"7", b"null", b"[]", b"{}", b'""', b'"\\ud800"', b'"../x?y"'])
async def test_a_conversation_with_no_proper_name(world: World, name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "FORGET_PAUSES", ())
    frame = b'data: {"conversation_id":%b,"parts":[{"content":[{"type":"text","text":"hi"}]}],"status":"finish"}\n\n'
    world.site.script("stream", Frames(frame % name), Frames(frame % name))
    told = await world.both("hi")
    assert (told.content, told.finish) == ("hi", "stop")
    world.kept = None
    # What the site calls its conversation by is what it gets back.
    await world.house.service.cleanup.drain(5)
    world.site.violations.clear()


REPLIES = {
    "an unknown shape": (Reply({"foo": 1}), 502, "upstream_changed"),
    "a list": (Reply([1, 2]), 502, "upstream_changed"),
    "a missing field of ours": (
        Reply({"validation_error": {"body_params": [{"loc": ["assistant_id"], "msg": "field required"}]}}, 400),
        502,
        "upstream_changed",
    ),
    "a wrong field": (
        Reply({"validation_error": {"body_params": [{"loc": ["x"], "msg": "too long"}]}}, 400),
        400,
        "request_refused",
    ),
    "a refusal": (Reply({"message": "智能体未发布", "status": 10}), 400, "request_refused"),
    "a limit with a time": (
        Reply({"message": "too many requests"}, 429, headers=(("Retry-After", "7"),)),
        429,
        "rate_limit_exceeded",
    ),
    "a limit of the address": (
        Reply("slow down", 429, "text/plain", (("Retry-After", "7"),)),
        429,
        "rate_limit_exceeded",
    ),
    "a ban": (Reply({"message": "账号已被封禁", "status": 20}), 403, "account_barred"),
    "a quota": (Reply({"message": "今日次数已用完", "status": 20}), 429, "rate_limit_exceeded"),
    "the filter": (Reply({"message": "输入内容违规", "status": 20}), 400, "content_filter"),
    "no page": (Reply("nothing", 404, "text/plain"), 502, "upstream_unavailable"),
    "not JSON": (Reply(b"ok", 200, "text/plain"), 502, None),
}


@pytest.mark.parametrize(("reply", "status", "code"), REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("stream", [True, False])
async def test_another_reply_than_a_stream(reply: Reply, status: int, code: str | None, stream: bool) -> None:
    async with World.start(RETRIES="0", ACCOUNT_WAIT="0") as world:
        world.site.script("stream", reply)
        told = await (world.chat if stream else world.whole)("hi")
        assert told.status == status
        assert told.error["code"] == code or code is None
        if told.status == 429:
            assert told.headers["Retry-After"] == ("7" if reply.headers else "10")
        world.errors += ["upstream_changed"] * (told.error["code"] == "upstream_changed")
        assert "Bearer" not in told.error["message"]


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["finish", "init", "intervene"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    ["text", "think", "code", "execution_output", "image", "quote_result", "tool_result", "tool_calls", "hologram"]
)
STATUSES = st.sampled_from(["init", "finish", None, 7])
ITEMS = st.fixed_dictionaries(
    {"type": KINDS | VALUES},
    optional={
        "text": st.text(max_size=9) | VALUES,
        "think": st.text(max_size=9) | VALUES,
        "code": st.text(max_size=9) | VALUES,
        "content": st.text(max_size=9) | VALUES,
        "image": st.lists(st.fixed_dictionaries({"image_url": st.just("https://a.b/c.png") | VALUES}), max_size=2)
        | VALUES,
        "meta_data": VALUES,
        "status": STATUSES,
    },
)
PARTS = st.fixed_dictionaries(
    {"content": st.lists(ITEMS | VALUES, max_size=3) | VALUES},
    optional={"logic_id": st.sampled_from(["1", "2", "3"]) | VALUES, "status": STATUSES, "meta_data": VALUES},
)
FRAME = st.fixed_dictionaries(
    {"parts": st.lists(PARTS | VALUES, max_size=3) | VALUES},
    optional={"status": st.sampled_from(["init", "finish", "processing"]) | VALUES, "last_error": st.just({}) | VALUES},
)
SENT = st.lists(
    FRAME.map(lambda frame: b"data: " + json.dumps(frame).encode() + b"\n\n") | st.binary(max_size=20), max_size=6
)


def test_frames_of_any_kind_never_leave_a_body_open() -> None:
    """Hypothesis makes the frames; one service answers them all, each as an account of its own."""
    numbers = count()

    async def ask(world: World, frames: list[bytes], size: int) -> None:
        scene = Together(Frames(*frames), Split(size=size, gap=0)) if size else Frames(*frames)
        world.site.script("stream", scene, scene)
        name = f"user-{next(numbers)}"
        streamed, whole = await world.chat("hi", name), await world.whole("hi", name)
        assert streamed.status in TRUE_STATUSES
        assert whole.status in TRUE_STATUSES
        if whole.status == 200:
            assert streamed.outcome == whole.outcome
        world.errors += [
            "upstream_changed"
            for told in (streamed, whole)
            if told.value and "error" in told.value and told.error["code"] == "upstream_changed"
        ]

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        world = runner.run(stack.enter_async_context(World.start(RETRIES="0", ACCOUNT_WAIT="0", EXPIRED_COOLDOWN="0")))
        world.kept = None

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(SENT, st.sampled_from([0, 0, 1, 9]))
        def check(frames: list[bytes], size: int) -> None:
            runner.run(ask(world, frames, size))

        try:
            check()
        finally:
            runner.run(stack.aclose())
