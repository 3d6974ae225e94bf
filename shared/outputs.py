"""One try at one output: the site's work on a lease, and how to leave it half-way."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeVar

from shared.accounts import Lease
from shared.errors import SiteError

T = TypeVar("T")
U = TypeVar("U")


class Output(ABC, Generic[T]):
    """What runs on a lease, in a task of its own. `value` is what the site accepted with, once it has."""

    value: T

    def __init__(self, lease: Lease[Any, Any], start: Coroutine[Any, Any, T]) -> None:
        self.lease = lease
        self._start = start
        self._task: asyncio.Task[Any] | None = None
        self._accepted = False
        self._left = False

    async def run(self, use: Callable[[], Coroutine[Any, Any, U]]) -> U:
        """Start, then do `use`; raise what either raises.

        Who is cancelled here cuts the use, but never the start: a call that creates something is not left half-way.
        """
        done = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(use, done))
        try:
            await done
        except asyncio.CancelledError:
            self._left = True
            if self._accepted:
                # It may be in the middle of a write.
                self._task.cancel()
                await asyncio.wait((self._task,))
            raise
        result: U = self._task.result()
        return result

    async def _run(self, use: Callable[[], Coroutine[Any, Any, U]], done: asyncio.Future[None]) -> U | None:
        try:
            self.value = await self._start
            self._accepted = True
            return None if self._left else await use()
        finally:
            # Set here: a callback of the task would run one turn of the loop later.
            if not done.done():
                done.set_result(None)

    @abstractmethod
    async def learn(self) -> None:
        """Go on until the site has named the conversation, or nothing more can come."""

    async def _until_named(self) -> None:
        """Wait for a name or the end of the task: some sites name a conversation before they are asked."""
        while self._task is not None and not self._task.done() and self.lease.conversation is None:
            named = asyncio.create_task(self.lease.named.wait())
            try:
                await asyncio.wait((self._task, named), return_when=asyncio.FIRST_COMPLETED)
            finally:
                named.cancel()

    async def close(self) -> None:
        """End it: cancel what still runs, close the upstream call."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
        # A coroutine that never ran is closed; to any other this does nothing.
        self._start.close()
        if self._task is not None and not self._task.cancelled():
            # Looked at, so that nobody is told of it later.
            self._task.exception()
        if self._accepted:
            with suppress(SiteError):
                await self._leave()

    async def _leave(self) -> None:
        """Close what was started well."""


class Stream(Output[T]):
    """An output that is read while the site writes it: entered as a context, then iterated."""

    def __init__(self, lease: Lease[Any, Any], context: AbstractAsyncContextManager[T]) -> None:
        super().__init__(lease, _enter(context))
        self._context = context

    async def learn(self) -> None:
        """Read on until the conversation has a name."""
        await self._until_named()
        if not self._accepted or self.lease.conversation is not None:
            return
        parts: Any = self.value
        async for _ in parts:
            if self.lease.conversation is not None:
                return

    async def _leave(self) -> None:
        await self._context.__aexit__(None, None, None)


class Work(Output[T]):
    """An output that is there all at once."""

    async def learn(self) -> None:
        """Wait until the conversation has a name or the work has ended."""
        await self._until_named()

    async def given(self) -> T:
        """Give what the work has made: for `Tries.run`."""
        return self.value


async def _enter(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()
