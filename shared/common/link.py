"""The way to Redis. It may be away: then no call is made, until a task in the background gets through again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from shared.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

CALL_TIMEOUT = 0.5
LOOKS = 10
"""Seconds without any answer after which Redis counts as hung, and how often within them that is looked at. Only the
requests of that moment wait so long: until Redis answers again, no other asks it."""

STUCK_LOOKS = 100
"""Looks after which a call is given up although others are answered: it may have had to wait for these."""

PROBE_PAUSE = 2.0
"""Seconds between attempts to get through, while Redis is away."""

CONNECTIONS = 16
"""Calls at once; more wait for one another."""

WORDS_LIMIT = 200
"""Characters of Redis's own words that are logged."""

_FAILURES = (RedisError, OSError, TimeoutError)


class Away(Exception):
    """Redis cannot be asked."""


class Link:
    """One service's way to Redis.

    `renew` is awaited every `beat` seconds, and before Redis counts as back; `hear` gets what is published on
    `channel`; `tell` is told whether Redis is up.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        *,
        renew: Callable[[], Awaitable[None]],
        hear: Callable[[bytes], None],
        tell: Callable[[bool], None],
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=None, socket_timeout=None, retry=Retry(NoBackoff(), 0)
        )
        self.up = False
        self._redis: Any = Redis(connection_pool=pool)
        self._scripts: dict[str, Any] = {}
        self._channel = channel
        self._renew = renew
        self._hear = hear
        self._tell = tell
        self._said_away = False
        self._answers = 0
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    async def start(self, beat: Callable[[], float]) -> None:
        """Try to get through once, and keep trying and renewing in the background."""
        self._tell(False)
        await self._get_through()
        self._keeper = asyncio.create_task(self._keep(beat))

    async def close(self) -> None:
        """End the background work and the connections."""
        tasks = [task for task in (self._keeper, self._listener) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(*_FAILURES):
            async with asyncio.timeout(CALL_TIMEOUT):
                await self._redis.aclose(close_connection_pool=True)

    async def do(self, *command: Any) -> Any:
        """Send one command; raise `Away`."""
        return await self._bounded(lambda: self._redis.execute_command(*command))

    async def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script; raise `Away`."""
        return await self._bounded(lambda: self.running(script, keys, args))

    async def running(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script as part of `renew`, whose time is bounded already; raise what goes wrong."""
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self._redis.register_script(script)
        told = await known(keys, args)
        self._answers += 1
        return told

    async def try_again(self) -> None:
        """Try once more to get through, if Redis is away: there may be no later time."""
        if not self.up:
            await self._get_through()

    async def _bounded(self, work: Callable[[], Awaitable[T]]) -> T:
        if not self.up:
            raise Away
        try:
            async with self._patience():
                return await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, requests go on
            self._lose(error)
            raise Away from None

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` when nothing is answered, to anyone, at `LOOKS` looks in a row.

        A process that stood still itself looks once afterwards, and then finds the answers that were waiting for it.
        """
        loop = asyncio.get_running_loop()
        looks, left, seen = 0, LOOKS, self._answers
        next_look: asyncio.TimerHandle

        def look() -> None:
            nonlocal looks, left, seen, next_look
            looks += 1
            left, seen = left - 1 if seen == self._answers else LOOKS, self._answers
            if left and looks < STUCK_LOOKS:
                next_look = loop.call_later(CALL_TIMEOUT / LOOKS, look)
            else:
                limit.reschedule(loop.time())

        next_look = loop.call_later(CALL_TIMEOUT / LOOKS, look)
        try:
            async with asyncio.timeout(None) as limit:
                yield
        finally:
            next_look.cancel()
        self._answers += 1

    async def _keep(self, beat: Callable[[], float]) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(beat() if self.up else PROBE_PAUSE):
                    await self._lost.wait()
            self._lost.clear()
            await self._get_through()

    async def _get_through(self) -> None:
        """Renew; where Redis was away, listen first. Nothing is awaited between the last of it and `up`."""
        heard: PubSub | None = None
        try:
            async with self._patience():
                heard = None if self.up else await self._subscribed()
                await self._renew()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may get through
            self._lose(error)
            if heard is not None:
                await _closed(heard)
            return
        if heard is not None:
            self._find(heard)

    async def _subscribed(self) -> PubSub:
        """Subscribe to the channel, and see that Redis lets us; on a new connection, as all calls are from here on.

        Of the old ones some may look alive, calls under way among them: nobody tells us the end of a machine.
        """
        await self._redis.connection_pool.disconnect()
        heard: PubSub = self._redis.pubsub()
        try:
            await heard.connect()  # type: ignore[no-untyped-call]
            self._answers += 1
            await heard.subscribe(self._channel)
            await heard.get_message(timeout=None)
            self._answers += 1
        except BaseException:
            await _closed(heard)
            raise
        return heard

    async def _listen(self, heard: PubSub) -> None:
        """Hear what is published; an end of it is the first that is seen of a Redis that was killed."""
        try:
            async for message in heard.listen():
                if message["type"] == "message":
                    self._hear(message["data"])
        except Exception as error:  # noqa: BLE001 - whatever it is, the next listener may hear
            self._lose(error)
        finally:
            await _closed(heard)

    def _find(self, heard: PubSub) -> None:
        self.up = True
        self._tell(True)
        if self._said_away:
            self._said_away = False
            log.info("redis_back")
        if self._listener is not None:
            self._listener.cancel()
        self._listener = asyncio.create_task(self._listen(heard))

    def _lose(self, error: Exception) -> None:
        """Go on without Redis; said once, with what Redis said: it mostly wants a password, or another setting."""
        if self.up:
            self.up = False
            self._tell(False)
            self._lost.set()
        if not self._said_away:
            self._said_away = True
            words = str(error)[:WORDS_LIMIT] if isinstance(error, ResponseError) else ""
            reason = error if isinstance(error, TimeoutError) else error.__cause__ or error
            log.warning("redis_away", reason=type(reason).__name__, said=words)


async def _closed(heard: PubSub) -> None:
    with suppress(*_FAILURES):
        await heard.aclose()  # type: ignore[no-untyped-call]
