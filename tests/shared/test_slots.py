"""Which account writes the next output. The clock jumps: no test waits."""

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import slots as slots_module
from shared.common.contract import Cooldown
from shared.errors import AccountBarred, AccountBusy, AccountExpired, AccountLimited, SiteError
from shared.openai.errors import Draining
from shared.slots import Slots
from tests.shared.clock import settle, timeless


def now() -> float:
    return asyncio.get_running_loop().time()


def acquire(
    slots: Slots, *candidates: str, wait: float = 60, turn: int | None = None, again: bool = False
) -> Coroutine[Any, Any, str]:
    return slots.acquire(candidates, wait, slots.turn() if turn is None else turn, again=again)


def task(
    slots: Slots, *candidates: str, wait: float = 60, turn: int | None = None, again: bool = False
) -> asyncio.Task[str]:
    return asyncio.create_task(acquire(slots, *candidates, wait=wait, turn=turn, again=again))


async def refused(slots: Slots, *candidates: str, wait: float = 60) -> SiteError:
    with pytest.raises(SiteError) as caught:
        await acquire(slots, *candidates, wait=wait)
    return caught.value


def test_the_least_recently_used_of_the_free_ones() -> None:
    async def play() -> None:
        slots = Slots(1)
        assert [await acquire(slots, "a", "b", "c") for _ in range(3)] == ["a", "b", "c"]
        for account in "bac":
            slots.release(account)
        assert await acquire(slots, "c", "b", "a") == "a"
        assert await acquire(slots, "c", "b", "a") == "b"

    timeless(play())


def test_an_account_that_is_off_is_the_last_choice_and_not_asked_again_within_10_seconds() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        slots.off("a", AccountExpired("gone"), 600)
        slots.release("a")
        assert await acquire(slots, "a", "b") == "b"
        slots.release("b")
        assert await acquire(slots, "b", "a") == "b"
        assert (await refused(slots, "a")).message == "gone"
        await asyncio.sleep(9)
        assert isinstance(await refused(slots, "a"), AccountExpired)
        await asyncio.sleep(1)
        assert await acquire(slots, "a") == "a"
        slots.succeeded("a")
        slots.release("a")
        slots.release("b")
        assert await acquire(slots, "b", "a") == "b"
        assert slots.states() == {"free": 1, "running": 1, "resting": 0, "off": 0}

    timeless(play())


def test_the_weightiest_refusal_is_told_with_the_time_that_is_left() -> None:
    async def play() -> None:
        slots = Slots(3)
        refusals: tuple[tuple[str, SiteError, float], ...] = (
            ("a", AccountExpired(), 600),
            ("b", AccountLimited("full", retry_after=30), 30),
            ("c", AccountBarred(), 600),
        )
        for account, refusal, seconds in refusals:
            await acquire(slots, account)
            slots.off(account, refusal, seconds)
        await asyncio.sleep(5)
        error = await refused(slots, "a", "b", "c")
        assert (type(error), error.message, error.retry_after) == (AccountLimited, "full", 25)
        assert type(await refused(slots, "a", "c")) is AccountBarred

    timeless(play())


def test_who_waits_is_served_when_an_account_is_on_again() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        await acquire(slots, "b")
        slots.off("b", AccountLimited(retry_after=5), 5)
        slots.release("b")
        began = now()
        assert await acquire(slots, "a", "b") == "b"
        assert now() - began == 5

    timeless(play())


def test_who_waits_for_a_busy_account_is_served_when_the_site_takes_it() -> None:
    async def play() -> None:
        slots = Slots(2)
        await acquire(slots, "a")
        assert slots.busy("a") > 0
        waiting = task(slots, "a")
        await settle()
        assert not waiting.done()
        slots.succeeded("a")
        await settle()
        # Before anybody who comes now.
        assert waiting.done()
        newcomer = task(slots, "a")
        await settle()
        assert not newcomer.done()
        slots.release("a")
        assert await newcomer == "a"

    timeless(play())


def test_a_busy_account_rests_longer_each_time() -> None:
    async def play() -> None:
        slots = Slots(1)
        waits = []
        for _ in range(5):
            began = now()
            await acquire(slots, "a")
            waits.append(now() - began)
            slots.busy("a")
            assert slots.states()["running"] == 1
            slots.release("a")
            assert slots.states()["resting"] == 1
        assert waits == [0, 1, 2, 4, 5]
        assert await acquire(slots, "a", "b") == "b"
        await acquire(slots, "a")
        slots.succeeded("a")
        slots.busy("a")
        slots.release("a")
        began = now()
        await acquire(slots, "a")
        assert now() - began == 1

    timeless(play())


def test_waiters_are_served_in_order_and_nobody_overtakes() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        await acquire(slots, "b")
        order: list[tuple[int, str]] = []

        async def wait(number: int, *candidates: str) -> None:
            order.append((number, await acquire(slots, *candidates)))

        tasks = []
        for number, candidates in enumerate(["ab", "b", "ab", "a"]):
            tasks.append(asyncio.create_task(wait(number, *candidates)))
            await settle()
        slots.release("b")
        late = task(slots, "b")
        await settle()
        slots.release("b")
        await settle()
        slots.release("a")
        await settle()
        slots.release("a")
        await settle()
        assert order == [(0, "b"), (1, "b"), (2, "a"), (3, "a")]
        assert not late.done()
        slots.release("b")
        assert await late == "b"
        await asyncio.gather(*tasks)

    timeless(play())


