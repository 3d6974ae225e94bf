"""Which account writes the next output: the choice, the waiting in order, the cool-downs. Knows no token."""

import asyncio
from bisect import insort
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from math import inf

from attrs import define, field

from shared.common.contract import Cooldown
from shared.errors import AccountBusy, SiteError, worst

REFUSED_PAUSE = 10.0
"""Seconds in which an account that is off is not tried again, even when nothing else is left."""

BUSY_PAUSE = 1.0
BUSY_PAUSE_MOST = 5.0
"""Seconds an account rests when the site calls it busy: doubled each time in a row, up to the most."""

ELSEWHERE_PAUSE = 0.5
"""Seconds until an account that runs at another replica is asked for again, if that one has not said before that it is
free: it may have died."""

SAME = 0.25
"""Seconds by which two replicas' ends of one cool-down may differ."""

SLOTS_MOST = 10_000
"""Accounts remembered at once; beyond, those looked at longest ago are forgotten, unless they run."""


@define
class Slot:
    """The state of one account. Times are of the loop's clock, in seconds."""

    running: int = 0
    used: int = 0
    resting_until: float = 0.0
    off_until: float = 0.0
    elsewhere_until: float = 0.0
    refused_at: float = -inf
    refusal: SiteError | None = None
    busy_in_a_row: int = 0

    def state(self, now: float) -> str:
        """Name the state, for the metrics."""
        if self.off_until > now:
            return "off"
        if self.running:
            return "running"
        return "resting" if self.rests_until > now else "free"

    @property
    def rests_until(self) -> float:
        """The time until which it cannot be used, although nothing is wrong with it."""
        return max(self.resting_until, self.elsewhere_until)

    def next_change(self, now: float) -> float:
        """Tell when it may become fit by itself (loop time; infinite if it is so already)."""
        moments = (self.resting_until, self.elsewhere_until, self.off_until, self.refused_at + REFUSED_PAUSE)
        return min((moment for moment in moments if moment > now), default=inf)


@define(eq=False)
class _Waiter:
    turn: int
    candidates: tuple[str, ...]
    again: bool
    granted: asyncio.Future[str] = field(factory=lambda: asyncio.get_running_loop().create_future())


