"""What replicas have in common, without a service around it: leases, the queue, cool-downs, values."""

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from shared.accounts import Accounts
from shared.common import link, replicas
from shared.common.contract import ADDRESS, Alone, Changed, Cooldown, Freed, News
from shared.common.replicas import Replicas
from shared.common.scripts import COOL, EXTEND, FETCH, RELEASE, TAKE
from shared.common.wire import read_cooldown, read_news, write_cooldown, write_news
from shared.errors import AccountBarred, AccountBusy, AccountExpired, AccountLimited, AddressLimited, SiteError
from shared.metrics import Metrics
from shared.settings import Settings
from shared.terms import Credential
from tests.shared.redisserver import RedisServer, needs_redis, redis_server

pytestmark = [needs_redis, pytest.mark.usefixtures("short_pauses")]

LIMITED = Cooldown(AccountLimited("full", retry_after=60), 60, 60)

Make = Callable[..., Any]


class Replica(Replicas):
    """One that keeps what it is told."""

    def __init__(self, url: str, slots: int = 1) -> None:
        super().__init__(url, "toy", slots, lambda _: None)
        self.news: list[News] = []

    async def ask(self, account: str = "a", *, alone: bool = False) -> str | None:
        return (await self.take(account, alone=alone)).lease


@pytest.fixture
async def make(server: RedisServer) -> AsyncIterator[Make]:
    """Make replicas, which are closed in the end."""
    async with AsyncExitStack() as stack:

        async def started(slots: int = 1, url: str = server.url) -> Replica:
            replica = Replica(url, slots)
            await replica.start(replica.news.append)
            stack.push_async_callback(replica.close)
            return replica

        yield started


