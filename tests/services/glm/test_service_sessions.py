"""Access tokens and the refresh tokens behind them; the token check."""

import asyncio
import stat
from pathlib import Path

import orjson
import pytest

from tests.services.glm.world import World
from tests.simulators import Cut, Reply, SlowHead, Together, html, server_error
from tests.simulators.chatglm import GlmSite

UNKNOWN = Reply({"message": "请求失败", "result": None, "status": 1})


def exchanged(world: World) -> list[str]:
    """The refresh tokens that were exchanged, in order."""
    return [call.headers["Authorization"].removeprefix("Bearer ") for call in world.site.calls_of("refresh")]


async def test_a_rotated_token_is_used_from_then_on(world: World) -> None:
    world.site.rotate = world.site.retire_old = True
    world.bearer = first = world.site.account("ann")
    for _ in range(3):
        assert (await world.chat("hi")).finish == "stop"
        await world.deleted()
        world.site.expire_access("ann")
    assert exchanged(world)[0] == first
    assert len(set(exchanged(world))) == len(exchanged(world)) == 3
    assert world.site.outcomes("refresh") == {"ok": 3}


async def test_a_rotated_token_outlives_a_restart(tmp_path: Path) -> None:
    site, path = GlmSite(), tmp_path / "state.json"
    site.rotate = site.retire_old = True
    first = site.account("ann")
    for _ in range(3):
        async with World.start(site, STATE_FILE=str(path)) as world:
            world.bearer = first
            assert (await world.chat("hi")).finish == "stop"
    assert site.outcomes("refresh") == {"ok": 3}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(orjson.loads(path.read_bytes())["glm"].values()) == [site.account("ann")]
    assert first.encode() not in path.read_bytes()


async def test_without_a_file_a_retired_token_is_lost_at_a_restart() -> None:
    site = GlmSite()
    site.rotate = site.retire_old = True
    first = site.account("ann")
    async with World.start(site) as world:
        world.bearer = first
        assert (await world.chat("hi")).finish == "stop"
    async with World.start(site) as world:
        world.bearer = first
        told = await world.chat("hi")
        assert (told.status, told.error["code"]) == (401, "invalid_api_key")


async def test_a_refused_newest_token_gives_way_to_the_client_s(world: World) -> None:
    world.site.rotate = True
    world.bearer = first = world.site.account("ann")
    await world.chat("hi")
    await world.deleted()
    # The user has logged in anew: what the site gave out in between no longer counts.
    world.site.accounts["ann"].refresh_tokens = [first]
    world.site.expire_access("ann")
    assert (await world.chat("hi")).finish == "stop"
    assert world.site.outcomes("refresh") == {"ok": 2, "malformed": 1}
    assert exchanged(world)[0] == exchanged(world)[2] == first


async def test_many_who_wait_share_one_exchange(world: World) -> None:
    world.site.script("refresh", slow := SlowHead(until=asyncio.Event()))
    token = world.site.account("ann")
    asking = [asyncio.create_task(world.request("/token/check", {"token": token})) for _ in range(5)]
    chatting = asyncio.create_task(world.chat("hi"))
    await slow.reached.wait()
    assert slow.until is not None
    slow.until.set()
    assert [told.value for told in await asyncio.gather(*asking)] == [{"live": True}] * 5
    assert (await chatting).finish == "stop"


@pytest.mark.parametrize(
    "fault",
    [server_error(), html(), Cut(None), Cut(5), Reply({"message": "success", "status": 0, "result": {}}), Reply(b"")],
)
async def test_an_exchange_that_fails_is_not_kept(fault: Reply) -> None:
    async with World.start(RETRIES="0") as world:
        world.site.script("refresh", fault)
        told = await world.chat("hi")
        assert (told.status, told.error["type"]) == (502, "upstream_error")
        world.errors += ["upstream_changed"] * (told.error["code"] == "upstream_changed")
        assert (await world.chat("hi")).finish == "stop"


async def test_an_exchange_that_fails_is_tried_again(world: World) -> None:
    world.site.script("refresh", server_error(), Cut(None))
    assert (await world.chat("hi")).finish == "stop"
    assert len(world.site.calls_of("refresh")) == 3
    assert (await world.metrics())["chat_service_retries_total{}"] == 2


async def test_an_exchange_that_is_refused_for_no_known_reason_is_tried_again(world: World) -> None:
    world.site.script("refresh", UNKNOWN)
    assert (await world.chat("hi")).finish == "stop"


async def test_an_access_token_is_renewed_when_its_time_is_over() -> None:
    async with World.start(GLM_SESSION_LIFETIME="0.0") as world:
        await world.chat("hi")
        await world.deleted()
        assert len(world.site.calls_of("refresh")) >= 2


