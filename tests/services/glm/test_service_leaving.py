"""Clients that do not wait for the end: the call to the site ends, and nothing is left behind."""

import asyncio
from contextlib import suppress

import pytest

from shared import cleanup
from tests.answers import data_url
from tests.services.glm.world import World, png
from tests.simulators import Call, Cut, SlowHead, Stall, Together
from tests.simulators.chatglm import Frames
from tests.world import PATIENCE

VIDEOS = "/v1/videos/generations"


@pytest.fixture(autouse=True)
def _no_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens at once does so because the client left, and not because a time is over."""
    monkeypatch.setattr(cleanup, "BREAK_TIMEOUT", 3600)


async def leave(asking: asyncio.Task[object]) -> None:
    """Close the client's connection."""
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


async def closed(call: Call) -> None:
    """Wait until the site has seen that the call has ended."""
    await asyncio.wait_for(call.closed.wait(), PATIENCE)


@pytest.mark.parametrize("after", [600, 1500, 3000])
@pytest.mark.parametrize("stream", [True, False])
async def test_in_the_middle_of_an_answer(world: World, after: int, stream: bool) -> None:
    world.site.script("stream", stall := Stall(after=after))
    asking = asyncio.create_task((world.chat if stream else world.whole)("hi"))
    await stall.reached.wait()
    await leave(asking)
    await closed(world.site.calls_of("stream")[0])
    await world.deleted()
    # The account is free at once.
    assert (await world.chat("hi")).finish == "stop"
    assert world.site.outcomes("stream") == {"ok": 2}


async def test_while_the_answer_is_being_written(world: World) -> None:
    world.site.pace = 0.02
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with world.post("/v1/chat/completions", body) as response:
        await response.content.readuntil(b"\n\n")
        await response.content.readuntil(b"\n\n")
        response.close()
    await closed(world.site.calls_of("stream")[0])
    await world.deleted()
    assert (await world.metrics())["chat_service_open_streams{}"] == 0


async def test_before_the_conversation_has_a_name(world: World) -> None:
    """The site is read on until it names the conversation: only then it can be deleted."""
    named = Stall(after=20, until=asyncio.Event())
    world.site.script("stream", Together(named, Stall(after=-1)))
    asking = asyncio.create_task(world.chat("hi"))
    await named.reached.wait()
    await leave(asking)
    assert named.until is not None
    named.until.set()
    await world.deleted()
    assert (await world.chat("hi")).finish == "stop"


async def test_when_the_conversation_never_gets_a_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "BREAK_TIMEOUT", 0.1)
    world.site.script("stream", stall := Stall(after=20), SlowHead())
    for _ in range(2):
        asking = asyncio.create_task(world.chat("hi"))
        await world.site.wait_for(lambda: world.site.running)
        await leave(asking)
        await closed(world.site.calls_of("stream")[-1])
    assert stall.reached.is_set()
    assert (await world.chat("hi")).finish == "stop"
    world.kept = 1


async def test_while_waiting_in_the_queue(world: World) -> None:
    world.site.script("stream", stall := Stall(after=1500, until=asyncio.Event()))
    slots = world.house.service.accounts.slots
    first = asyncio.create_task(world.chat("first"))
    await stall.reached.wait()
    waiting = [asyncio.create_task(world.chat(f"waiter {number}")) for number in range(3)]
    await world.site.wait_for(lambda: slots.waiting() == 3)
    for task in waiting[:2]:
        await leave(task)
    await world.site.wait_for(lambda: slots.waiting() == 1)
    assert stall.until is not None
    stall.until.set()
    assert (await first).finish == (await waiting[2]).finish == "stop"
    assert world.prompts() == ["first\n", "waiter 2\n"]


async def test_during_an_exchange_the_token_is_not_lost(world: World) -> None:
    world.site.rotate = world.site.retire_old = True
    world.bearer = world.site.account("ann")
    world.site.script("refresh", slow := SlowHead(until=asyncio.Event()))
    asking = asyncio.create_task(world.chat("hi"))
    await slow.reached.wait()
    await leave(asking)
    assert slow.until is not None
    slow.until.set()
    assert (await world.chat("hi")).finish == "stop"
    assert world.site.outcomes("refresh") == {"ok": 1}


