"""A service that shares its accounts, sessions and conversations with its other replicas, in Redis."""

import asyncio
import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any

from attrs import frozen

from shared.common.contract import ADDRESS, Changed, Cooldown, Freed, Kind, News, Taken
from shared.common.link import Away, Link
from shared.common.scripts import CLEAR, COOL, DELETE_EQUAL, EXTEND, FETCH, FORGET, RELEASE, RENEW, STORE, TAKE
from shared.common.wire import read_cooldown, read_news, write_cooldown, write_news

LEASE_LIFE = 25.0
"""Seconds after which a lease or flight that is no longer renewed ends: with the time to find out, less than 30."""

RENEWALS = 3
"""Renewals within the life of a lease."""

PLACE_LIFE = 1.5
"""Seconds a replica's place in the queue for an account is kept when it does not ask again: it may have no waiter left,
or be dead."""

FLIGHT_PAUSE = 0.05
"""Seconds between looks whether another replica has finished its exchange."""

KNOWN_MOST = 10_000
"""Values remembered, to tell Redis again what it has lost; beyond, those used longest ago go."""

TOLD_AT_ONCE = 500
"""Values that Redis is told in one call."""


@frozen
class _Value:
    """What is kept under a name: written at a time (Unix milliseconds), until it `ends` (Unix seconds)."""

    time: int
    value: bytes
    ends: float


