"""A site that breaks off, falls silent or ends early, at every place of its answer and however its bytes arrive."""

import asyncio
from itertools import accumulate, pairwise

import orjson
import pytest

from shared import downstream
from shared.upstream import client
from tests.services.glm.frames import item, part
from tests.services.glm.world import World
from tests.simulators import (
    ContentType,
    Cut,
    Fault,
    Pass,
    Reply,
    SlowHead,
    Split,
    Stall,
    Together,
    html,
    server_error,
)
from tests.simulators.chatglm import Frames


def frame(*parts: object, status: str = "init") -> bytes:
    head = b'event:message\ndata: {"conversation_id":"$CONVERSATION_ID",'
    return head + orjson.dumps({"parts": parts, "status": status, "last_error": {}})[1:] + b"\n\n"


FRAMES = (
    frame(),
    frame(part("1", item("think", "想一想"), status="finish")),
    frame(part("2", item("text", "你好"))),
    frame(part("2", item("text", "你好！I am 😀"), status="finish")),
    frame(part("2", item("text", "你好！I am 😀"), status="finish"), status="finish"),
)
SO_FAR = (("", ""), ("", ""), ("想一想", ""), ("想一想", "你好"), ("想一想", "你好！I am 😀"))
"""Reasoning and content of the first 0 to 4 frames."""
WHOLE = (200, *SO_FAR[-1], "stop", None)