async def until(reached: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for what another process does, or what is heard."""
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.005)


def die(replica: Replica) -> None:
    """Renew nothing any more, as one that was killed."""
    assert replica._link._keeper is not None
    assert replica._link._listener is not None
    replica._link._keeper.cancel()
    replica._link._listener.cancel()


def held_back(replica: Replica, script: str, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let calls of a script wait until the event is set."""
    gate, run = asyncio.Event(), replica._link.run

    async def slow(called: str, *call: Any) -> Any:
        if called is script:
            await gate.wait()
        return await run(called, *call)

    monkeypatch.setattr(replica._link, "run", slow)
    return gate


def held_after(replica: Replica, script: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the answers to calls of a script wait: `asked` is set when Redis has given one, and waits for `open`."""
    gate, run = SimpleNamespace(asked=asyncio.Event(), open=asyncio.Event()), replica._link.run

    async def slow(called: str, *call: Any) -> Any:
        told = await run(called, *call)
        if called is script:
            gate.asked.set()
            await gate.open.wait()
        return told

    monkeypatch.setattr(replica._link, "run", slow)
    return gate


def same(refusal: SiteError, other: SiteError) -> bool:
    return (type(refusal), refusal.message, refusal.retry_after) == (type(other), other.message, other.retry_after)


@pytest.mark.parametrize("slots", [1, 2])
async def test_no_more_leases_than_slots_among_all(make: Make, slots: int) -> None:
    first, second = await make(slots), await make(slots)
    held = [await first.ask() for _ in range(slots)]
    assert None not in held
    assert [await first.ask(), await second.ask()] == [None, None]
    assert await second.ask("b") is not None
    first.release("a", held[0])
    await until(lambda: Freed("a") in second.news)
    first_again, second_now = await first.ask(), await second.ask()
    # Both had been turned away: the first place was the first one's.
    assert (first_again is None, second_now is None) == (False, True)


async def test_a_hundred_at_once(make: Make) -> None:
    first, second = await make(), await make()
    answers = await asyncio.gather(*(replica.ask() for replica in (first, second) for _ in range(50)))
    assert len([answer for answer in answers if answer]) == 1


async def test_replicas_take_turns_whoever_asks_more(make: Make) -> None:
    greedy, modest = await make(), await make()
    lease = await greedy.ask()
    assert await modest.ask() is None
    for _ in range(3):
        greedy.release("a", lease)
        assert await greedy.ask() is None
        lease = await modest.ask()
        assert lease is not None
        assert await modest.ask() is None
        modest.release("a", lease)
        assert await modest.ask() is None
        lease = await greedy.ask()
        assert lease is not None
        assert await modest.ask() is None


async def test_a_place_in_the_queue_is_lost_by_who_no_longer_asks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "PLACE_LIFE", 0.1)
    first, second = await make(), await make()
    lease = await first.ask()
    assert await second.ask() is None
    first.release("a", lease)
    began = time.monotonic()
    async with asyncio.timeout(10):
        while await first.ask() is None:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("alone", [False, True])
async def test_who_is_served_elsewhere_leaves_the_other_queues_if_nobody_else_waits(make: Make, alone: bool) -> None:
    first, second = await make(), await make()
    on_a, on_b = await first.ask("a"), await first.ask("b")
    assert [await second.ask("a"), await second.ask("b")] == [None, None]
    first.release("b", on_b)
    await until(lambda: Freed("b") in second.news)
    assert await second.ask("b", alone=alone) is not None
    first.release("a", on_a)
    assert (await first.ask("a") is not None) == alone


async def test_one_who_is_cancelled_while_asking_has_no_lease(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "PLACE_LIFE", 0.1)
    replica, other = await make(), await make()
    for _ in range(20):
        asking = asyncio.create_task(replica.ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert await replica.ask("b")
    await until(lambda: len(server.leases()) == 1 and not server.keys("waiting"))
    assert await other.ask() is not None


async def test_a_lease_that_is_asked_for_after_a_release_comes_after_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await make()
    lease = await replica.ask()
    calls: list[tuple[str, bool]] = []
    run = replica._link.run

    async def noted(script: str, *call: Any) -> Any:
        calls.append((script, False))
        answer = await run(script, *call)
        calls.append((script, True))
        return answer

    monkeypatch.setattr(replica._link, "run", noted)
    replica.release("a", lease)
    assert await replica.ask() is not None
    assert calls == [(RELEASE, False), (RELEASE, True), (TAKE, False), (TAKE, True)]


async def test_what_is_given_back_while_redis_comes_back_is_put_right(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await make()
    leases = {name: await replica.ask(name) for name in "abc"}
    running = replica._link.running

    async def giving_back(script: str, *call: Any) -> Any:
        for name in "ab":
            replica.release(name, leases[name])
        return await running(script, *call)

    server.kill()
    # Long before the leases would be renewed: the end of the connection is seen.
    await until(lambda: replica.state == "away", 3)
    monkeypatch.setattr(replica._link, "running", giving_back)
    server.start()
    await until(lambda: replica.state == "ok")
    assert set(server.leases()) == {leases["c"]}


async def test_a_lease_lasts_as_long_as_its_output_and_ends_with_its_replica(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LEASE_LIFE", 0.3)
    first, second = await make(), await make()
    lease = await first.ask()
    (began,) = server.leases().values()
    await until(lambda: server.leases()[lease] > began + 3 * 0.3)
    assert await second.ask() is None
    die(first)
    assert max(server.leases().values()) - time.time() <= 0.3
    await until(lambda: not server.leases())
    assert await second.ask() is not None


async def test_a_dead_replicas_lease_ends_although_others_hold_the_account_too(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LEASE_LIFE", 0.3)
    first, second = await make(2), await make(2)
    gone, kept = await first.ask(), await second.ask()
    assert None not in (gone, kept)
    die(first)
    assert await second.ask() is None
    await until(lambda: set(server.leases()) == {kept})
    assert await second.ask() is not None


async def test_closing_gives_all_back(server: RedisServer) -> None:
    replica = Replica(server.url)
    await replica.start(replica.news.append)
    lease = await replica.ask()
    assert lease is not None
    assert await replica.ask("b") is not None
    replica.release("a", lease)
    await replica.close()
    assert server.keys("leases") == []


@pytest.mark.parametrize("refusal", [AccountBarred, AccountBusy, AccountExpired, AccountLimited, AddressLimited])
async def test_a_cool_down_is_told_at_once_and_to_who_asks(make: Make, refusal: type[SiteError]) -> None:
    account = ADDRESS if refusal is AddressLimited else "a"
    said = refusal("words", retry_after=30)
    first, second = await make(), await make()
    first.cool(account, Cooldown(said, 60, 60))
    await until(lambda: second.news)
    (news,) = second.news
    assert same(news.cooldown.refusal, said)
    taken = await second.take("a", alone=True)
    told = taken.address if account == ADDRESS else taken.cooldown
    assert taken.lease is not None
    assert same(told.refusal, said)
    assert told.seconds == 60
    assert 59 < told.left <= 60
    assert first.news == []


async def test_a_cool_down_that_is_over_or_taken_back_is_none(make: Make, server: RedisServer) -> None:
    first, second = await make(), await make()
    first.cool("a", LIMITED)
    first.clear("a")
    await until(lambda: Changed("a", None) in second.news)
    assert (await second.take("a", alone=True)).cooldown is None
    first.cool("b", Cooldown(AccountBusy(), 0.05, 0.05))
    await until(lambda: len(second.news) == 3)
    await until(lambda: not server.keys("cooldown"))
    assert (await second.take("b", alone=True)).cooldown is None


@pytest.mark.parametrize("seconds", [0.0, 0.0001])
async def test_a_cool_down_of_no_time_does_not_cost_the_way_to_redis(make: Make, seconds: float) -> None:
    first, second = await make(), await make()
    # A site may say `Retry-After: 0`, and Redis takes no end that is over.
    first.cool("a", Cooldown(AccountLimited(retry_after=seconds), seconds, seconds))
    first.cool("b", LIMITED)
    await until(lambda: len(second.news) == 2)
    assert first.state == "ok"


async def test_what_is_said_of_an_account_is_said_in_order(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await make(), await make()
    gate = held_back(first, COOL, monkeypatch)
    first.cool("a", LIMITED)
    first.clear("a")
    first.clear("b")
    await until(lambda: second.news)
    gate.set()
    await until(lambda: len(second.news) == 3)
    assert [(news.account, news.cooldown is None) for news in second.news] == [("b", True), ("a", False), ("a", True)]
    assert server.keys("cooldown") == []


async def test_values_are_kept_until_they_are_over_or_discarded(make: Make, server: RedisServer) -> None:
    first, second = await make(), await make()
    await first.store("credential", "a", b"one", None)
    await first.store("session", "a", b"two", 60)
    assert [await second.fetch("credential", "a"), await second.fetch("session", "a")] == [b"one", b"two"]
    assert [server.client.ttl(f"chat-services:toy:{kind}:a") for kind in ("credential", "session")] == [-1, 60]
    second.discard("session", "a", b"an older one")
    assert await second.fetch("session", "a") == b"two"
    second.discard("session", "a", b"two")
    assert await second.fetch("session", "a") is None
    assert await first.fetch("session", "a") is None


async def test_one_exchange_at_a_time_among_all(make: Make) -> None:
    running = most = 0

    async def exchange(replica: Replica) -> None:
        nonlocal running, most
        async with replica.flight("a"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    pair = [await make(), await make()]
    await asyncio.gather(*(exchange(replica) for replica in pair for _ in range(3)))
    assert most == 1


async def test_an_exchange_is_not_waited_for_when_its_replica_is_dead(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LEASE_LIFE", 0.2)
    first, second = await make(), await make()
    dead = first.flight("a")
    await dead.__aenter__()
    die(first)
    async with asyncio.timeout(5), second.flight("a"):
        pass
    await dead.__aexit__(None, None, None)


async def test_an_exchange_that_lasts_is_waited_for(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, key = await make(), "chat-services:toy:flight:a"
    async with replica.flight("a"):
        first = server.client.pttl(key)
        monkeypatch.setattr(replicas, "LEASE_LIFE", 2 * replicas.LEASE_LIFE)
        await replica._renew()
        assert server.client.pttl(key) > first
    server.client.set(key, "another replica's", px=1000)
    await replica._renew()
    assert 0 < server.client.pttl(key) <= 1000


async def test_a_flight_is_put_right_when_redis_has_lost_it(make: Make, server: RedisServer) -> None:
    first, second = await make(), await make()
    key = "chat-services:toy:flight:a"
    async with first.flight("a"):
        server.kill()
        await until(lambda: (first.state, second.state) == ("away", "away"))
        server.start()
        await until(lambda: (first.state, second.state) == ("ok", "ok"))
        assert server.client.exists(key)
    async with asyncio.timeout(5), second.flight("a"):
        pass
    await until(lambda: not server.client.exists(key))


async def test_a_flight_that_ends_while_redis_is_away_is_over_when_it_is_back(make: Make, server: RedisServer) -> None:
    replica = await make()
    async with replica.flight("a"):
        server.signal(signal.SIGSTOP)
        assert await replica.fetch("session", "x") is None
        assert replica.state == "away"
    server.signal(signal.SIGCONT)
    await until(lambda: replica.state == "ok")
    assert not server.client.exists("chat-services:toy:flight:a")


async def test_who_is_cancelled_while_asking_for_a_flight_has_none(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await make()
    do, asked = replica._link.do, asyncio.Event()

    async def answered_late(*command: Any) -> Any:
        told = await do(*command)
        asked.set()
        await asyncio.Event().wait()
        return told

    monkeypatch.setattr(replica._link, "do", answered_late)
    flight = asyncio.create_task(replica.flight("a").__aenter__())
    await asked.wait()
    flight.cancel()
    await until(lambda: not server.client.exists("chat-services:toy:flight:a"))


async def test_a_renewal_that_is_slow_does_not_bring_a_flight_back(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, key = await make(), "chat-services:toy:flight:a"
    running, gate, asked = replica._link.running, asyncio.Event(), asyncio.Event()

    async def slow(script: str, keys: Any, args: Any) -> Any:
        if script is EXTEND and keys:
            asked.set()
            await gate.wait()
        return await running(script, keys, args)

    async with replica.flight("a"):
        monkeypatch.setattr(replica._link, "running", slow)
        renewing = asyncio.create_task(replica._renew())
        await asked.wait()
    await until(lambda: not server.client.exists(key))
    gate.set()
    await renewing
    assert not server.client.exists(key)


async def test_flights_that_redis_was_not_asked_for_leave_nothing(make: Make, server: RedisServer) -> None:
    replica = await make()
    async with replica.flight("a"):
        server.signal(signal.SIGSTOP)
        await replica.fetch("session", "x")
    for name in ("a", "b", "c"):
        async with replica.flight(name):
            pass
    assert len(replica._landed) == 1
    server.signal(signal.SIGCONT)
    await until(lambda: replica.state == "ok")
    assert not server.client.exists("chat-services:toy:flight:a")
    assert not replica._landed


async def test_what_is_stored_while_it_is_asked_for_stays_the_newest(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await make()
    await replica.store("conversation", "c", b"one", 60)
    gate = held_after(replica, FETCH, monkeypatch)
    fetching = asyncio.create_task(replica.fetch("conversation", "c"))
    await gate.asked.wait()
    await replica.store("conversation", "c", b"two", 60)
    gate.open.set()
    assert await fetching == b"two"


async def test_what_is_over_before_redis_is_back_is_none(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = await make()
    monkeypatch.setattr(replica._link, "up", False)
    await replica.store("conversation", "c", b"old", 0.01)
    await until(lambda: replica._known["chat-services:toy:conversation:c"].ends < time.time())
    assert await replica.fetch("conversation", "c") is None
    await replica.store("conversation", "d", b"old", 0.01)
    await until(lambda: replica._known["chat-services:toy:conversation:d"].ends < time.time())
    monkeypatch.setattr(replica._link, "up", True)
    await replica._renew()
    assert replica._unsaved == set()


async def test_what_redis_has_lost_is_told_again(make: Make, server: RedisServer) -> None:
    first, second = await make(), await make()
    await first.store("credential", "a", b"one two", None)
    await first.store("conversation", "c", b"{}", 60)
    await first.store("session", "a", b"s", 60)
    assert await second.fetch("credential", "a") == b"one two"
    server.kill()
    await until(lambda: (first.state, second.state) == ("away", "away"))
    server.start()
    await until(lambda: (first.state, second.state) == ("ok", "ok"))
    third = await make()
    kept = [
        await third.fetch(kind, name) for kind, name in (("credential", "a"), ("conversation", "c"), ("session", "a"))
    ]
    assert kept == [b"one two", b"{}", None]
    assert server.client.ttl("chat-services:toy:credential:a") == -1
    assert 0 < server.client.ttl("chat-services:toy:conversation:c") <= 60


async def test_an_older_value_does_not_replace_a_newer_one(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await make(), await make()
    monkeypatch.setattr(first._link, "up", False)
    await first.store("credential", "a", b"old", None)
    monkeypatch.setattr(first._link, "up", True)
    await until(lambda: time.time() * 1000 > first._known["chat-services:toy:credential:a"].time + 1)
    await second.store("credential", "a", b"new", None)
    await first._renew()
    assert [await replica.fetch("credential", "a") for replica in (first, second)] == [b"new", b"new"]
    server.client.set("chat-services:toy:credential:b", "of another version")
    assert await first.fetch("credential", "b") is None
    await first.store("credential", "b", b"mine", None)
    assert await second.fetch("credential", "b") == b"mine"


async def test_clocks_of_replicas_need_not_agree(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await make(), await make()
    with monkeypatch.context() as ahead:
        ahead.setattr(replicas, "time", SimpleNamespace(time=lambda: time.time() + 600))
        await first.store("credential", "a", b"old", None)
    assert await second.fetch("credential", "a") == b"old"
    await second.store("credential", "a", b"new", None)
    assert await first.fetch("credential", "a") == b"new"


async def test_what_could_not_be_told_is_told_at_the_end(make: Make, server: RedisServer) -> None:
    first = await make()
    server.kill()
    await first.store("credential", "a", b"one", None)
    server.start()
    await first.close()
    assert await (await make()).fetch("credential", "a") == b"one"


async def test_without_redis_every_lease_is_given_and_put_right_later(make: Make, server: RedisServer) -> None:
    first, second = await make(), await make()
    kept, given_back = await first.ask("a"), await first.ask("b")
    await first.store("conversation", "c1", b"old", 60)
    server.kill()
    during = await first.ask("c")
    assert (await first.take("a", alone=True)).lease is not None
    assert first.state == "away"
    assert await second.ask("a") is not None
    first.release("b", given_back)
    first.cool("a", LIMITED)
    first.clear("a")
    await first.store("conversation", "c1", b"new", 60)
    first.discard("session", "a", b"x")
    async with first.flight("a"):
        assert await first.fetch("conversation", "c1") == b"new"
    server.start()
    await until(lambda: (first.state, second.state) == ("ok", "ok"), 3)
    assert {kept, during} < set(server.leases())
    assert server.keys("leases") == ["a", "c"]
    assert await second.ask("c") is None
    assert await second.ask("b") is not None
    assert await second.fetch("conversation", "c1") == b"new"


async def test_a_hung_redis_costs_one_time_out_and_what_it_knew_is_put_right(
    make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CALL_TIMEOUT", 0.2)
    loop = asyncio.get_running_loop()
    first, second = await make(), await make()
    held = await first.ask("a")
    server.signal(signal.SIGSTOP)
    began = loop.time()
    unknown = await asyncio.gather(*(first.ask(name) for name in "bcd"))
    assert None not in unknown
    assert 0.2 <= loop.time() - began < 2
    began = loop.time()
    for _ in range(100):
        first.release("e", str(await first.ask("e")))
    # 100 time-outs are 20 s.
    assert loop.time() - began < 5
    first.release("a", held)
    first.release("b", unknown[0])
    server.signal(signal.SIGCONT)
    await until(lambda: (first.state, second.state) == ("ok", "ok"))
    assert set(server.leases()) == set(unknown[1:])
    assert await second.ask("a") is not None


class Relay:
    """A way to a Redis whose machine can be replaced: nothing tells the old connections, until they are used.

    With `mute` not even then.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._folder = tempfile.TemporaryDirectory(prefix="relay")
        self._generation = 0
        self._mute = False
        self.swallowed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = f"unix://{self._folder.name}/socket"

    async def __aenter__(self) -> "Relay":
        self._relay = await asyncio.start_unix_server(self._connected, self.url.removeprefix("unix://"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._relay.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._folder.cleanup()

    def replace(self, *, mute: bool = False) -> None:
        self._generation += 1
        self._mute = mute

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation = self._generation
        back, forth = await asyncio.open_unix_connection(self._server.url.removeprefix("unix://"))

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while (data := await source.read(65536)) and generation == self._generation:
                    sink.write(data)
                if data and self._mute:
                    self.swallowed.set()
                    await asyncio.Event().wait()
            finally:
                writer.close()
                forth.close()

        for task in (asyncio.create_task(pipe(reader, forth)), asyncio.create_task(pipe(back, writer))):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def test_a_redis_that_was_replaced_is_lost_once_not_with_every_old_connection(
    make: Make, server: RedisServer
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with Relay(server) as relay, AsyncExitStack() as stack:
            replica = await make(url=relay.url)
            stack.push_async_callback(replica.close)
            await asyncio.gather(*(replica.ask(f"a{number}") for number in range(8)))
            assert len(server.leases()) == 8
            relay.replace()
            assert await replica.ask("b0") is not None
            await until(lambda: replica.state == "ok")
            await asyncio.gather(*(replica.ask(f"b{number}") for number in range(1, 8)))
            assert len(server.leases()) == 16
    assert [line["event"] for line in logs] == ["redis_away", "redis_back"]


async def test_calls_to_a_machine_that_is_gone_end_when_the_new_one_is_found(make: Make, server: RedisServer) -> None:
    with structlog.testing.capture_logs() as logs:
        async with Relay(server) as relay, AsyncExitStack() as stack:
            replica = await make(url=relay.url)
            stack.push_async_callback(replica.close)
            await asyncio.gather(*(replica.ask(f"a{number}") for number in range(4)))
            relay.replace(mute=True)
            first = asyncio.create_task(replica.ask("b0"))
            await relay.swallowed.wait()
            # Later than the first, whose patience ends in the middle of its own.
            await asyncio.sleep(link.CALL_TIMEOUT / 2)
            second = asyncio.create_task(replica.ask("b1"))
            assert await first is not None
            # The second would take an answer to any call for a sign that its own is still to come.
            async with asyncio.timeout(6 * link.CALL_TIMEOUT):
                assert await second is not None
            await until(lambda: replica.state == "ok")
    assert [line["event"] for line in logs] == ["redis_away", "redis_back"]


async def test_redis_away_is_said_once_and_without_its_address(make: Make) -> None:
    with structlog.testing.capture_logs() as logs, redis_server("--requirepass", "the-right-one") as locked:
        replica = await make(url=locked.url.replace("unix://", "unix://:the-wrong-one@"))
        for _ in range(10):
            replica.release("a", str(await replica.ask()))
        assert replica.state == "away"
    assert [(line["log_level"], line["event"], line["reason"]) for line in logs] == [
        ("warning", "redis_away", "AuthenticationError")
    ]
    assert "wrong" not in str(logs)


async def test_a_redis_that_lets_nobody_listen_is_away(make: Make) -> None:
    channels = ("--user", "default", "on", "nopass", "~*", "+@all", "resetchannels")
    with structlog.testing.capture_logs() as logs, redis_server(*channels) as locked:
        replica = await make(url=locked.url)
        assert await replica.ask() is not None
        await until(lambda: locked.client.info("stats")["total_connections_received"] > 5)
        assert replica.state == "away"
    assert [(line["event"], line["reason"]) for line in logs] == [("redis_away", "NoPermissionError")]


async def test_redis_is_found_again_each_time(make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "LEASE_LIFE", 0.3)
    replica, other = await make(), await make()
    lease = await replica.ask("a")
    for number in range(3):
        server.kill()
        await until(lambda: (replica.state, other.state) == ("away", "away"))
        server.start()
        await until(lambda: (replica.state, other.state) == ("ok", "ok"))
        replica.news.clear()
        other.cool(f"b{number}", LIMITED)
        await until(lambda: replica.news)
    ((name, end),) = server.leases().items()
    assert name == lease
    await until(lambda: server.leases()[lease] > end + 3 * 0.3)


async def test_values_for_later_are_bounded(make: Make, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "KNOWN_MOST", 3)
    replica = await make()
    server.kill()
    for number in range(5):
        await replica.store("conversation", f"c{number}", b"x", None)
    server.start()
    await until(lambda: replica.state == "ok")
    assert server.keys("conversation") == ["c2", "c3", "c4"]


async def test_news_of_another_version_is_none() -> None:
    for text in (b"", b"[]", b"{}", b'{"from": 1}', b'{"from":"r","account":"a","cooldown":{"refusal":"New"}}'):
        assert read_news(text) is None
        assert read_cooldown(text) is None
    assert read_cooldown(None) is None


@pytest.mark.parametrize("news", [Freed("a"), Changed("a", None)])
async def test_news_reads_back(news: News) -> None:
    assert read_news(write_news("r", news)) == ("r", news)


async def test_a_cool_down_reads_back() -> None:
    told = read_cooldown(write_cooldown(LIMITED), 7)
    assert told is not None
    assert same(told.refusal, LIMITED.refusal)
    assert (told.seconds, told.left) == (60, 7)
    read = read_news(write_news("r", Changed("a", LIMITED)))
    assert read is not None
    assert isinstance(read[1], Changed)
    assert read[1].cooldown is not None
    assert read[1].cooldown.left == 60


async def test_alone_everything_is_granted_and_nothing_kept() -> None:
    alone = Alone()
    await alone.start(lambda _: None)
    assert (await alone.take("a", alone=True)).lease is not None
    alone.release("a", "")
    alone.cool("a", LIMITED)
    alone.clear("a")
    async with alone.flight("a"):
        await alone.store("session", "a", b"x", 1)
    alone.discard("session", "a", b"x")
    assert (alone.state, await alone.fetch("session", "a")) == ("", None)
    await alone.close()


async def test_what_an_account_is_set_to_is_set_by_one_replica_at_a_time(make: Make) -> None:
    sessions: Any = None
    both = [
        Accounts(Credential, 1, Settings(), Metrics("toy"), sessions, replica)
        for replica in (await make(), await make())
    ]
    inside: list[int] = []

    async def speak(number: int) -> None:
        async with both[number % 2].lock("a", "voice"):
            inside.append(number)
            await asyncio.sleep(0.01)
            assert inside[-1] == number

    async with asyncio.timeout(10):
        await asyncio.gather(*(speak(number) for number in range(6)))
    assert sorted(inside) == list(range(6))
    async with both[0].lock("a", "voice"), both[1].lock("a", "other"), both[1].lock("b", "voice"):
        pass