class Replicas:
    """This replica's part in what all have in common.

    `_held` are the leases of outputs that run here, `_told` those that Redis knows or may know; what differs after
    Redis was away is put right by `_renew`, and so are the flights held here (`_flying`) and over (`_landed`), and the
    values that Redis may have lost (`_known`) or could not be told (`_unsaved`).
    """

    def __init__(self, url: str, service: str, slots: int, tell: Callable[[bool], None]) -> None:
        self._slots = slots
        self._name = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._prefix = f"chat-services:{service}:"
        self._channel = self._prefix + "news"
        self._link = Link(url, self._channel, renew=self._renew, hear=self._hear, tell=tell)
        self._heard: Callable[[News], None] = lambda _: None
        self._held: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._flying: dict[str, str] = {}
        self._queued: set[str] = set()
        self._landed: dict[str, str] = {}
        self._known: OrderedDict[str, _Value] = OrderedDict()
        self._unsaved: set[str] = set()
        self._asking: set[asyncio.Task[Taken]] = set()
        self._writes: dict[str, asyncio.Task[None]] = {}

    @property
    def state(self) -> str:
        """Whether the others can be asked."""
        return "ok" if self._link.up else "away"

    async def start(self, hear: Callable[[News], None]) -> None:
        """Begin, with Redis or, if it does not answer, without."""
        self._heard = hear
        await self._link.start(lambda: LEASE_LIFE / RENEWALS)

    async def close(self) -> None:
        """Give everything back, also the leases of outputs that were cut."""
        for lease, account in list(self._held.items()):
            self.release(account, lease)
        await asyncio.gather(*self._asking, *self._writes.values(), return_exceptions=True)
        if self._unsaved:
            await self._link.try_again()
        await self._link.close()

    async def take(self, account: str, *, alone: bool) -> Taken:
        """Ask for a lease. One who is cancelled here has none."""
        lease = f"{self._name}:{next(self._numbers)}"
        if not self._link.up:
            self._held[lease] = account
            return Taken(lease)
        asking = asyncio.create_task(self._ask(account, lease, alone))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        try:
            await asyncio.wait((asking,))
        except asyncio.CancelledError:
            # The question is on its way: its answer is given back.
            asking.add_done_callback(lambda _: self.release(account, lease))
            raise
        return asking.result()

    def release(self, account: str, lease: str) -> None:
        """Give a lease back."""
        self._held.pop(lease, None)
        if lease in self._told:
            self._write(account, lambda: self._release(account, lease))

    def cool(self, account: str, cooldown: Cooldown) -> None:
        """Say that the site refused the account."""
        args = (write_cooldown(cooldown), _ms(cooldown.left), self._channel, self._news(Changed(account, cooldown)))
        self._write(account, lambda: self._link.run(COOL, [self._key("cooldown", account)], args))

    def clear(self, account: str) -> None:
        """Say that the site takes the account again."""
        args = (self._channel, self._news(Changed(account, None)))
        self._write(account, lambda: self._link.run(CLEAR, [self._key("cooldown", account)], args))

    @asynccontextmanager
    async def flight(self, name: str) -> AsyncIterator[None]:
        """Hold among all replicas. What one that died in it held ends like a lease."""
        key, mine = self._key("flight", name), secrets.token_hex(8)
        await self._written(key)
        asked = self._link.up
        try:
            with suppress(Away):
                while not await self._link.do("SET", key, mine, "NX", "PX", _ms(LEASE_LIFE)):  # noqa: ASYNC110 - by others
                    await asyncio.sleep(FLIGHT_PAUSE)
            self._flying[key] = mine
            yield
        finally:
            if self._flying.get(key) == mine:
                del self._flying[key]
            # Also of one who was cancelled while asking: Redis may have said yes, if it was asked.
            if asked:
                self._landed[mine] = key
            self._write(key, lambda: self._land(key, mine))

    async def fetch(self, kind: Kind, name: str) -> bytes | None:
        """Give what is kept; what Redis could not be told yet may be newer than what it has."""
        key = self._key(kind, name)
        await self._written(name)
        told: _Value | None = None
        away = False
        try:
            text, left = await self._link.run(FETCH, [key], [])
            told = _read(text, left)
        except Away:
            away = True
        known = self._known.get(key)
        if known is not None and known.ends <= time.time():
            self._drop(key)
            known = None
        if known is not None and (told.time < known.time if told else away or key in self._unsaved):
            return known.value
        if told is None:
            self._known.pop(key, None)
            return None
        self._remember(key, told)
        return told.value

    async def store(self, kind: Kind, name: str, value: bytes, seconds: float | None) -> None:
        """Keep a value; while Redis is away, for when it is back."""
        key = self._key(kind, name)
        now = time.time()
        known = self._known.get(key)
        # Later than what it follows, whatever the clock says of another replica's.
        written = max(int(now * 1000), 0 if known is None else known.time + 1)
        self._remember(key, _Value(written, value, inf if seconds is None else now + seconds))
        self._unsaved.add(key)
        with suppress(Away):
            await self._save([key], self._link.run)

    def discard(self, kind: Kind, name: str, value: bytes) -> None:
        """Forget a value, unless another has taken its place."""
        key = self._key(kind, name)
        known = self._known.get(key)
        if known is not None and known.value == value:
            self._drop(key)
        self._write(name, lambda: self._link.run(FORGET, [key], [value]))

    async def _ask(self, account: str, lease: str, alone: bool) -> Taken:
        await self._written(account)
        # Nobody here waits for these any more: a replica that does must not wait for us.
        left = self._queued - {account} if alone else set()
        keys = [self._key("leases", account), self._key("waiting", account)]
        keys += [self._key("cooldown", account), self._key("cooldown", ADDRESS)]
        keys += [self._key("waiting", other) for other in left]
        args = (self._slots, lease, _ms(LEASE_LIFE), self._name, _ms(PLACE_LIFE))
        try:
            granted, refused, for_ms, limited, limited_ms = await self._link.run(TAKE, keys, args)
        except Away:
            self._held[lease] = self._told[lease] = account
            return Taken(lease)
        if granted:
            self._held[lease] = self._told[lease] = account
            self._queued -= left | {account}
        else:
            self._queued.add(account)
        cooldown, address = read_cooldown(refused, for_ms / 1000), read_cooldown(limited, limited_ms / 1000)
        return Taken(lease if granted else None, cooldown, address)

    async def _release(self, account: str, lease: str) -> None:
        args = (lease, self._channel, self._news(Freed(account)))
        await self._link.run(RELEASE, [self._key("leases", account)], args)
        self._told.pop(lease, None)

    async def _renew(self) -> None:
        """Tell Redis which leases and flights are held and which are over, until that is so, and what it has missed."""
        flying = dict(self._flying)
        await self._link.running(EXTEND, [*flying], [_ms(LEASE_LIFE), *flying.values()])
        self._landed |= {mine: key for key, mine in flying.items() if self._flying.get(key) != mine}
        # Redis may come back with less than it had; a session is had again, and may have been refused meanwhile.
        session = self._key("session", "")
        lost = [] if self._link.up else [key for key in self._known if not key.startswith(session)]
        untold = list(dict.fromkeys([*self._unsaved, *lost]))
        for start in range(0, len(untold), TOLD_AT_ONCE):
            await self._save(untold[start : start + TOLD_AT_ONCE], self._link.running)
        while self._landed:
            mine, key = next(iter(self._landed.items()))
            await self._link.running(DELETE_EQUAL, [key], [mine])
            self._landed.pop(mine, None)
        renewed = False
        while not renewed or self._told.keys() - self._held.keys():
            held = dict(self._held)
            over = {lease: account for lease, account in self._told.items() if lease not in held}
            keys = [self._key("leases", account) for account in (*held.values(), *over.values())]
            await self._link.running(RENEW, keys, [_ms(LEASE_LIFE), len(held), *held, *over])
            for lease in over:
                self._told.pop(lease, None)
            self._told |= held
            renewed = True

    def _hear(self, text: bytes) -> None:
        told = read_news(text)
        if told is not None and told[0] != self._name:
            self._heard(told[1])

    def _write(self, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Write in the background, in order for each name; while Redis is away, not at all."""
        if not self._link.up:
            return
        before = self._writes.get(name)

        async def write() -> None:
            if before is not None:
                await asyncio.wait((before,))
            with suppress(Away):
                await work()

        task = self._writes[name] = asyncio.create_task(write())
        task.add_done_callback(lambda _: self._writes.pop(name) if self._writes.get(name) is task else None)

    async def _written(self, name: str) -> None:
        """Wait for what was written before: the next question about this name is answered after it."""
        while (task := self._writes.get(name)) is not None:
            await asyncio.wait((task,))

    async def _land(self, key: str, mine: str) -> None:
        await self._link.run(DELETE_EQUAL, [key], [mine])
        self._landed.pop(mine, None)

    async def _save(self, keys: Sequence[str], run: Callable[..., Awaitable[Any]]) -> None:
        """Tell Redis values, as far as it has no newer ones."""
        now = time.time()
        values = {key: kept for key in keys if (kept := self._known.get(key)) is not None and kept.ends > now}
        lives = (0 if kept.ends == inf else _ms(kept.ends - now) for kept in values.values())
        told = zip(values.values(), lives, strict=True)
        await run(STORE, [*values], [item for kept, life in told for item in (kept.time, kept.value, life)])
        settled = (
            key for key in keys if (kept := self._known.get(key)) is None or kept.ends <= now or kept is values.get(key)
        )
        self._unsaved.difference_update(settled)

    def _remember(self, key: str, value: _Value) -> None:
        self._known[key] = value
        self._known.move_to_end(key)
        if len(self._known) > KNOWN_MOST:
            self._drop(next(iter(self._known)))

    def _drop(self, key: str) -> None:
        del self._known[key]
        self._unsaved.discard(key)

    def _news(self, news: News) -> bytes:
        return write_news(self._name, news)

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"


def _read(text: bytes | None, left: int) -> _Value | None:
    """Read what `STORE` has written, with its life in milliseconds; None where there is nothing, or something else."""
    written, _, value = (text or b"").partition(b" ")
    if not written.isdigit():
        return None
    return _Value(int(written), value, inf if left < 0 else time.time() + left / 1000)


def _ms(seconds: float) -> int:
    """Give milliseconds as Redis takes them: whole, and more than none."""
    return max(1, int(seconds * 1000))
