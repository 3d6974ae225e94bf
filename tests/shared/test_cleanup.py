"""What is left at the site is stopped and deleted, whoever breaks off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog

from shared import cleanup as cleanup_module
from shared import conversations
from shared.outputs import Work
from shared.reply import Reply
from tests.house import House
from tests.shared.toy import Told, Toy, ask, asks, toy
from tests.shared.toysite import HELLO, Scene, World, refuses

KEYS = {"API_KEYS": "key-one,key-two", "ACCOUNTS": "t1,t2"}


@asynccontextmanager
async def quiet() -> AsyncIterator[list[Any]]:
    """Nothing may be logged at ERROR, and nothing be left to asyncio's own handler."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    with structlog.testing.capture_logs() as logs:
        yield logs
    assert told == []
    assert [line for line in logs if line["log_level"] == "error"] == []


async def leave(house: House, world: World, body: Any, seen: Any, path: str = "/v1/chat/completions") -> None:
    """Ask, and leave as soon as `seen` is so."""
    task = asyncio.create_task(ask(house, body, path=path))
    await world.until(seen)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def is_free(house: House) -> bool:
    return house.service.accounts.slots.states()["running"] == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_the_client_leaves_in_the_middle(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # The call to the site ends at once, and not for want of patience.
    monkeypatch.setattr(cleanup_module, "BREAK_TIMEOUT", 3600)
    async with toy() as (world, house), quiet() as logs:
        world.play(Scene(HELLO[:2], ending="stall"))
        await leave(house, world, asks(stream), lambda: world.conversations and house.service.accounts)
        await world.until(lambda: world.left)
        await world.until(lambda: world.deleted and is_free(house))
        [line] = [line for line in logs if line["event"] == "answered"]
        assert (line["status"], line["log_level"]) == (499, "info")
        assert (await ask(house)).status == 200


async def test_the_client_leaves_while_the_owner_is_being_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    storing = asyncio.Event()

    async def store(kind: str, *_: Any) -> None:
        if kind == "conversation":
            storing.set()
            await asyncio.Event().wait()

    async with toy() as (world, house), quiet():
        monkeypatch.setattr(house.service.common, "store", store)
        await leave(house, world, asks(True, conversation_id="new"), storing.is_set)
        await world.until(lambda: world.deleted and is_free(house))


@pytest.mark.parametrize("stream", [True, False])
async def test_the_client_leaves_before_the_site_has_accepted(stream: bool) -> None:
    async with toy() as (world, house), quiet():
        gate = asyncio.Event()
        world.play(Scene(head=gate))
        await leave(house, world, asks(stream), world.tokens)
        await asyncio.sleep(0.05)
        assert not world.left  # The call that creates the conversation runs to its end.
        assert not is_free(house)
        gate.set()
        await world.until(lambda: world.deleted and is_free(house))


async def test_the_client_leaves_before_the_conversation_has_a_name() -> None:
    async with toy() as (world, house), quiet():
        gate = asyncio.Event()
        world.play(Scene(({"odd": "x"}, *HELLO), gates={1: gate}))
        await leave(house, world, asks(stream=True), lambda: world.running["t1"])
        await asyncio.sleep(0.05)
        assert not world.left
        gate.set()
        await world.until(lambda: world.deleted and is_free(house))


@pytest.mark.parametrize("scene", [Scene(head=asyncio.Event()), Scene(HELLO[1:2], ending="stall")])
async def test_a_conversation_that_gets_no_name_does_not_hold_the_account_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup_module, "BREAK_TIMEOUT", 0.05)
    async with toy() as (world, house), quiet():
        world.play(scene)
        await leave(house, world, asks(stream=True), world.tokens)
        await world.until(lambda: world.left and is_free(house))


async def test_the_client_leaves_while_it_waits_for_an_account() -> None:
    async with toy() as (world, house), quiet():
        gate = asyncio.Event()
        world.play(Scene(gates={1: gate}))
        first = asyncio.create_task(ask(house))
        await world.until(lambda: world.running["t1"])
        slots = house.service.accounts.slots
        await leave(house, world, asks(), slots.waiting)
        await world.until(lambda: not slots.waiting())
        gate.set()
        assert (await first).status == 200
        assert len(world.tokens()) == 1


