"""Two replicas of a service before one site: one process here, and real ones that are killed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import pytest
import structlog

from shared.common import replicas
from shared.errors import AddressLimited
from tests.house import House, running
from tests.shared.redisserver import RedisServer, needs_redis
from tests.shared.toy import Told, Toy, ask, asks
from tests.shared.toysite import HELLO, Scene, World, refuses

pytestmark = [needs_redis, pytest.mark.usefixtures("short_pauses")]

ACCOUNTS = ("t1", "t2", "t3", "t4")
REQUESTS = 200


@asynccontextmanager
async def pair(server: RedisServer | None, **environ: str) -> AsyncIterator[tuple[World, House, House]]:
    """One site, and two replicas of the service before it."""
    async with World().serve() as world, AsyncExitStack() as stack:
        settings = {"UPSTREAM_GATEWAY": world.url, **environ}
        if server is not None:
            settings["REDIS_URL"] = server.url
        first = await stack.enter_async_context(running(Toy, settings))
        second = await stack.enter_async_context(running(Toy, settings))
        yield world, first, second


def slow() -> Scene:
    """An answer that takes a while: the site does other things between its frames."""
    return Scene(HELLO, split=4)


async def load(world: World, houses: Sequence[House], requests: int = REQUESTS) -> list[Told]:
    world.play(*(slow() for _ in range(requests)))
    tokens = ",".join(ACCOUNTS)
    return list(
        await asyncio.gather(
            *(ask(houses[number % 2], asks(stream=bool(number % 3)), tokens) for number in range(requests))
        )
    )


def most(world: World) -> int:
    """The most outputs that ever ran on one account at once."""
    return max(world.most[account] for account in ACCOUNTS)


def limited(house: House) -> bool:
    """Whether a replica refuses every request because of its address."""
    try:
        house.service.accounts.check_address()
    except AddressLimited:
        return True
    return False


async def ready(house: House) -> Any:
    async with house.client.get(house.url + "/readyz") as response:
        assert response.status == 200
        return await response.json()


@pytest.mark.parametrize("shared", [True, False])
async def test_never_two_outputs_on_one_account(server: RedisServer, shared: bool) -> None:
    async with pair(server if shared else None) as (world, *houses):
        answers = await load(world, houses)
        assert {answer.text for answer in answers} == {"Hello world"}
        # Without Redis they do: else the load would prove nothing.
        assert (most(world) == 1) == shared
        await world.until(lambda: not world.conversations)
    assert server.keys("leases") == []


@pytest.mark.parametrize("limit", [2])
async def test_slots_are_those_of_all(server: RedisServer, limit: int) -> None:
    async with pair(server, SLOTS=str(limit)) as (world, *houses):
        await load(world, houses)
        assert most(world) == limit


async def test_who_waits_for_an_account_that_runs_elsewhere_is_served_when_it_is_free(server: RedisServer) -> None:
    async with pair(server) as (world, first, second):
        gate = asyncio.Event()
        world.play(Scene(gates={2: gate}))
        runs = asyncio.create_task(ask(first))
        await world.until(lambda: world.running["t1"])
        waits = [asyncio.create_task(ask(house)) for house in (second, second, first)]
        await world.until(lambda: server.keys("waiting"))
        await world.until(lambda: second.service.accounts.slots.states()["resting"])
        gate.set()
        answers = await asyncio.gather(runs, *waits)
        assert [answer.status for answer in answers] == [200] * 4
        assert most(world) == 1


async def test_a_client_that_leaves_while_redis_is_asked_takes_no_account_along(server: RedisServer) -> None:
    async with pair(server) as (world, house, _):
        server.signal(signal.SIGSTOP)
        leaves = asyncio.create_task(ask(house))
        await world.until(lambda: house.service.accounts.slots.states()["running"])
        leaves.cancel()
        await world.until(lambda: not house.service.accounts.slots.states()["running"])
        server.signal(signal.SIGCONT)
        await world.until(lambda: house.service.common.state == "ok")
        assert (await ask(house)).status == 200
        await world.until(lambda: not server.leases())
        assert world.tokens() == ["t1"]


async def test_the_wait_is_one_for_both(server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    async with pair(server, ACCOUNT_WAIT="0.7") as (world, first, second):
        gate = asyncio.Event()
        world.play(Scene(gates={2: gate}))
        runs = asyncio.create_task(ask(first))
        await world.until(lambda: world.running["t1"])
        began = loop.time()
        told = await ask(second)
        assert (told.status, told.code) == (429, "rate_limit_exceeded")
        assert 0.7 <= loop.time() - began < 5
        gate.set()
        assert (await runs).status == 200


async def test_a_lease_outlasts_its_life_while_its_stream_runs(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LEASE_LIFE", 0.3)
    async with pair(server, ACCOUNT_WAIT="0.8") as (world, first, second):
        gate = asyncio.Event()
        world.play(Scene(gates={2: gate}))
        runs = asyncio.create_task(ask(first, asks(stream=True)))
        await world.until(lambda: world.running["t1"])
        (began,) = server.leases().values()
        await world.until(lambda: max(server.leases().values()) > began + 0.9)
        assert (await ask(second)).status == 429
        gate.set()
        assert (await runs).text == "Hello world"
        await world.until(lambda: not server.leases())
        assert (await ask(second)).status == 200


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (refuses("AccountLimited", "full", 60), 429),
        (refuses("AccountBarred", "banned", 60), 403),
        (refuses("AccountExpired", "gone"), 401),
    ],
)
async def test_a_cool_down_holds_at_the_other(server: RedisServer, refusal: Scene, status: int) -> None:
    async with pair(server) as (world, first, second):
        # It knows both accounts, and t1 is its turn.
        assert (await ask(second, token="t1,t2")).status == 200
        assert (await ask(second, token="t1,t2")).status == 200
        world.play(refusal, token="t1")
        assert (await ask(first, token="t1,t2")).status == 200
        await world.until(lambda: second.service.accounts.slots.states()["off"] == 1)
        calls = len(world.asked)
        assert (await ask(second, token="t1,t2")).status == 200
        told = await ask(second, token="t1")
        assert told.status == status
        assert told.json["error"]["message"] == (refusal.refuse or {})["message"]
        assert world.tokens()[-1] == "t2"
        assert "t1" not in [token for _, token, _ in world.asked[calls:]]


async def test_a_replica_that_starts_later_is_told_when_it_asks(server: RedisServer) -> None:
    async with pair(server) as (world, first, second):
        world.play(refuses("AccountLimited", "full", 60), token="t1")
        assert (await ask(first)).status == 429
        await world.until(lambda: server.keys("cooldown"))
        told = await ask(second)
        assert (told.status, world.tokens()) == (429, ["t1"])
        assert int(told.headers["Retry-After"]) in (59, 60)
        await world.until(lambda: not server.leases())
        assert (await ask(second, token="t1,t2")).status == 200
        assert world.tokens() == ["t1", "t2"]


async def test_an_account_that_is_well_again_is_so_for_all(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.slots.REFUSED_PAUSE", 0.0)
    async with pair(server) as (world, first, second):
        await ask(second)
        world.play(refuses("AccountLimited", "full", 60), token="t1")
        assert (await ask(first)).status == 429
        await world.until(lambda: second.service.accounts.slots.states()["off"] == 1)
        assert (await ask(first)).status == 200
        await world.until(lambda: second.service.accounts.slots.states()["off"] == 0)
        await world.until(lambda: not server.keys("cooldown"))


async def test_a_limited_address_is_limited_for_all(server: RedisServer) -> None:
    async with pair(server) as (world, first, second):
        world.play(refuses("AddressLimited", "slow down", 60))
        assert (await ask(first)).status == 429
        await world.until(lambda: server.keys("cooldown"))
        calls = len(world.asked)
        async with running(Toy, {"UPSTREAM_GATEWAY": world.url, "REDIS_URL": server.url}) as later:
            for house in (second, later):
                told = await ask(house, token="t2")
                assert (told.status, told.json["error"]["message"]) == (429, "slow down")
                assert house.service.accounts.slots.states()["running"] == 0
        assert len(world.asked) == calls


async def test_a_shorter_limit_of_the_address_is_not_told_the_others(server: RedisServer) -> None:
    async with pair(server) as (world, first, _):
        for seconds in (3600, 300):
            first.service.accounts.limit_address(AddressLimited(retry_after=seconds), seconds)
        # What is asked for comes after what was told.
        await first.service.common.fetch("conversation", "none")
        async with running(Toy, {"UPSTREAM_GATEWAY": world.url, "REDIS_URL": server.url}) as later:
            assert int((await ask(later)).headers["Retry-After"]) > 300


async def test_a_check_at_the_other_knows_of_a_limited_address(server: RedisServer) -> None:
    async with pair(server) as (world, first, second):
        world.play(refuses("AddressLimited", "slow down", 60))
        assert (await ask(first)).status == 429
        # A check takes no lease, with which it would be told: it depends on the news.
        await world.until(lambda: limited(second))
        calls = len(world.asked)
        assert (await ask(second, {"token": "t2"}, None, "/token/check")).status == 429
        assert len(world.asked) == calls


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_at_the_other(server: RedisServer, stream: bool) -> None:
    keys = {"API_KEYS": "key-one,key-two", "ACCOUNTS": "t1,t2"}
    async with pair(server, **keys) as (world, first, second):
        opened = await ask(first, asks(stream, conversation_id="new"), "key-one")
        told = opened.events[-2] if stream else opened.json
        conversation = told["conversation_id"]
        assert (await ask(second, asks(conversation_id=conversation), "key-two")).code == "conversation_not_found"
        assert (await ask(second, asks(stream, conversation_id=conversation), "key-one")).text == "Hello world"
        continued = [body["conversation"] for path, _, body in world.asked if path == "chat"]
        assert continued == [None, conversation]
        assert len(set(world.tokens())) == 1


async def test_the_session_and_the_newest_credential_are_those_of_all(server: RedisServer) -> None:
    async with pair(server) as (world, first, second):
        world.newest["t1"] = "t1-newer"
        assert (await ask(first)).status == 200
        assert (await ask(second)).status == 200
        assert world.tokens("session") == ["t1"]
        # The site takes the first one's session no more: the second exchanges the newest token, the first uses that.
        world.sessions.clear()
        assert (await ask(second)).status == 200
        assert (await ask(first)).status == 200
        exchanged = [body["token"] for path, _, body in world.asked if path == "session"]
        assert exchanged == ["t1", "t1-newer"]


async def test_a_refused_newest_credential_is_none_for_all(server: RedisServer) -> None:
    async with pair(server) as (world, first, second):
        world.newest["t1"] = "t1-newer"
        assert (await ask(first)).status == 200
        assert len(server.keys("credential")) == 1
        world.sessions.clear()
        world.newest.clear()
        world.expired.add("t1-newer")
        assert (await ask(second)).status == 200
        assert (await ask(first)).status == 200
        exchanged = [body["token"] for path, _, body in world.asked if path == "session"]
        assert exchanged == ["t1", "t1-newer", "t1"]
        assert server.keys("credential") == []


async def test_one_exchange_for_all(server: RedisServer) -> None:
    async with pair(server, SLOTS="10") as (world, *houses):
        await asyncio.gather(*(ask(houses[number % 2]) for number in range(10)))
        assert world.tokens("session") == ["t1"]


async def test_redis_killed_under_load_costs_no_request(server: RedisServer) -> None:
    with structlog.testing.capture_logs() as logs:
        async with pair(server) as (world, *houses):
            gate = asyncio.Event()
            world.play(Scene(gates={2: gate}), token="t9")
            runs = asyncio.create_task(ask(houses[0], token="t9"))
            await world.until(lambda: world.running["t9"])
            (held,) = server.leases()
            under_load = asyncio.create_task(load(world, houses))
            await world.until(lambda: len(world.tokens()) > REQUESTS // 4)
            server.kill()
            answers = await under_load
            assert {(answer.status, answer.text) for answer in answers} == {(200, "Hello world")}
            for house in houses:
                assert await ready(house) == {"status": "ok", "redis": "away"}
                assert b'chat_service_redis_up{provider="toy"} 0.0' in house.service.metrics.render()
            server.start()
            await world.until(lambda: all(house.service.common.state == "ok" for house in houses))
            assert await ready(houses[1]) == {"status": "ok", "redis": "ok"}
            assert b'chat_service_redis_up{provider="toy"} 1.0' in houses[0].service.metrics.render()
            assert set(server.leases()) == {held}
            world.most.clear()
            await load(world, houses, 40)
            assert most(world) == 1
            gate.set()
            assert (await runs).status == 200
    said = [line["event"] for line in logs if line["event"].startswith("redis")]
    assert sorted(said) == ["redis_away", "redis_away", "redis_back", "redis_back"]


async def test_redis_that_is_not_there_at_the_start_is_picked_up(server: RedisServer) -> None:
    server.kill()
    with structlog.testing.capture_logs() as logs:
        async with pair(server) as (world, first, second):
            assert (await ask(first)).status == 200
            assert await ready(second) == {"status": "ok", "redis": "away"}
            server.start()
            await world.until(lambda: second.service.common.state == first.service.common.state == "ok")
            await load(world, (first, second), 40)
            assert most(world) == 1
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["redis_away"] * 2


async def test_without_a_redis_nothing_is_said_of_it() -> None:
    async with pair(None) as (_, house, _):
        assert await ready(house) == {"status": "ok"}
        assert b"redis" not in house.service.metrics.render()


async def test_without_a_redis_its_client_is_not_even_loaded() -> None:
    code = "import sys, services.glm.__main__, services.glm.provider; sys.exit('redis' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


LIFE = 1.0
SERVE = f"""
from shared.common import replicas
replicas.LEASE_LIFE = {LIFE}
from tests.shared.toy import Toy, run
run(Toy)
"""


class Process:
    """A replica in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, client: aiohttp.ClientSession) -> None:
        self.process = process
        self.url = url
        self._client = client

    async def ask(self, tokens: str, *, stream: bool = False) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {tokens}"}
        async with self._client.post(f"{self.url}/v1/chat/completions", json=asks(stream), headers=headers) as response:
            return response.status, await response.text()


