"""Conversations at the site: kept, continued, and deleted."""

import asyncio

import pytest

from shared import cleanup, slots
from tests.services.glm.world import AGENT, World
from tests.simulators import Cut, Pass, Stall, html, server_error
from tests.simulators.chatglm import Filter, Frames, GlmSite, access_refused, busy

ELSEWHERE = "680f1c2e9a4b7d3e5f60718a"


@pytest.mark.parametrize("opening", ["new", "none"])
@pytest.mark.parametrize("stream", [True, False])
async def test_opened_and_continued(world: World, opening: str, stream: bool) -> None:
    ask = world.chat if stream else world.whole
    first = await ask(
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": "你叫什么？"}], conversation_id=opening
    )
    told = first.chunks[-1] if stream else first.value
    conversation = told["conversation_id"]
    assert first.id == conversation
    for said in ("再说一遍", "再一遍"):
        next_ = await ask(
            [{"role": "system", "content": "be brief"}, {"role": "user", "content": said}], conversation_id=conversation
        )
        assert next_.id == conversation
    assert [body["conversation_id"] for body in world.asked()] == ["", conversation, conversation]
    assert world.prompts() == [
        "<|sytstem|>\nbe brief\n<|user|>\n你叫什么？\n<|assistant|>\n",
        "be brief\n再说一遍\n",
        "be brief\n再一遍\n",
    ]
    assert world.site.calls_of("delete") == []
    world.kept = 1


async def test_of_an_agent(world: World) -> None:
    first = await world.chat("hi", model=AGENT, conversation_id="new")
    second = await world.chat("and", model=AGENT, conversation_id=first.id)
    assert second.id == first.id
    assert {body["assistant_id"] for body in world.asked()} == {AGENT}
    world.kept = 1


async def test_an_id_from_before_a_restart(world: World) -> None:
    first = await world.chat("hi", conversation_id="new")
    async with World.start(world.site) as other:
        assert (await other.chat("and", conversation_id=first.id)).id == first.id
        other.kept = 1
    assert world.site.conversations[first.id].turns == ["hi", "and"]
    world.kept = 1


@pytest.mark.parametrize("name", ["x", "not an id", "680f1c2e9a4b7d3e5f60718", "../etc", ""])
async def test_what_is_no_id_opens_a_conversation_of_the_usual_kind(world: World, name: str) -> None:
    assert (await world.both("hi", conversation_id=name)).finish == "stop"
    assert [body["conversation_id"] for body in world.asked()] == ["", ""]
    await world.deleted()


async def test_an_unknown_id_is_asked_for_at_each_account(world: World) -> None:
    for told in (
        await world.chat("hi", "ann", "bob", conversation_id=ELSEWHERE),
        await world.whole("hi", conversation_id=ELSEWHERE),
    ):
        assert (told.status, told.error["code"]) == (404, "conversation_not_found")
    assert world.site.outcomes("stream") == {"conversation unknown": 3}


async def test_nobody_continues_another_account_s(world: World) -> None:
    first = await world.chat("secret", "ann", conversation_id="new")
    told = await world.chat("and?", "bob", conversation_id=first.id)
    assert (told.status, told.error["code"]) == (404, "conversation_not_found")
    assert len(world.site.calls_of("stream")) == 1
    world.kept = 1


async def test_nobody_continues_another_key_s() -> None:
    site = GlmSite()
    settings = {"API_KEYS": "key-one,key-two", "ACCOUNTS": site.account("ann")}
    async with World.start(site, **settings) as world:
        world.bearer = "key-one"
        first = await world.chat("secret", conversation_id="new")
        world.bearer = "key-two"
        told = await world.chat("and?", conversation_id=first.id)
        assert (told.status, told.error["code"]) == (404, "conversation_not_found")
        world.bearer = "key-one"
        assert (await world.chat("and?", conversation_id=first.id)).id == first.id
        world.kept = 1


async def test_it_stays_with_its_account_though_that_is_busy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "BUSY_PAUSE", 0.02)
    first = await world.chat("hi", "ann", conversation_id="new")
    world.site.script("stream", busy(), busy())
    again = await world.chat("and", "bob", "ann", conversation_id=first.id)
    assert (again.id, again.finish) == (first.id, "stop")
    assert {
        world.site.access_tokens[call.headers["Authorization"][7:]].account.name
        for call in world.site.calls_of("stream")
    } == {"ann"}
    world.kept = 1


async def test_it_stays_with_its_account_though_that_has_expired(world: World) -> None:
    first = await world.chat("hi", "ann", conversation_id="new")
    world.site.expire_access("ann")
    world.site.expire_refresh("ann")
    told = await world.chat("and", "ann", "bob", conversation_id=first.id)
    assert (told.status, told.error["code"]) == (401, "invalid_api_key")
    assert "bob" not in world.site.accounts or not world.site.live_conversations("bob")
    world.kept = 1


@pytest.mark.parametrize("fault", [Cut(-10), Filter(after=2), Frames({"parts": [], "status": "init"})])
async def test_a_continued_one_is_kept_however_it_ends(world: World, fault: Frames) -> None:
    first = await world.chat("hi", conversation_id="new")
    world.site.script("stream", fault, fault, fault)
    await world.chat("and", conversation_id=first.id)
    assert world.site.calls_of("delete") == []
    world.kept = 1


async def test_a_continued_one_is_kept_when_the_client_leaves(world: World) -> None:
    first = await world.chat("hi", conversation_id="new")
    world.site.script("stream", stall := Stall(after=1500))
    asking = asyncio.create_task(world.chat("and", conversation_id=first.id))
    await stall.reached.wait()
    asking.cancel()
    await world.site.calls_of("stream")[1].ended.wait()
    assert (await world.chat("and?", conversation_id=first.id)).finish == "stop"
    assert world.site.calls_of("delete") == []
    world.kept = 1


async def test_all_are_kept_when_set() -> None:
    async with World.start(KEEP_CONVERSATIONS="1") as world:
        first = await world.both("hi")
        assert (await world.chat("and", conversation_id=first.id)).id == first.id
        assert world.site.calls_of("delete") == []
        world.kept = 2


@pytest.mark.parametrize(
    "fault",
    [
        Pass(),
        Filter(after=2),
        Filter(),
        Frames({"parts": [], "status": "finish", "last_error": "no"}),
        Cut(-400),
        Cut(-400, reset=True),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_deleted_however_it_ends(world: World, fault: Frames, stream: bool) -> None:
    world.site.script("stream", fault)
    await (world.chat if stream else world.whole)("hi")
    await world.deleted()
    assert set(world.site.outcomes("delete")) == {"ok"}


async def test_a_refused_deletion_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "FORGET_PAUSES", (0.01, 0.01, 0.01))
    world.site.script("delete", server_error(), html(), access_refused())
    assert (await world.chat("hi")).finish == "stop"
    await world.deleted()
    assert len(world.site.calls_of("delete")) == 4
    assert world.site.outcomes("refresh") == {"ok": 2}
    assert (await world.metrics())['chat_service_cleanups_total{outcome="deleted"}'] == 1


async def test_an_answer_does_not_wait_for_the_deletion_before(world: World) -> None:
    go_on = asyncio.Event()
    world.site.script("delete", Stall(after=0, until=go_on))
    await world.chat("hi")
    assert (await world.chat("hi")).finish == "stop"
    go_on.set()
    await world.deleted()
