"""Several accounts, busy ones, expired ones, and who may use which."""

import asyncio
from functools import partial

import pytest

from shared import slots
from tests.services.glm.world import World
from tests.simulators import Stall
from tests.simulators.chatglm import GlmSite, access_refused, busy, refresh_expired


def who(world: World, kind: str = "stream") -> list[str]:
    """The accounts that the calls of a kind were made as, in order."""
    bearers = [call.headers["Authorization"].removeprefix("Bearer ") for call in world.site.calls_of(kind)]
    return [world.site.access_tokens[bearer].account.name for bearer in bearers]


async def test_ten_at_once_on_one_account_come_through_in_order(world: World) -> None:
    world.site.script("stream", stall := Stall(after=500, until=asyncio.Event()))

    def queued(number: int) -> bool:
        return world.house.service.accounts.slots.waiting() == number

    asking = [asyncio.create_task(world.chat("question 0"))]
    await stall.reached.wait()
    for number in range(1, 10):
        ask = world.chat if number % 2 else world.whole
        asking.append(asyncio.create_task(ask(f"question {number}")))
        await world.site.wait_for(partial(queued, number))
    assert stall.until is not None
    stall.until.set()
    told = await asyncio.gather(*asking)
    assert world.prompts() == [f"question {number}\n" for number in range(10)]
    assert all(f"question {number}」" in answer.content for number, answer in enumerate(told))
    assert world.site.outcomes("stream") == {"ok": 10}
    await world.deleted()


async def test_who_waits_too_long_is_told_when_to_come_back() -> None:
    async with World.start(ACCOUNT_WAIT="0.05") as world:
        world.site.script("stream", stall := Stall(after=500, until=asyncio.Event()))
        asking = asyncio.create_task(world.chat("hi"))
        await stall.reached.wait()
        told = await world.chat("hi")
        assert (told.status, told.error["code"]) == (429, "rate_limit_exceeded")
        assert int(told.headers["Retry-After"]) > 0
        assert stall.until is not None
        stall.until.set()
        assert (await asking).finish == "stop"


async def test_accounts_take_turns(world: World) -> None:
    for _ in range(6):
        await world.chat("hi", "ann", "bob", "cem")
    assert who(world) == ["ann", "bob", "cem"] * 2


async def test_at_once_on_three_accounts(world: World) -> None:
    stalls = [Stall(after=500, until=asyncio.Event()) for _ in range(3)]
    world.site.script("stream", *stalls)
    asking = [asyncio.create_task(world.chat("hi", "ann", "bob", "cem")) for _ in stalls]
    for stall in stalls:
        await stall.reached.wait()
    assert sorted(who(world)) == ["ann", "bob", "cem"]
    for stall in stalls:
        assert stall.until is not None
        stall.until.set()
    assert [told.finish for told in await asyncio.gather(*asking)] == ["stop"] * 3


async def test_one_expired_one_busy_and_every_request_succeeds(world: World) -> None:
    world.site.account("ann")
    world.site.expire_refresh("ann")
    world.occupy("bob")
    for _ in range(4):
        told = await world.both("hi", "ann", "bob", "cem")
        assert told.finish == "stop"
    assert world.site.outcomes("refresh") == {"expired": 1, "ok": 2}
    counted = await world.metrics()
    assert counted['chat_service_account_failures_total{reason="account_expired"}'] == 1
    assert counted['chat_service_account_failures_total{reason="account_busy"}'] >= 1
    assert counted['chat_service_accounts{state="off"}'] == 1
    assert counted['chat_service_requests_total{route="/v1/chat/completions",status="200"}'] == 8


async def test_a_busy_account_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "BUSY_PAUSE", 0.01)
    world.site.script("stream", busy(), busy(), busy())
    assert (await world.chat("hi")).finish == "stop"
    assert world.site.outcomes("stream") == {"scripted": 3, "ok": 1}


async def test_a_busy_account_is_passed_over(world: World) -> None:
    world.site.script("stream", busy())
    assert (await world.chat("hi", "ann", "bob")).finish == "stop"
    assert who(world) == ["ann", "bob"]


async def test_all_busy_for_too_long() -> None:
    async with World.start(ACCOUNT_WAIT="0.05") as world:
        world.occupy("ann")
        world.occupy("bob")
        for ask in (world.chat, world.whole):
            told = await ask("hi", "ann", "bob")
            assert (told.status, told.error["type"], told.error["code"]) == (
                429,
                "rate_limit_error",
                "rate_limit_exceeded",
            )
            assert int(told.headers["Retry-After"]) > 0


