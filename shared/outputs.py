"""One try at one output: the site's work on a lease, and how to leave it half-way."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeVar

from shared.accounts import Lease
from shared.errors import SiteError

T = TypeVar("T")


class Output(ABC, Generic[T]):
    """What runs on a lease. Starting is a task of its own: a call that creates something is never cut half-way."""

    def __init__(self, lease: Lease[Any, Any], start: Coroutine[Any, Any, T]) -> None:
        self.lease = lease
        self._start = start
        self._task: asyncio.Task[T] | None = None

    async def open(self) -> T:
        """Start, and give what the site accepted with; one who is cancelled here cancels nothing."""
        started = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(started))
        await started
        return self._task.result()

    async def _run(self, started: asyncio.Future[None]) -> T:
        try:
            return await self._start
        finally:
            # By the task itself, not when it is done: that would be told one turn of the loop later.
            if not started.done():
                started.set_result(None)

    @abstractmethod
    async def learn(self) -> None:
        """Go on until the site has named the conversation, or nothing more can come."""

    async def _named_or_started(self) -> asyncio.Task[T] | None:
        """Wait for either: some sites name a conversation before they are asked. None if there was no start at all."""
        if self._task is not None:
            named = asyncio.create_task(self.lease.named.wait())
            try:
                await asyncio.wait((self._task, named), return_when=asyncio.FIRST_COMPLETED)
            finally:
                named.cancel()
        return self._task

    async def close(self) -> None:
        """End it: cancel what still runs, close the upstream call."""
        if self._task is None:
            self._start.close()
            return
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
            # Cut before its first step, the task has not even looked at it.
            self._start.close()
        if not self._task.cancelled() and self._task.exception() is None:
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
        task = await self._named_or_started()
        if task is None or self.lease.conversation is not None or task.exception() is not None:
            return
        parts: Any = task.result()
        async for _ in parts:
            if self.lease.conversation is not None:
                return

    async def _leave(self) -> None:
        await self._context.__aexit__(None, None, None)


class Work(Output[T]):
    """An output that is there all at once."""

    async def learn(self) -> None:
        """Wait until the conversation has a name or the work has ended."""
        await self._named_or_started()


async def _enter(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()