def test_a_request_that_asks_again_keeps_its_place() -> None:
    async def play() -> None:
        slots = Slots(1)
        first = slots.turn()
        await acquire(slots, "a", turn=first)
        second = task(slots, "a")
        await settle()
        again = task(slots, "a", turn=first)
        await settle()
        slots.release("a")
        assert await again == "a"
        assert not second.done()
        slots.release("a")
        assert await second == "a"

    timeless(play())


def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_the_slot_on() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        first, second = task(slots, "a"), task(slots, "a")
        await settle()
        slots.release("a")
        first.cancel()
        assert await second == "a"
        with pytest.raises(asyncio.CancelledError):
            await first
        assert slots.waiting() == 0
        slots.release("a")
        assert slots.states()["running"] == 0

    timeless(play())


def test_a_waiter_that_leaves_is_no_longer_in_the_queue() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        waiter = task(slots, "a")
        await settle()
        assert slots.waiting() == 1
        waiter.cancel()
        await settle()
        assert slots.waiting() == 0

    timeless(play())


def test_after_the_wait_the_account_is_busy() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        began = now()
        error = await refused(slots, "a", wait=3)
        assert (type(error), error.retry_after, now() - began, slots.waiting()) == (AccountBusy, 5, 3, 0)

    timeless(play())


def test_close_refuses_who_waits_and_who_comes() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        waiter = task(slots, "a")
        await settle()
        slots.close(Draining)
        with pytest.raises(Draining):
            await waiter
        slots.release("a")
        with pytest.raises(Draining):
            await acquire(slots, "a")

    timeless(play())


def test_close_lets_requests_go_on_that_have_run_before() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        waiter = task(slots, "a", again=True)
        await settle()
        slots.close(Draining)
        assert await acquire(slots, "b", again=True) == "b"
        slots.release("a")
        assert await waiter == "a"

    timeless(play())


def test_memory_is_bounded_and_running_accounts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        monkeypatch.setattr(slots_module, "SLOTS_MOST", 10)
        slots = Slots(1)
        await acquire(slots, "a")
        for number in range(50):
            await acquire(slots, f"x{number}")
            slots.off(f"x{number}", AccountExpired(), 600)
            slots.release(f"x{number}")
        assert sum(slots.states().values()) == 10
        assert isinstance(await refused(slots, "x49"), AccountExpired)
        assert isinstance(await refused(slots, "a", wait=1), AccountBusy)
        slots.release("a")
        running = [await acquire(slots, f"y{number}") for number in range(20)]
        assert slots.states()["running"] == 20
        for account in running:
            slots.release(account)
            slots.succeeded("forgotten")

    timeless(play())