async def test_a_token_that_works(world: World) -> None:
    told = await world.request("/token/check", {"token": world.site.account("ann")})
    assert (told.status, told.value) == (200, {"live": True})
    assert world.site.outcomes("refresh") == {"ok": 1}


async def test_a_rotated_token_still_works(world: World) -> None:
    world.site.rotate = world.site.retire_old = True
    token = world.site.account("ann")
    for _ in range(3):
        assert (await world.request("/token/check", {"token": token})).value == {"live": True}


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "é", "x" * 5000])
async def test_a_token_that_never_worked(world: World, token: str) -> None:
    told = await world.request("/token/check", {"token": token})
    assert (told.status, told.value) == (200, {"live": False})


async def test_a_token_that_has_expired(world: World) -> None:
    token = world.site.account("ann")
    world.site.expire_refresh("ann")
    assert (await world.request("/token/check", {"token": token})).value == {"live": False}


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"message": "success", "result": {}, "status": 0}),
        Reply({"message": "success", "result": {"access_token": ""}, "status": 0}),
        Reply({"message": "success", "result": None, "status": 0}),
        Reply({"message": "success", "result": {"accessToken": "eyJ.A.A"}}),
        Reply({"message": "invalid refresh token", "result": None, "status": 10002}),
        UNKNOWN,
        Reply({"message": "请求失败", "result": None, "code": "1"}),
        Reply({"message": "用户不存在", "result": None, "status": 404}, 404),
        Reply({"message": "Bad Request", "status": 400}, 400),
        Reply({"message": "您的账号存在违规行为，请联系客服", "result": None, "status": 10020}),
        Reply({"message": "对话已删除", "result": None, "status": 10005}),
    ],
)
async def test_a_token_for_which_the_site_gives_no_other(world: World, reply: Reply) -> None:
    token = world.site.account("ann")
    world.site.script("refresh", reply)
    told = await world.request("/token/check", {"token": token})
    assert (told.status, told.value) == (200, {"live": False})
    # Nothing is remembered of it.
    assert (await world.request("/token/check", {"token": token})).value == {"live": True}


async def test_a_chat_that_shares_the_exchange_of_a_check_is_tried_again(world: World) -> None:
    world.site.script("refresh", Together(slow := SlowHead(until=asyncio.Event()), UNKNOWN))
    token = world.site.account("ann")
    checking = asyncio.create_task(world.request("/token/check", {"token": token}))
    await slow.reached.wait()
    chatting = asyncio.create_task(world.chat("hi"))
    while not world.house.service.accounts.slots.states()["running"]:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    assert slow.until is not None
    slow.until.set()
    assert (await checking).value == {"live": False}
    assert (await chatting).finish == "stop"
    assert world.site.outcomes("refresh") == {"scripted": 1, "ok": 1}


async def test_a_check_that_fails_for_no_known_reason_loses_no_rotated_token(world: World) -> None:
    world.site.rotate = world.site.retire_old = True
    token = world.site.account("ann")
    assert (await world.request("/token/check", {"token": token})).value == {"live": True}
    for reply in (UNKNOWN, Reply({"message": "success", "result": {}, "status": 0})):
        world.site.script("refresh", reply)
        assert (await world.request("/token/check", {"token": token})).value == {"live": False}
    assert (await world.request("/token/check", {"token": token})).value == {"live": True}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply({"message": "Forbidden", "status": 403}, 403), "upstream_unavailable"),
        (Reply({"message": "error", "status": 500}, 500), "upstream_unavailable"),
        (Reply({"message": "系统异常", "status": 1}), "upstream_unavailable"),
        (Reply({"message": "当前还有其他请求正在进行", "status": 10006}), "rate_limit_exceeded"),
        (Reply({"detail": "?"}, 400), "upstream_unavailable"),
        (Reply({"detail": "Not Found"}, 404), "upstream_changed"),
        (Reply({"foo": 1}), "upstream_changed"),
    ],
)
async def test_what_says_nothing_of_the_token(world: World, reply: Reply, code: str) -> None:
    world.site.script("refresh", reply)
    told = await world.request("/token/check", {"token": world.site.account("ann")})
    assert told.error["code"] == code
    world.errors += ["upstream_changed"] * (code == "upstream_changed")


@pytest.mark.parametrize("fault", [server_error(), html(), Cut(None)])
async def test_what_could_not_be_found_out_is_no_dead_token(world: World, fault: Reply) -> None:
    world.site.script("refresh", fault)
    told = await world.request("/token/check", {"token": world.site.account("ann")})
    assert (told.status, told.error["code"]) == (502, "upstream_unavailable")


@pytest.mark.parametrize("body", [{}, {"token": ""}, {"token": 7}, {"token": " "}])
async def test_no_token_to_check(world: World, body: object) -> None:
    told = await world.request("/token/check", body)
    assert (told.status, told.error["param"]) == (400, "token")