async def test_the_client_leaves_during_the_exchange_which_comes_home() -> None:
    async with toy() as (world, house), quiet():
        await leave(house, world, asks(), lambda: world.tokens("session"))
        await world.until(lambda: is_free(house))
        assert (await ask(house)).status == 200
        assert len(world.tokens("session")) == 1


async def test_the_client_leaves_in_the_middle_of_a_long_write() -> None:
    frames = [{"conversation": "*"}, *[{"text": "x" * 10_000}] * 3000]
    async with toy() as (world, house), quiet() as logs:
        world.play(Scene(frames))
        async with aiohttp.ClientSession() as client:
            headers = {"Authorization": "Bearer t1"}
            url = house.url + "/v1/chat/completions"
            async with client.post(url, json=asks(stream=True), headers=headers) as response:
                await response.content.readany()
                response.close()
        await world.until(lambda: world.deleted and is_free(house))
        await world.until(lambda: any(line["event"] == "answered" for line in logs))
        assert [line["status"] for line in logs if line["event"] == "answered"] == [499]


async def test_the_site_breaks_off_and_the_conversation_is_deleted() -> None:
    async with toy(RETRIES="0") as (world, house), quiet():
        world.play(Scene(HELLO[:2], ending="cut"))
        assert (await ask(house, asks(stream=True))).code == "upstream_unavailable"
        await world.until(lambda: world.deleted and is_free(house))


async def test_a_deletion_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup_module, "FORGET_PAUSES", (0.01, 0.01, 0.01))
    async with toy() as (world, house), quiet() as logs:
        html = Scene(body=b"<html>", status=502, content_type="text/html")
        world.scenes["forget"].extend([html, refuses("UpstreamUnavailable"), refuses("SessionRefused")])
        assert (await ask(house)).status == 200
        await world.until(lambda: world.deleted)
        assert len(world.tokens("forget")) == 4
        assert [line["reason"] for line in logs if line["event"] == "conversation_not_deleted"] == [
            "upstream_unavailable"
        ] * 2
        async with house.client.get(house.url + "/metrics") as response:
            metrics = await response.text()
        assert 'cleanups_total{outcome="failed",provider="toy"} 2.0' in metrics
        assert 'cleanups_total{outcome="deleted",provider="toy"} 1.0' in metrics


async def test_a_deletion_that_fails_after_a_break_goes_on_when_the_account_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleanup_module, "BREAK_TIMEOUT", 0.05)
    async with toy() as (world, house), quiet():
        world.play(Scene(HELLO[:2], ending="stall"))
        world.hold_forget = asyncio.Event()
        await leave(house, world, asks(stream=True), lambda: world.conversations)
        await world.until(lambda: is_free(house))
        assert not world.deleted
        world.hold_forget.set()
        await world.until(lambda: world.deleted)


async def test_a_deletion_that_is_refused_after_a_break_is_tried_again() -> None:
    async with toy() as (world, house), quiet():
        world.play(Scene(HELLO[:2], ending="stall"))
        world.scenes["forget"].append(refuses("UpstreamUnavailable"))
        await leave(house, world, asks(stream=True), lambda: world.conversations)
        await world.until(lambda: world.deleted)
        assert len(world.tokens("forget")) == 2


async def test_a_conversation_that_is_gone_already_is_no_failure() -> None:
    async with toy() as (world, house), quiet():
        world.scenes["forget"].append(refuses("ConversationUnknown"))
        await ask(house)
        await house.service.cleanup.drain(5)
        assert len(world.tokens("forget")) == 1


async def test_where_nothing_can_be_deleted_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "deletes", False)
    async with toy() as (world, house), quiet():
        assert (await ask(house)).status == 200
        world.play(Scene(HELLO[:2], ending="stall"))
        await leave(house, world, asks(stream=True), lambda: world.running["t1"])
        await world.until(lambda: world.left and is_free(house))
        await house.service.cleanup.drain(5)
        assert world.tokens("forget") == []
        async with house.client.get(house.url + "/metrics") as response:
            assert "cleanups_total{" not in await response.text()