class Slots:
    """The outputs running on each account, `size` at most, and who waits for one.

    Waiters are served in the order of their turns. An account that is off (expired, limited, barred) is the last
    choice.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots: dict[str, Slot] = {}
        self._waiters: list[_Waiter] = []
        self._grants = 0
        self._turns = 0
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = inf
        self._closed: Callable[[], Exception] | None = None

    def turn(self) -> int:
        """Give a request its place in the queue: it keeps it however often it has to ask."""
        self._turns += 1
        return self._turns

    async def acquire(self, candidates: Collection[str], wait: float, turn: int, *, again: bool = False) -> str:
        """Give one of `candidates` to run on, waiting at most `wait` seconds; `again`: for what has run before.

        Raise the weightiest refusal of the candidates when all are off and were tried a moment ago, `AccountBusy`
        when the wait is over, and what `close` was given.
        """
        if self._closed is not None and not again:
            raise self._closed()
        if self._wake_at <= self._now():
            self._grant()
        # Who waits already can have none of what is free now.
        account, change = self._choose(candidates)
        if account is not None:
            return self._take(account)
        waiter = _Waiter(turn, self._shared(tuple(candidates)), again)
        insort(self._waiters, waiter, key=_turn_of)
        self._wake_by(change)
        try:
            async with asyncio.timeout(wait):
                return await waiter.granted
        except BaseException as error:
            self._withdraw(waiter)
            if isinstance(error, TimeoutError):
                raise self._still_busy(candidates) from None
            raise

    def release(self, account: str) -> None:
        """An output has ended; the next waiter is served."""
        self._slots[account].running -= 1
        self._grant()

    def succeeded(self, account: str) -> bool:
        """The site took the account: it is on again, whatever was refused before. Tell whether anything was."""
        slot = self._slot(account)
        refused = slot.refusal is not None or slot.resting_until > 0
        slot.off_until = slot.resting_until = 0.0
        slot.refusal = None
        slot.busy_in_a_row = 0
        if refused:
            self._grant()
        return refused

    def busy(self, account: str) -> float:
        """The site says that the account is writing elsewhere: let it rest shortly. Give the seconds."""
        slot = self._slot(account)
        pause: float = min(BUSY_PAUSE * 2**slot.busy_in_a_row, BUSY_PAUSE_MOST)
        slot.busy_in_a_row += 1
        slot.resting_until = self._now() + pause
        return pause

    def off(self, account: str, refusal: SiteError, seconds: float) -> None:
        """The site refused the account: put it off for `seconds`, remembering why."""
        slot = self._slot(account)
        now = self._now()
        slot.off_until = now + seconds
        slot.refused_at = now
        slot.refusal = refusal

    def elsewhere(self, account: str) -> None:
        """Another replica runs on the account: leave it alone until that one says, or some time has passed."""
        self._slot(account).elsewhere_until = self._now() + ELSEWHERE_PAUSE

    def freed(self, account: str) -> None:
        """Another replica has used the account, and given it back."""
        if account in self._slots:
            slot = self._slots[account]
            self._grants += 1
            slot.used = self._grants
            slot.elsewhere_until = 0.0
            self._grant()

    def learn(self, account: str, cooldown: Cooldown | None) -> bool:
        """Take over what another replica met with an account that is known here; tell whether that is news."""
        slot = self._slots.get(account)
        if slot is None:
            return False
        now = self._now()
        if cooldown is None:
            news = self.succeeded(account)
        elif isinstance(cooldown.refusal, AccountBusy):
            news = now + cooldown.left > slot.resting_until + SAME
            slot.resting_until = max(slot.resting_until, now + cooldown.left)
        else:
            news = abs(now + cooldown.left - slot.off_until) > SAME
            slot.off_until = now + cooldown.left
            slot.refused_at = slot.off_until - cooldown.seconds
            slot.refusal = cooldown.refusal
        self._grant()
        return news

    def states(self) -> Mapping[str, int]:
        """Count the accounts by state."""
        now = self._now()
        counts = dict.fromkeys(("free", "running", "resting", "off"), 0)
        for slot in self._slots.values():
            counts[slot.state(now)] += 1
        return counts

    def waiting(self) -> int:
        """Count who waits."""
        return len(self._waiters)

    def close(self, reason: Callable[[], Exception]) -> None:
        """Refuse all who wait and all who come, with what `reason` gives, but for requests that have run before."""
        self._closed = reason
        self._grant()

    def _grant(self) -> None:
        """Serve the waiters in order, and set the clock for the next moment in which that may change."""
        left: list[_Waiter] = []
        # By the candidates, which many waiters share: where nothing is free for one, it is so for all of them.
        nothing: dict[int, float] = {}
        for waiter in self._waiters:
            if waiter.granted.done():
                continue
            if self._closed is not None and not waiter.again:
                waiter.granted.set_exception(self._closed())
                continue
            if id(waiter.candidates) in nothing:
                left.append(waiter)
                continue
            try:
                account, change = self._choose(waiter.candidates)
            except SiteError as refusal:
                waiter.granted.set_exception(refusal)
                continue
            if account is not None:
                waiter.granted.set_result(self._take(account))
            else:
                left.append(waiter)
                nothing[id(waiter.candidates)] = change
        self._waiters = left
        self._wake_at = inf
        self._wake_by(min(nothing.values(), default=inf))

    def _wake_by(self, moment: float) -> None:
        """Set the clock to grant at a moment, unless it is set to an earlier one."""
        if moment >= self._wake_at:
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake_at = moment
        self._wake = asyncio.get_running_loop().call_at(moment, self._grant)

    def _shared(self, candidates: tuple[str, ...]) -> tuple[str, ...]:
        """Give the same candidates as the last waiter has, if they are the same: with API keys all are."""
        last = self._waiters[-1].candidates if self._waiters else ()
        return last if last == candidates else candidates

    def _choose(self, candidates: Collection[str]) -> tuple[str | None, float]:
        """Give the account to run on, or None and when (loop time, infinite if only a release helps) to look again.

        Raise what `acquire` raises, but for a wait that is over.
        """
        now = self._now()
        slots = {account: self._slot(account) for account in candidates}
        self._forget(slots)
        able = [account for account, slot in slots.items() if slot.off_until <= now] or [
            account for account, slot in slots.items() if slot.refused_at + REFUSED_PAUSE <= now
        ]
        if not able:
            raise worst([_again(slot.refusal, slot.off_until - now) for slot in slots.values() if slot.refusal])
        free = [a for a in able if slots[a].running < self._size and slots[a].rests_until <= now]
        if not free:
            rests = [slot.next_change(now) for slot in slots.values() if slot.running < self._size]
            return None, min(rests, default=inf)
        return min(free, key=lambda account: slots[account].used), now

    def _take(self, account: str) -> str:
        slot = self._slots[account]
        self._grants += 1
        slot.used = self._grants
        slot.running += 1
        return account

    def _withdraw(self, waiter: _Waiter) -> None:
        # A waiter may be cancelled in the very turn of its grant: the slot goes to the next one.
        if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
            self.release(waiter.granted.result())
        else:
            waiter.granted.cancel()
            self._waiters = [other for other in self._waiters if other is not waiter]

    def _still_busy(self, candidates: Collection[str]) -> SiteError:
        now = self._now()
        rests = [self._slot(account).resting_until - now for account in candidates]
        return AccountBusy("Every account is busy with another answer.", retry_after=max(BUSY_PAUSE_MOST, min(rests)))

    def _slot(self, account: str) -> Slot:
        """Give the state of an account, which is the last now of those that may be forgotten."""
        slot = self._slots.pop(account, None) or Slot()
        self._slots[account] = slot
        return slot

    def _forget(self, needed: Collection[str]) -> None:
        """Forget accounts when there are too many; not those that run, nor the `needed` ones."""
        excess = len(self._slots) - SLOTS_MOST
        if excess > 0:
            idle = (account for account, slot in self._slots.items() if not slot.running and account not in needed)
            for account in list(islice(idle, excess)):
                del self._slots[account]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _turn_of(waiter: _Waiter) -> int:
    return waiter.turn


def _again(refusal: SiteError, left: float) -> SiteError:
    """Give a remembered refusal anew (an exception raised twice would grow its traceback)."""
    return type(refusal)(refusal.message, retry_after=None if refusal.retry_after is None else max(0.0, left))