async def test_an_expired_token(world: World) -> None:
    world.site.account("ann")
    world.site.expire_refresh("ann")
    for _ in range(3):
        told = await world.chat("hi")
        assert (told.status, told.error["type"], told.error["code"]) == (401, "authentication_error", "invalid_api_key")
        assert "chatglm_refresh_token" in told.error["message"]
    # The site is not asked again so soon.
    assert world.site.outcomes("refresh") == {"expired": 1}


async def test_40102_in_the_stream_reply(world: World) -> None:
    world.site.script("stream", refresh_expired())
    assert (await world.chat("hi", "ann", "bob")).finish == "stop"
    assert who(world) == ["ann", "bob"]


async def test_a_token_that_is_none(world: World) -> None:
    for token in ("nonsense", "a b", "é", "a.b", "a..b"):
        world.bearer = token
        told = await world.chat("hi")
        assert (told.status, told.error["code"]) == (401, "invalid_api_key")
    # All but the last are seen to be none without a call.
    assert world.site.outcomes("refresh") == {"malformed": 1}


async def test_a_token_that_is_none_does_not_spoil_the_others(world: World) -> None:
    world.bearer = f"nonsense,,{world.site.account('ann')}, x.y.z ,"
    for _ in range(3):
        assert (await world.chat("hi")).finish == "stop"
    assert world.site.outcomes("refresh") == {"malformed": 1, "ok": 1}


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer , ,", None])
async def test_no_token(world: World, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("chat/completions", "images/generations", "videos/generations"):
        async with world.house.client.post(f"{world.house.url}/v1/{path}", json={}, headers=headers) as response:
            told = (await response.json())["error"]
            assert (response.status, told["code"]) == (401, "invalid_api_key")
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert world.site.calls == []


async def test_a_refused_access_token_is_exchanged_anew_once(world: World) -> None:
    await world.chat("hi")
    world.site.expire_access("ann")
    assert (await world.chat("again")).finish == "stop"
    assert world.site.outcomes("stream") == {"ok": 2, "unauthorized": 1}
    assert world.site.outcomes("refresh") == {"ok": 2}
    assert world.site.outcomes("delete")["unauthorized"] <= 1


async def test_one_that_is_refused_twice_is_left_for_the_next_account(world: World) -> None:
    world.site.script("stream", access_refused(), access_refused())
    assert (await world.chat("hi", "ann", "bob")).finish == "stop"
    assert who(world) == ["ann", "ann", "bob"]
    world.site.script("stream", access_refused(), access_refused())
    told = await world.whole("hi", "cem")
    assert (told.status, told.error["code"]) == (401, "invalid_api_key")


async def test_two_users_never_share_anything(world: World) -> None:
    async def user(name: str) -> None:
        for number in range(8):
            ask = world.chat if number % 2 else world.whole
            told = await ask(f"{name} asks {number}", name)
            assert f"{name} asks {number}」" in told.content
            assert world.site.conversations[told.id].owner.name == name

    await asyncio.gather(*(user(name) for name in ("ann", "bob", "cem", "ann2", "bob2")))
    for call in world.site.calls_of("stream"):
        owner = world.site.access_tokens[call.headers["Authorization"][7:]].account.name
        assert f'"{owner} asks '.encode() in call.body
        assert "Cookie" not in call.headers
    assert world.site.outcomes("refresh") == {"ok": 5}


async def test_with_api_keys_the_accounts_are_the_server_s() -> None:
    site = GlmSite()
    tokens = [site.account("ann"), site.account("bob")]
    async with World.start(site, API_KEYS="key-one,key-two", ACCOUNTS=",".join(tokens)) as world:
        for key in ("key-one", "key-two", "other,key-one"):
            world.bearer = key
            assert (await world.chat("hi")).finish == "stop"
        for key in ("other", tokens[0], "key-on", "key-one2"):
            world.bearer = key
            for told in (await world.chat("hi"), await world.request("/token/check", {"token": tokens[0]})):
                assert (told.status, told.error["code"]) == (401, "invalid_api_key")
                assert tokens[0] not in told.error["message"]
        world.bearer = "key-one"
        told = await world.request("/token/check", {})
        assert told.value["live"] is True
        assert [one["live"] for one in told.value["accounts"]] == [True, True]
        assert not any(token in str(told.value) for token in tokens)
        assert set(who(world)) == {"ann", "bob"}
