"""`POST /v1/chat/completions`: the commit rule, the endings, and that bytes may be split anywhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared import downstream
from shared import reply as reply_module
from shared.deltas import Delta, Failed, Finish, Text
from shared.errors import SiteError, UpstreamChanged, UpstreamUnavailable
from shared.reply import FrameStream, Reply
from shared.upstream.client import Answer
from shared.upstream.sse import SseFramer
from tests.house import House
from tests.shared.toy import ToyDecoder, ask, asks, events, refusal, toy
from tests.shared.toysite import EVENTS, HELLO, Scene, fails, refuses

FULL: tuple[dict[str, Any], ...] = (
    {"odd": "x"},
    {"conversation": "*"},
    {"think": "hm 你"},
    {"ref": ["a", "T", "https://a.test/"]},
    {"text": "Hello 😀", "cite": "a"},
    {"image": "https://i.test/1.png"},
    {"text": " end"},
    {"finish": "stop"},
)
TEXT = "Hello 😀[1](https://a.test/)\n![图像](https://i.test/1.png)\n end\n\n搜索结果来自：\n1. T - https://a.test/"


def sse(*frames: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\n\n" for frame in frames)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("split", [1, 2, 3, 7, 0])
async def test_every_split_of_the_same_bytes_gives_the_same(split: int, stream: bool) -> None:
    async with toy() as (world, house):
        world.play(Scene(FULL, split=split))
        told = await ask(house, asks(stream, model="m"))
        assert told.text == TEXT
        last = told.events[-2]["choices"][0] if stream else told.json["choices"][0]
        assert last["finish_reason"] == "stop"
        assert len((last["delta"] if stream else last["message"])["annotations"]) == 1
        conversation = told.events[-2] if stream else told.json
        assert conversation["id"] == conversation["conversation_id"]
        assert conversation["model"] == "m"


class Body:
    """A call whose body comes in these parts, and then breaks when there is an error."""

    def __init__(self, *parts: bytes, content_type: str = EVENTS, error: SiteError | None = None) -> None:
        self.status = 200
        self.content_type = content_type
        self.parts = [part for part in parts if part]
        self.error = error

    async def read(self) -> bytes:
        if self.parts:
            return self.parts.pop(0)
        if self.error is not None:
            raise self.error
        return b""

    async def answer(self, begun: bytes = b"") -> Answer:
        return Answer(200, self.content_type, {}, begun + b"".join(self.parts))

    def finish(self) -> None:
        """Nothing is left to read of it."""


async def deltas_of(body: Any) -> list[Delta]:
    """All deltas, neighbouring texts joined; a refusal while opening as the `Failed` it means."""
    out: list[Delta] = []
    try:
        frames = await FrameStream.open(body, SseFramer(), refuse=refusal)
    except SiteError as error:
        return [Failed(error)]
    async for deltas in Reply(frames, ToyDecoder(), lambda _: None):
        for delta in deltas:
            if isinstance(delta, Text) and out and isinstance(out[-1], Text):
                out[-1].text += delta.text
            else:
                out.append(delta)
    return out


def shown(deltas: list[Delta]) -> list[str]:
    return [f"{type(d.error).__name__} {d.error.message}" if isinstance(d, Failed) else repr(d) for d in deltas]


@pytest.mark.parametrize("content_type", [EVENTS, "application/json", "text/html", ""])
@pytest.mark.parametrize(
    "body",
    [
        sse(*FULL),
        sse({"text": "a"}, {"refuse": "AccountBusy"}, {"text": "never"}),
        sse({"text": "a"}, {"finish": "stop"}, {"text": "never"}),
        sse({"held": "ab"}, {"text": "c"}),
        sse({"held": "ab"}) + b"data: nonsense\n\n" + sse({"text": "never"}),
        sse({"text": "a"}) + b'data: {"text": "half',
        sse({"text": "a"}) + b'data: {"finish": "stop"}',
        b'\xef\xbb\xbf \n{"refuse": "AccountBusy"}',
        b"\n<html>",
        b"",
    ],
)
async def test_every_single_split(body: bytes, content_type: str) -> None:
    wanted = shown(await deltas_of(Body(body, content_type=content_type)))
    for at in range(1, len(body)):
        assert shown(await deltas_of(Body(body[:at], body[at:], content_type=content_type))) == wanted, at
    single = Body(*(bytes([byte]) for byte in body), content_type=content_type)
    assert shown(await deltas_of(single)) == wanted


@pytest.mark.parametrize("blank", [3, 4])
async def test_blanks_without_end_are_not_gathered(blank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_module, "_BLANK_MOST", 4)
    told = shown(await deltas_of(Body(b" " * blank, b'{"refuse": "AccountBusy"}')))
    assert told[-1].startswith("AccountBusy") is (blank < 4)


async def test_a_break_flushes_what_was_held_back_and_is_the_last_delta() -> None:
    deltas = await deltas_of(Body(sse({"held": "ab"}), error=UpstreamUnavailable("broke")))
    assert shown(deltas) == ["Text(text='ab')", "UpstreamUnavailable broke"]


async def test_an_end_that_is_guessed_from_the_end_of_the_body_is_none_when_it_broke(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ToyDecoder, "end", lambda _: [Text("held"), Finish()])
    assert shown(await deltas_of(Body(sse({"text": "a "})))) == ["Text(text='a held')", "Finish(reason='stop')"]
    deltas = await deltas_of(Body(sse({"text": "a "}), error=UpstreamUnavailable("broke")))
    assert shown(deltas) == ["Text(text='a held')", "UpstreamUnavailable broke"]


async def test_a_refusal_raised_by_a_decoder_keeps_what_came_before_it() -> None:
    deltas = await deltas_of(Body(sse({"text": "a"}) + b"data: nonsense\n\n"))
    assert deltas[0] == Text("a")
    assert isinstance(deltas[1], Failed)
    assert isinstance(deltas[1].error, UpstreamChanged)


ENDINGS: list[tuple[Scene, Any, Any]] = [
    # the site's reply, how a stream ends, how a whole answer ends: a finish reason, or an error's (status, code)
    (Scene(HELLO), "stop", "stop"),
    (Scene(HELLO, ending="stall"), "stop", "stop"),
    (Scene(HELLO[:3]), "length", "length"),
    (Scene(HELLO[:3], ending="cut"), (200, "upstream_unavailable"), (502, "upstream_unavailable")),
    (Scene(HELLO[:3], ending="stall"), (200, "upstream_timeout"), (504, "upstream_timeout")),
    (Scene(HELLO[:1], ending="cut"), (502, "upstream_unavailable"), (502, "upstream_unavailable")),
    (Scene(HELLO[:1], ending="stall"), (504, "upstream_timeout"), (504, "upstream_timeout")),
    (Scene(HELLO[:1]), (502, "upstream_unavailable"), (502, "upstream_unavailable")),
    (fails("ContentBlocked", *HELLO[:2]), (200, "content_filter"), (400, "content_filter")),
    (fails("ContentBlocked", *HELLO[:1]), (400, "content_filter"), (400, "content_filter")),
    (Scene((*HELLO[:2], {"finish": "content_filter"})), "content_filter", "content_filter"),
    (Scene((*HELLO[:1], {"finish": "content_filter"})), (400, "content_filter"), (400, "content_filter")),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("split", [0, 1, 5])
@pytest.mark.parametrize(("scene", "streamed", "whole"), ENDINGS)
async def test_endings(scene: Scene, streamed: Any, whole: Any, split: int, stream: bool) -> None:
    wanted = streamed if stream else whole
    async with toy(RETRIES="0", UPSTREAM_IDLE_TIMEOUT="0.1") as (world, house):
        world.play(Scene(scene.frames, split=split, ending=scene.ending))
        told = await ask(house, asks(stream))
        if isinstance(wanted, str):
            last = told.events[-2] if stream else told.json
            assert (told.status, last["choices"][0]["finish_reason"]) == (200, wanted)
            assert not stream or told.events.count("[DONE]") == 1
        else:
            assert (told.status, told.code) == wanted
            assert b"[DONE]" not in told.body
            assert told.body.count(b'"error"') == 1
        await world.until(lambda: not world.conversations)


@pytest.mark.parametrize("stream", [True, False])
async def test_before_the_first_text_a_refusal_costs_nothing(stream: bool) -> None:
    async with toy() as (world, house):
        world.play(fails("AccountLimited", {"conversation": "*"}, {"ref": ["a", "T", "u"]}, {"odd": "x"}))
        told = await ask(house, asks(stream), "t1,t2")
        assert (told.status, told.text, world.tokens()) == (200, "Hello world", ["t1", "t2"])


async def test_after_the_first_text_a_stream_fails_and_a_whole_answer_does_not() -> None:
    for stream in (True, False):
        async with toy() as (world, house):
            world.play(fails("AccountLimited", {"conversation": "*"}, {"text": "lost "}))
            told = await ask(house, asks(stream), "t1,t2")
            assert told.text == ("lost " if stream else "Hello world")
            assert told.code == ("rate_limit_exceeded" if stream else "")
            assert world.tokens() == (["t1"] if stream else ["t1", "t2"])


async def test_thinking_commits_too_unless_it_is_hidden() -> None:
    frames = {"conversation": "*"}, {"think": "hm"}
    for thinking, tokens in (("reasoning", ["t1"]), ("inline", ["t1"]), ("hidden", ["t1", "t2"])):
        async with toy(THINKING=thinking) as (world, house):
            world.play(fails("AccountLimited", *frames))
            await ask(house, asks(stream=True), "t1,t2")
            assert world.tokens() == tokens


@asynccontextmanager
async def reading(house: House, body: Any, token: str = "t1") -> AsyncIterator[Any]:
    async with house.post("/v1/chat/completions", body, token) as response:
        yield response


async def test_text_is_written_as_it_comes() -> None:
    gate = asyncio.Event()
    async with toy() as (world, house):
        world.play(Scene(HELLO, gates={2: gate}))
        async with reading(house, asks(stream=True)) as response:
            assert response.headers["X-Accel-Buffering"] == "no"
            begun = await response.content.readany()
            assert events(begun)[-1]["choices"][0]["delta"] == {"content": "Hello"}
            gate.set()
            assert events(begun + await response.read())[-1] == "[DONE]"


@pytest.mark.parametrize("outcome", ["text", "refusal", "cut", "next account", "bug"])
async def test_a_slow_site_gets_a_head_and_pings(outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "PING_INTERVAL", 0.02)
    gate = asyncio.Event()
    scenes: dict[str, Scene] = {
        "text": Scene(HELLO),
        "refusal": fails("ContentBlocked", *HELLO[:1]),
        "cut": Scene(HELLO[:1], ending="cut"),
        "next account": fails("AccountLimited", *HELLO[:1]),
        "bug": Scene((*HELLO[:1], {"bug": "x"})),
    }
    async with toy(HEAD_WAIT="0.05", RETRIES="0") as (world, house):
        world.play(Scene(scenes[outcome].frames, ending=scenes[outcome].ending, gates={1: gate, 0: gate}))
        async with reading(house, asks(stream=True), "t1,t2") as response:
            assert response.status == 200
            pings = b""
            while pings.count(b": ping\n\n") < 3:
                pings += await response.content.readany()
            assert pings == b": ping\n\n" * (len(pings) // 8)
            gate.set()
            told = events(pings + await response.read())
    codes = {"refusal": "content_filter", "cut": "upstream_unavailable", "bug": "internal_error"}
    if outcome in codes:
        assert [event["error"]["code"] for event in told] == [codes[outcome]]
    else:
        assert told[-1] == "[DONE]"


@pytest.mark.parametrize("asked", ["", "Connection: keep-alive\r\n"])
async def test_before_http_1_1_the_end_of_the_connection_ends_a_stream(asked: str) -> None:
    async with toy() as (_, house):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rpartition(":")[2]))
        body = json.dumps(asks(True)).encode()
        head = f"POST /v1/chat/completions HTTP/1.0\r\n{asked}Authorization: Bearer t1\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.endswith(b"data: [DONE]\n\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert b"keep-alive" not in answer


async def test_the_head_waits_for_the_site_to_accept() -> None:
    gate = asyncio.Event()
    async with toy(HEAD_WAIT="0") as (world, house):
        world.play(Scene(refuse=refuses("RequestRefused").refuse, head=gate))
        task = asyncio.create_task(ask(house, asks(stream=True)))
        await world.until(world.tokens)
        gate.set()
        assert (await task).status == 400


async def test_the_head_is_never_sent_twice() -> None:
    async with toy(HEAD_WAIT="0") as (world, house):
        for number in range(30):
            world.play(Scene(HELLO, split=number))
            told = await ask(house, asks(stream=True))
            assert told.text == "Hello world"
            assert told.body.count(b'"role"') == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_without_content_are_counted(stream: bool) -> None:
    async with toy(RETRIES="0") as (world, house):
        world.play(Scene(({"conversation": "*"}, {"finish": "stop"})), Scene(({"finish": "content_filter"},)))
        for status in (502, 400):
            assert (await ask(house, asks(stream))).status == status
        async with house.client.get(f"{house.url}/metrics") as response:
            assert 'unknown_total{kind="answer_without_content",provider="toy"} 1.0' in await response.text()


async def test_usage_when_asked_for() -> None:
    async with toy() as (_, house):
        told = await ask(house, asks(stream=True, stream_options={"include_usage": True}))
        assert told.events[-2]["choices"] == []
        assert told.events[-2]["usage"]["total_tokens"] == 2


async def test_an_answer_whose_conversation_has_no_name_has_the_requests_id() -> None:
    async with toy() as (world, house):
        for stream in (True, False):
            world.play(Scene(HELLO[1:]))
            async with house.post("/v1/chat/completions", asks(stream), **{"X-Request-Id": "mine"}) as response:
                body = await response.read()
            told = events(body)[0] if stream else json.loads(body)
            assert (told["id"], "conversation_id" in told) == ("mine", False)


async def test_a_reader_who_is_slow_loses_nothing() -> None:
    text = "x" * 1000
    frames = [{"conversation": "*"}, *[{"text": text}] * 2000, {"finish": "stop"}]
    async with toy() as (world, house):
        world.play(Scene(frames))
        async with reading(house, asks(stream=True)) as response:
            body = await response.read()
        assert body.count(text.encode()) == 2000
        assert events(body)[-1] == "[DONE]"


async def test_an_idle_time_out_is_about_the_site_not_about_the_reader() -> None:
    gate = asyncio.Event()
    async with toy(UPSTREAM_IDLE_TIMEOUT="5") as (world, house):
        world.play(Scene(HELLO, gates={2: gate}))
        task = asyncio.create_task(ask(house, asks(stream=True)))
        await world.until(lambda: world.running["t1"])
        gate.set()
        assert (await task).code == ""


async def test_a_stream_leaves_its_connection_to_the_next_request() -> None:
    async with toy() as (_, house), house.post("/v1/chat/completions", asks(stream=True)) as response:
        await response.read()
        assert response.headers["Connection"] == "keep-alive"
