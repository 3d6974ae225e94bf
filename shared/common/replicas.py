"""A service that shares its accounts, sessions and conversations with its other replicas, in Redis."""

import asyncio
import itertools
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from shared.common.contract import ADDRESS, Changed, Cooldown, Freed, Kind, News, Taken
from shared.common.link import Away, Link
from shared.common.scripts import CLEAR, COOL, DELETE_EQUAL, EXTEND, RELEASE, RENEW, TAKE
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

UNSAVED_MOST = 10_000
"""Values kept for Redis while it is away; beyond, the oldest go."""


class Replicas:
    """This replica's part in what all have in common.

    `_held` are the leases of outputs that run here, `_told` those that Redis knows or may know; what differs after
    Redis was away is put right by `_renew`, and so are the values that could not be stored (`_unsaved`). `_flying` are
    the keys of the flights that are held here.
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
        self._unsaved: OrderedDict[str, tuple[bytes, float | None]] = OrderedDict()
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
        with suppress(Away):
            while not await self._link.do("SET", key, mine, "NX", "PX", _ms(LEASE_LIFE)):  # noqa: ASYNC110 - by others
                await asyncio.sleep(FLIGHT_PAUSE)
            self._flying[key] = mine
        try:
            yield
        finally:
            if self._flying.get(key) == mine:
                del self._flying[key]
            with suppress(Away):
                await self._link.run(DELETE_EQUAL, [key], [mine])

    async def fetch(self, kind: Kind, name: str) -> bytes | None:
        """Give what is kept; what Redis could not be told yet is newer than what it has."""
        key = self._key(kind, name)
        await self._written(name)
        if key in self._unsaved:
            return self._unsaved[key][0]
        try:
            value: bytes | None = await self._link.do("GET", key)
        except Away:
            return None
        return value

    async def store(self, kind: Kind, name: str, value: bytes, seconds: float | None) -> None:
        """Keep a value; while Redis is away, for when it is back."""
        key = self._key(kind, name)
        self._unsaved[key] = value, seconds
        self._unsaved.move_to_end(key)
        if len(self._unsaved) > UNSAVED_MOST:
            self._unsaved.popitem(last=False)
        with suppress(Away):
            await self._link.do(*_setting(key, value, seconds))
            self._saved(key, value)

    def discard(self, kind: Kind, name: str, value: bytes) -> None:
        """Forget a value, unless another has taken its place."""
        key = self._key(kind, name)
        self._saved(key, value)
        self._write(name, lambda: self._link.run(DELETE_EQUAL, [key], [value]))

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
        unsaved = dict(self._unsaved)
        await self._link.sending([_setting(key, *kept) for key, kept in unsaved.items()])
        for key, (value, _) in unsaved.items():
            self._saved(key, value)
        await self._link.running(EXTEND, [*self._flying], [_ms(LEASE_LIFE), *self._flying.values()])
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

    def _saved(self, key: str, value: bytes) -> None:
        kept = self._unsaved.get(key)
        if kept is not None and kept[0] == value:
            del self._unsaved[key]

    def _news(self, news: News) -> bytes:
        return write_news(self._name, news)

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"


def _setting(key: str, value: bytes, seconds: float | None) -> tuple[Any, ...]:
    return ("SET", key, value) if seconds is None else ("SET", key, value, "PX", _ms(seconds))


def _ms(seconds: float) -> int:
    """Give milliseconds as Redis takes them: whole, and more than none."""
    return max(1, int(seconds * 1000))