async def test_the_account_is_free_at_once_and_deletions_are_one_at_a_time_for_each() -> None:
    async with toy() as (world, house), quiet():
        world.hold_forget = asyncio.Event()
        for token in ("t1", "t1", "t1", "t2"):
            assert (await ask(house, token=token)).status == 200
        await world.until(lambda: world.forgetting == {"t1": 1, "t2": 1})
        assert is_free(house)
        world.hold_forget.set()
        await world.until(lambda: len(world.deleted) == 4)
        assert (world.most["forget:t1"], world.most["forget:t2"]) == (1, 1)


async def test_an_output_that_cannot_be_closed_is_still_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Toy.chat

    @asynccontextmanager
    async def faulty(*args: Any) -> AsyncIterator[Reply]:
        async with chat(*args) as reply:
            yield reply
        raise KeyError("a fault of ours")

    monkeypatch.setattr(Toy, "chat", faulty)
    async with toy() as (world, house):
        with structlog.testing.capture_logs() as logs:
            assert (await ask(house)).status == 200
            world.play(Scene(HELLO[:2], ending="stall"))
            await leave(house, world, asks(stream=True), lambda: world.running["t1"])
            await world.until(lambda: len(world.deleted) == 2 and is_free(house))
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["cleanup_failed"] * 2


async def drained(world: World, house: House) -> list[str]:
    await house.service.cleanup.drain(5)
    return sorted(world.conversations)