SIZES = [len(one.replace(b"$CONVERSATION_ID", b"0" * 24)) for one in FRAMES]
ENDS = [0, *accumulate(SIZES)]
PLACES = sorted(
    {at for end in ENDS for at in (end - 1, end, end + 1, end + 20)}
    | {(start + end) // 2 for start, end in pairwise(ENDS)}
    # Inside a letter of several bytes.
    | {ENDS[2] + FRAMES[2].index("好".encode()) + 9 + more for more in range(4)}
)
PLACES = [at for at in PLACES if 0 <= at < ENDS[-1]]
SPLITS = (Pass(), Split(at=()), Split(size=61, gap=0), Split(size=7, gap=0))
NAMES = ("ann", "bob", "cem", "dan")


def cut_at(place: int) -> int:
    """How many frames are whole before this place."""
    return sum(end <= place for end in ENDS[1:])


def expected(place: int, code: str, status: int) -> tuple[int, str, str, str | None, str | None]:
    """What a stream's client reads when the answer breaks at this place and is not tried again."""
    reasoning, content = SO_FAR[cut_at(place)]
    return (200, reasoning, content, None, code) if reasoning else (status, "", "", None, code)


async def everywhere(world: World, place: int, fault: Fault) -> list[object]:
    """Let the fault happen there with each way to split, in both modes at once; give what the clients read."""
    found: list[object] = []
    for ask in (world.chat, world.whole):
        # Which request takes which split does not matter: all have to read the same.
        world.site.script("stream", *(Together(Frames(*FRAMES), split, fault) for split in SPLITS))
        told = await asyncio.gather(*(ask("hi", name) for name in NAMES))
        (outcome,) = {one.outcome for one in told}
        found.append(outcome)
    if 0 < place < ENDS[1] and world.kept is not None:
        # The site has a conversation whose name never arrived.
        world.kept += 2 * len(SPLITS)
    return found


@pytest.mark.parametrize("reset", [False, True])
async def test_broken_off(reset: bool) -> None:
    async with World.start(RETRIES="0") as world:
        for place in PLACES:
            streamed, whole = await everywhere(world, place, Cut(after=place, reset=reset))
            assert streamed == expected(place, "upstream_unavailable", 502), place
            assert whole == (502, "", "", None, "upstream_unavailable"), place


async def test_silent() -> None:
    async with World.start(RETRIES="0", UPSTREAM_IDLE_TIMEOUT="0.05") as world:
        for place in PLACES:
            streamed, whole = await everywhere(world, place, Stall(after=place))
            assert streamed == expected(place, "upstream_timeout", 504), place
            assert whole == (504, "", "", None, "upstream_timeout"), place


async def test_broken_off_after_the_end_sign(world: World) -> None:
    for fault in (Cut(after=ENDS[-1]), Cut(after=ENDS[-1], reset=True), Stall(after=ENDS[-1], until=asyncio.Event())):
        assert await everywhere(world, ENDS[-1], fault) == [WHOLE, WHOLE]


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("split", [*SPLITS, Split(size=1, gap=0)])
async def test_ended_without_an_end_sign(frames: int, split: Fault) -> None:
    async with World.start(RETRIES="0") as world:
        fault = Together(Frames(*FRAMES[:frames]), split)
        world.site.script("stream", fault, fault)
        told = await world.both("hi")
        if frames == 1:
            assert told.outcome == (502, "", "", None, "upstream_unavailable")
        else:
            assert told.outcome == (200, *SO_FAR[frames], "length", None)


@pytest.mark.parametrize("split", SPLITS)
async def test_ended_inside_a_frame(split: Fault) -> None:
    async with World.start(RETRIES="0") as world:
        for left, wanted in ((30, None), (2, "stop"), (1, "stop")):
            fault = Together(Frames(b"".join(FRAMES)[:-left]), split)
            world.site.script("stream", fault, fault)
            streamed, whole = await world.chat("hi"), await world.whole("hi")
            if wanted:
                assert streamed.outcome == whole.outcome == WHOLE
            else:
                assert streamed.outcome == (200, *SO_FAR[-1], None, "upstream_unavailable")
                assert whole.outcome == (502, "", "", None, "upstream_unavailable")


@pytest.mark.parametrize("split", [*SPLITS, Split(size=1, gap=0), Split(size=3, gap=0)])
async def test_the_same_however_it_is_split(world: World, split: Fault) -> None:
    fault = Together(Frames(*FRAMES), split)
    world.site.script("stream", fault, fault)
    assert (await world.both("hi")).outcome == WHOLE


@pytest.mark.parametrize(
    "fault",
    [
        *(Together(Frames(*FRAMES), Cut(after=at)) for at in (None, 0, 10, ENDS[1], ENDS[1] + 30)),
        server_error(),
        server_error(500),
        html(),
        html(403),
        Reply(b"", content_type="text/event-stream"),
        Reply(b""),
        Reply({"message": "系统繁忙，请稍后再试", "status": 500}),
        Reply({"message": "internal error", "status": 10000}, 502),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_tried_again_before_anything_was_said(fault: Fault, stream: bool) -> None:
    async with World.start(RETRIES="2") as world:
        world.site.script("stream", fault, fault, Frames(*FRAMES))
        told = await (world.chat if stream else world.whole)("hi")
        assert told.outcome == WHOLE
        await world.site.wait_for(lambda: not world.site.running)
        # A break inside the first frame leaves a conversation without a name.
        world.kept = len([one for one in world.site.live_conversations() if isinstance(fault, Together) and one])
        world.site.script("stream", fault, fault, fault)
        told = await world.chat("hi", "bob")
        assert (told.status, told.error["code"]) == (502, "upstream_unavailable")
        world.kept = None


async def test_a_whole_answer_is_tried_again_wherever_it_breaks(world: World) -> None:
    world.site.script("stream", Cut(-10), Together(Frames(*FRAMES), Cut(after=ENDS[4])), Frames(*FRAMES))
    assert (await world.whole("hi")).outcome == WHOLE
    await world.deleted()
    assert (await world.metrics())["chat_service_retries_total{}"] == 2


async def test_a_stream_is_not_tried_again_once_something_was_said(world: World) -> None:
    world.site.script("stream", Together(Frames(*FRAMES), Cut(after=ENDS[3])))
    assert (await world.chat("hi")).outcome == (200, "想一想", "你好", None, "upstream_unavailable")
    assert len(world.site.calls_of("stream")) == 1


@pytest.mark.parametrize("kind", ["application/json", "text/html", "", "application/octet-stream"])
async def test_a_stream_under_another_name(world: World, kind: str) -> None:
    fault = Together(Frames(*FRAMES), ContentType(kind))
    world.site.script("stream", fault, fault)
    assert (await world.both("hi")).outcome == WHOLE


async def test_a_refusal_under_the_name_of_a_stream(world: World) -> None:
    refused = Reply({"message": "内容违规", "status": 1}, content_type="text/event-stream")
    world.site.script("stream", refused, refused)
    assert (await world.both("hi")).outcome == (400, "", "", None, "content_filter")


async def test_the_head_goes_out_though_the_first_text_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "PING_INTERVAL", 0.01)
    async with World.start(HEAD_WAIT="0.02") as world:
        stall = Stall(after=ENDS[1], until=asyncio.Event())
        world.site.script("stream", Together(Frames(*FRAMES), stall))
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with asyncio.timeout(5), world.post("/v1/chat/completions", body) as response:
            assert response.status == 200
            for _ in range(3):
                assert (await response.content.readuntil(b"\n\n")).startswith(b":")
            assert stall.until is not None
            stall.until.set()
            rest = await response.content.read()
            assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_try_that_fails_after_the_head_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream, "PING_INTERVAL", 0.01)
    async with World.start(HEAD_WAIT="0", RETRIES="1") as world:
        slow = Together(Frames(*FRAMES), Cut(after=ENDS[1]), Stall(after=ENDS[1], seconds=0.05))
        world.site.script("stream", slow, Frames(*FRAMES), slow, slow)
        told = await world.chat("hi")
        assert told.outcome == WHOLE
        assert told.pings
        told = await world.chat("hi", "bob")
        assert told.outcome == (200, "", "", None, "upstream_unavailable")


async def test_a_site_that_takes_long_to_accept(world: World) -> None:
    """Nothing goes out before the site has accepted: till then a refusal keeps its status."""
    until = asyncio.Event()
    slow = SlowHead(until=until)
    world.site.script("stream", Together(server_error(), slow), Together(Frames(*FRAMES), SlowHead(seconds=0.05)))
    asking = asyncio.create_task(world.chat("hi"))
    await slow.reached.wait()
    until.set()
    told = await asking
    assert (told.outcome, told.pings) == (WHOLE, 0)


async def test_a_site_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HEAD_TIMEOUT", 0.05)
    async with World.start(RETRIES="1") as world:
        world.site.script("stream", SlowHead(), SlowHead(), SlowHead())
        told = await world.chat("hi")
        assert (told.status, told.error["code"]) == (504, "upstream_timeout")
        assert (await world.whole("hi")).finish == "stop"
        counted = await world.metrics()
        assert counted['chat_service_upstream_calls_total{kind="chat",outcome="timeout"}'] == 3


async def test_a_slow_answer_never_times_out_while_something_comes() -> None:
    async with World.start(UPSTREAM_IDLE_TIMEOUT="0.1") as world:
        world.site.pace = 0.03
        world.site.script("stream", Frames(*FRAMES), Frames(*FRAMES))
        assert (await world.both("hi")).outcome == WHOLE