@pytest.mark.parametrize("accounts", [1, 5, 40])
def test_who_waits_costs_no_more_for_others_who_wait(accounts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    choose = Slots._choose

    def counted(self: Slots, candidates: Collection[str]) -> tuple[str | None, float]:
        nonlocal looks
        looks += 1
        return choose(self, candidates)

    monkeypatch.setattr(Slots, "_choose", counted)

    async def play() -> None:
        slots = Slots(1)
        names = [f"a{number}" for number in range(accounts)]

        async def use() -> None:
            account = await acquire(slots, *names, wait=600)
            await asyncio.sleep(1)
            slots.release(account)

        await asyncio.gather(*(use() for _ in range(200)))

    timeless(play())
    # Each when it comes; and for each that is given back one that finds it, and one that finds that it is gone.
    assert looks <= 3 * 200


@pytest.mark.parametrize("busy", [False, True])
def test_a_request_may_bring_more_accounts_than_are_remembered(busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        monkeypatch.setattr(slots_module, "SLOTS_MOST", 10)
        slots = Slots(1)
        await acquire(slots, "a")
        waiting = asyncio.create_task(acquire(slots, "a", wait=60)) if busy else None
        await asyncio.sleep(0)
        many = [f"x{number}" for number in range(30)]
        assert await acquire(slots, *many) == "x0"
        slots.release("a")
        assert waiting is None or await waiting == "a"
        assert await acquire(slots, "b") == "b"
        assert sum(slots.states().values()) == 10

    timeless(play())


def test_an_account_that_runs_elsewhere_is_asked_for_again_after_a_while_or_when_it_is_said_to_be_free() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        slots.elsewhere("a")
        slots.release("a")
        assert slots.states()["resting"] == 1
        began = now()
        assert await acquire(slots, "a") == "a"
        assert now() - began == slots_module.ELSEWHERE_PAUSE
        slots.elsewhere("a")
        slots.release("a")
        waiter = task(slots, "a")
        await settle()
        assert not waiter.done()
        began = now()
        slots.freed("a")
        slots.freed("unknown")
        assert await waiter == "a"
        assert now() == began
        assert sum(slots.states().values()) == 1

    timeless(play())


def test_what_others_have_used_is_used() -> None:
    async def play() -> None:
        slots = Slots(1)
        for account in "ab":
            await acquire(slots, account)
            slots.release(account)
        slots.freed("a")
        assert await acquire(slots, "a", "b") == "b"

    timeless(play())


def test_what_others_were_refused_is_refused_here_for_as_long() -> None:
    async def play() -> None:
        slots = Slots(1)
        limited = AccountLimited("full", retry_after=60)
        assert not slots.learn("a", Cooldown(limited, 60, 60))
        await acquire(slots, "a")
        slots.release("a")
        assert slots.learn("a", Cooldown(limited, 60, 55))
        assert not slots.learn("a", Cooldown(limited, 60, 55))
        assert (await refused(slots, "a")).retry_after == 55
        assert await acquire(slots, "b", "a") == "b"
        # Tried again, when nothing else is left, 10 s after it was refused there.
        await asyncio.sleep(4)
        assert type(await refused(slots, "a")) is AccountLimited
        await asyncio.sleep(1)
        assert await acquire(slots, "a") == "a"
        slots.release("a")
        assert slots.learn("a", None)
        assert not slots.learn("a", None)
        assert slots.states() == {"free": 1, "running": 1, "resting": 0, "off": 0}

    timeless(play())


def test_what_is_busy_elsewhere_rests_here() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        slots.release("a")
        assert slots.learn("a", Cooldown(AccountBusy(), 2, 2))
        assert not slots.learn("a", Cooldown(AccountBusy(), 2, 1))
        began = now()
        assert await acquire(slots, "a") == "a"
        assert now() - began == 2
        assert slots.succeeded("a")
        assert not slots.succeeded("a")

    timeless(play())


def test_who_waits_is_served_when_another_finds_the_account_well() -> None:
    async def play() -> None:
        slots = Slots(1)
        await acquire(slots, "a")
        await acquire(slots, "b")
        slots.off("b", AccountExpired(), 600)
        slots.release("b")
        waiter = task(slots, "a", "b")
        await settle()
        assert not waiter.done()
        slots.learn("b", None)
        assert await waiter == "b"

    timeless(play())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "release", "cancel", "cancel at grant", "off", "busy", "on", "time"]),
        st.integers(0, 5),
        st.sets(st.sampled_from("abc"), min_size=1),
    ),
    max_size=40,
)


class Model:
    """Plays steps, and watches that no account runs more than it may."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.slots = Slots(size)
        self.tasks: list[asyncio.Task[str]] = []
        self.held: list[str] = []

    async def step(self, name: str, number: int, accounts: Collection[str]) -> None:
        if name == "ask":
            self.tasks.append(task(self.slots, *sorted(accounts), wait=5 * number))
        elif name == "time":
            await asyncio.sleep(number * 3)
        elif name == "cancel" and self.tasks:
            self.tasks[number % len(self.tasks)].cancel()
        elif self.held:
            self.with_held(name, self.held[number % len(self.held)])
        if name != "cancel at grant":
            await settle()
        self.collect()

    def with_held(self, name: str, account: str) -> None:
        if name == "off":
            self.slots.off(account, AccountExpired(), 30)
        elif name == "busy":
            self.slots.busy(account)
        elif name == "on":
            self.slots.succeeded(account)
        elif name in ("release", "cancel at grant"):
            self.held.remove(account)
            self.slots.release(account)
            if name == "cancel at grant" and self.tasks:
                self.tasks[0].cancel()

    def collect(self) -> None:
        for done in [task for task in self.tasks if task.done()]:
            self.tasks.remove(done)
            if not done.cancelled() and done.exception() is None:
                self.held.append(done.result())
        assert all(count <= self.size for count in Counter(self.held).values())

    async def finish(self) -> None:
        """Give all back: then everyone must be served or refused in the end, and nothing may be running."""
        for _ in range(200):
            await settle()
            self.collect()
            while self.held:
                self.slots.release(self.held.pop())
            if not self.tasks:
                break
            await asyncio.sleep(1)
        assert self.tasks == []
        await asyncio.sleep(60)
        assert set(self.slots.states()) == {"free", "running", "resting", "off"}
        assert self.slots.states()["running"] == self.slots.waiting() == 0


@given(st.integers(1, 2), STEPS)
def test_no_slot_is_lost_and_none_is_given_twice(size: int, steps: list[tuple[str, int, set[str]]]) -> None:
    async def play() -> None:
        model = Model(size)
        for step in steps:
            await model.step(*step)
        await model.finish()

    timeless(play())


def test_who_comes_when_an_account_is_due_does_not_overtake() -> None:
    async def play() -> None:
        slots = Slots(1)
        slots.busy("a")
        first = task(slots, "a")
        await settle()
        loop: Any = asyncio.get_running_loop()
        # The rest is over, but its timer has not been called yet.
        loop.now += 1
        assert isinstance(await refused(slots, "a", wait=0), AccountBusy)
        assert await first == "a"

    timeless(play())