def conversation_of(told: Told) -> str:
    return str((told.json if told.body.startswith(b"{") else told.events[-2])["conversation_id"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("opens", ["new", "none"])
async def test_a_conversation_is_kept_and_continued(opens: str, stream: bool) -> None:
    async with toy() as (world, house):
        first = conversation_of(await ask(house, asks(stream, conversation_id=opens)))
        for _ in range(2):
            assert conversation_of(await ask(house, asks(stream, conversation_id=first))) == first
        assert await drained(world, house) == [first]
        assert [body["conversation"] for path, _, body in world.asked if path == "chat"] == [None, first, first]


async def test_everything_else_is_deleted() -> None:
    async with toy() as (world, house):
        for conversation_id in (None, "", "no id of this site"):
            assert (await ask(house, asks(conversation_id=conversation_id))).status == 200
        assert await drained(world, house) == []


async def test_all_are_kept_when_the_settings_say_so_but_not_those_of_failed_tries() -> None:
    async with toy(KEEP_CONVERSATIONS="1") as (world, house):
        world.play(Scene(({"conversation": "*"}, {"refuse": "AccountLimited"})))
        told = conversation_of(await ask(house, token="t1,t2"))
        assert await drained(world, house) == [told]


async def test_a_continued_conversation_survives_whoever_breaks_off() -> None:
    async with toy(RETRIES="0") as (world, house), quiet():
        kept = conversation_of(await ask(house, asks(conversation_id="new")))
        world.play(Scene(HELLO[:2], ending="cut"), Scene(HELLO[:1], ending="cut"), Scene(HELLO[:2], ending="stall"))
        for _ in range(2):
            assert (await ask(house, asks(stream=True, conversation_id=kept))).code == "upstream_unavailable"
        await leave(house, world, asks(stream=True, conversation_id=kept), lambda: world.running["t1"])
        await world.until(lambda: world.left and is_free(house))
        assert await drained(world, house) == [kept]


async def test_a_continued_conversation_survives_a_client_that_leaves_before_it_is_named_again() -> None:
    async with toy() as (world, house), quiet():
        kept = conversation_of(await ask(house, asks(conversation_id="new")))
        # The site names it after the first text, when the client is about to leave.
        late = asyncio.Event()
        world.play(Scene(({"text": "a"}, {"conversation": "*"}, {"text": "b"}), gates={1: late}, ending="stall"))
        async with house.post("/v1/chat/completions", asks(stream=True, conversation_id=kept)) as response:
            await response.content.readany()
            late.set()
            response.close()
        await world.until(lambda: world.left and is_free(house))
        assert await drained(world, house) == [kept]


async def test_a_continued_conversation_never_leaves_its_owner() -> None:
    async with toy(ACCOUNT_WAIT="0.1") as (world, house):
        kept = conversation_of(await ask(house, asks(conversation_id="new"), "t2"))
        world.asked.clear()
        for kind, status in (("AccountLimited", 429), ("UpstreamUnavailable", 200), ("AccountExpired", 401)):
            world.play(refuses(kind))
            assert (await ask(house, asks(conversation_id=kept), "t1,t2,t3")).status == status
        assert set(world.tokens()) == {"t2"}
        assert (await ask(house, asks(conversation_id=kept), "t1,t3")).code == "conversation_not_found"
        assert set(world.tokens()) == {"t2"}


async def test_an_owner_forgotten_while_a_request_is_read_is_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "OWNERS_MOST", 1)
    async with toy() as (world, house):
        kept = conversation_of(await ask(house, asks(conversation_id="new"), "t2"))
        caller = house.service.accounts.caller("Bearer t1,t2,t3")
        conversation, _, owner = await house.service.continued(kept, caller)
        await ask(house, asks(conversation_id="new"), "t1")
        tries = house.service.tries(caller, conversation, owner)
        world.asked.clear()
        output, _ = await tries.run(lambda lease: Work(lease, lease.account.session()), Work.given)
        assert output.lease.account.own.token == "t2"
        house.service.cleanup.finish(output, keep=True)


async def test_another_api_key_gets_404() -> None:
    async with toy(**KEYS) as (_, house):
        kept = conversation_of(await ask(house, asks(conversation_id="new"), "key-one"))
        told = await ask(house, asks(conversation_id=kept), "key-two")
        assert (told.status, told.code) == (404, "conversation_not_found")
        assert (await ask(house, asks(conversation_id=kept), "key-one")).status == 200
        film = await ask(house, {"prompt": "p", "conversation_id": kept}, "key-two", "/v1/videos/generations")
        assert film.status == 404


async def test_a_kept_conversation_that_breaks_off_has_its_owner() -> None:
    async with toy(**KEYS, RETRIES="0") as (world, house):
        world.play(Scene(HELLO[:2], ending="cut"))
        told = await ask(house, asks(True, conversation_id="new"), "key-one")
        [kept] = await drained(world, house)
        assert kept in told.body.decode()
        assert (await ask(house, asks(conversation_id=kept), "key-two")).code == "conversation_not_found"
        assert (await ask(house, asks(conversation_id=kept), "key-one")).status == 200


async def test_a_conversation_that_breaks_off_before_it_has_a_name_to_be_kept_by_is_deleted() -> None:
    async with toy(RETRIES="0") as (world, house):
        nameless = [event for event in HELLO if "conversation" not in event]
        world.play(Scene([nameless[0], *HELLO[:1]], ending="cut", split=1))
        await ask(house, asks(True, conversation_id="new"))
        assert await drained(world, house) == []


async def test_a_drawing_is_deleted_and_a_film_is_kept() -> None:
    async with toy() as (world, house), quiet():
        told = await ask(house, {"prompt": "p", "n": 2}, path="/v1/images/generations")
        assert [item["url"] for item in told.json["data"]] == ["https://files.test/a%27b.png?x=1+2"] * 2
        assert await drained(world, house) == []
        told = await ask(house, {"prompt": "p"}, path="/v1/videos/generations")
        [film] = told.json["data"]
        assert await drained(world, house) == [film["conversation_id"]]
        other = {"prompt": "p", "conversation_id": film["conversation_id"]}
        assert (await ask(house, other, "t2", "/v1/videos/generations")).status == 404
        assert (await ask(house, other, "t1", "/v1/videos/generations")).status == 200


async def test_a_film_that_fails_or_is_left_is_deleted() -> None:
    async with toy(RETRIES="0") as (world, house), quiet():
        world.scenes["look"].append(refuses("UpstreamUnavailable"))
        assert (await ask(house, {"prompt": "p"}, path="/v1/videos/generations")).status == 502
        world.hold_film = asyncio.Event()
        seen = lambda: "film/look" in world.left or len(world.tokens("film/look")) == 2  # noqa: E731
        await leave(house, world, {"prompt": "p"}, seen, "/v1/videos/generations")
        await world.until(lambda: len(world.deleted) == 2 and is_free(house))
        assert world.left == ["film/look"]


async def test_a_drawing_that_is_left_runs_until_it_can_be_deleted() -> None:
    async with toy() as (world, house), quiet():
        gate = asyncio.Event()
        world.play(Scene(head=gate))
        await leave(house, world, {"prompt": "p"}, lambda: world.tokens("draw"), "/v1/images/generations")
        gate.set()
        await world.until(lambda: world.deleted and is_free(house))
        assert world.left == []