@asynccontextmanager
async def processes(world: World, server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    """Two replicas, each in a process of its own; what they still do in the end is killed."""
    settings = {"UPSTREAM_GATEWAY": world.url, "REDIS_URL": server.url, "HOST": "127.0.0.1", "PORT": "0"}
    async with aiohttp.ClientSession() as client, AsyncExitStack() as stack:
        started = []
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", SERVE, env={**os.environ, **settings}, stderr=asyncio.subprocess.PIPE
            )
            stack.push_async_callback(killed, process)
            assert process.stderr is not None
            listening = json.loads(await process.stderr.readline())
            host, port = listening["addresses"][0]
            started.append(Process(process, f"http://{host}:{port}", client))
            stack.enter_context(drained(process.stderr))
        yield started[0], started[1]


@contextmanager
def drained(log: asyncio.StreamReader) -> Iterator[None]:
    """Read a log to its end, so that its writer never waits."""
    task = asyncio.create_task(log.read())
    try:
        yield
    finally:
        task.cancel()


async def killed(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_two_processes_never_run_two_outputs_on_one_account(server: RedisServer) -> None:
    async with World().serve() as world, processes(world, server) as pair_of_them:
        world.play(*(slow() for _ in range(REQUESTS)))
        tokens = ",".join(ACCOUNTS)
        answers = await asyncio.gather(*(pair_of_them[n % 2].ask(tokens, stream=bool(n % 3)) for n in range(REQUESTS)))
        assert {status for status, _ in answers} == {200}
        assert all("error" not in text for _, text in answers)
        assert most(world) == 1


async def test_what_a_killed_process_held_is_free_within_the_life_of_a_lease(server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    async with World().serve() as world, processes(world, server) as (victim, other):
        never = asyncio.Event()
        world.play(*(Scene(gates={2: never}) for _ in ACCOUNTS))
        held = [asyncio.create_task(victim.ask(token, stream=True)) for token in ACCOUNTS]
        await world.until(lambda: sum(world.running.values()) == len(ACCOUNTS))
        waits = [asyncio.create_task(other.ask(token)) for token in ACCOUNTS]
        await world.until(lambda: len(server.keys("waiting")) == len(ACCOUNTS))
        victim.process.send_signal(signal.SIGKILL)
        await victim.process.wait()
        began = loop.time()
        answers = await asyncio.gather(*waits)
        assert {status for status, _ in answers} == {200}
        # The life, and the time until the other one looks again.
        assert loop.time() - began < LIFE + 5
        await asyncio.gather(*held, return_exceptions=True)