async def test_during_an_upload(world: World) -> None:
    world.site.script("upload", slow := SlowHead(until=asyncio.Event()))
    said = [{"type": "image_url", "image_url": {"url": data_url(png(1, 1))}}, {"type": "text", "text": "看"}]
    asking = asyncio.create_task(world.chat(said))
    await slow.reached.wait()
    await leave(asking)
    assert slow.until is not None
    slow.until.set()
    assert (await world.chat("hi")).finish == "stop"


async def test_in_the_middle_of_a_drawing(world: World) -> None:
    world.site.script("stream", stall := Stall(after=1500))
    asking = asyncio.create_task(world.request("/v1/images/generations", {"prompt": "猫"}))
    await stall.reached.wait()
    await leave(asking)
    await closed(world.site.calls_of("stream")[0])
    await world.deleted()
    assert (await world.chat("hi")).finish == "stop"


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("model", ["cogvideox", "cogvideox-pro"])
async def test_in_the_middle_of_a_video(world: World, model: str, continued: bool) -> None:
    body = {"prompt": "猫", "model": model}
    if continued:
        body |= {"conversation_id": (await world.request(VIDEOS, body)).value["data"][0]["conversation_id"]}
    looks = len(world.site.calls_of("video_status"))
    world.site.video_statuses = ("init",)
    asking = asyncio.create_task(world.request(VIDEOS, body))
    await world.site.wait_for(lambda: len(world.site.calls_of("video_status")) > looks)
    await leave(asking)
    await world.site.wait_for(lambda: all(job.deleted for job in world.site.video_jobs.values()))
    await world.deleted()
    assert (await world.chat("hi")).finish == "stop"


async def test_while_the_first_frame_of_a_video_is_drawn(world: World) -> None:
    first = (await world.request(VIDEOS, {"prompt": "猫"})).value["data"][0]["conversation_id"]
    world.site.script("stream", stall := Stall(after=1500))
    body = {"prompt": "猫", "model": "cogvideox-pro", "conversation_id": first}
    asking = asyncio.create_task(world.request(VIDEOS, body))
    await stall.reached.wait()
    await leave(asking)
    await world.deleted()
    assert len(world.site.conversations) == 1
    assert (await world.chat("hi")).finish == "stop"


async def test_while_a_video_is_being_ordered(world: World) -> None:
    world.site.script("video_chat", slow := SlowHead(until=asyncio.Event()))
    asking = asyncio.create_task(world.request(VIDEOS, {"prompt": "猫"}))
    await slow.reached.wait()
    await leave(asking)
    assert slow.until is not None
    slow.until.set()
    await world.site.wait_for(lambda: [job.deleted for job in world.site.video_jobs.values()] == [True])


async def test_many_who_leave_at_any_moment(world: World) -> None:
    """Whatever was under way, every account is free in the end and no conversation is left."""
    world.site.pace = 0.002
    for number in range(25):
        asking = [asyncio.create_task(world.chat("hi", name)) for name in ("ann", "bob")]
        await asyncio.sleep(number * 0.002)
        for task in asking:
            await leave(task)
    await world.deleted()
    for name in ("ann", "bob"):
        assert (await world.chat("hi", name)).finish == "stop"


async def test_a_reader_that_stops_reading_does_not_hold_up_others(world: World) -> None:
    long = "长" * 200_000
    frames = [
        {"parts": [{"logic_id": str(n), "content": [{"type": "text", "text": long}], "status": "finish"}]}
        for n in range(30)
    ]
    world.site.script("stream", Frames(*frames, {"status": "finish"}), Cut(None))
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with world.post("/v1/chat/completions", body) as response:
        await response.content.readany()
        assert (await world.chat("hi", "bob")).finish == "stop"
        response.close()
    await world.deleted()
