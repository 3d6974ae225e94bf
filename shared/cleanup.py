"""Work that must not be lost: outputs are closed, conversations stopped and deleted, accounts given back."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from shared.accounts import Account, Lease
from shared.errors import ConversationUnknown, RequestRefused, SessionRefused, SiteError
from shared.logs import get_logger
from shared.metrics import Metrics
from shared.outputs import Output
from shared.provider import Provider
from shared.terms import Conversation

log = get_logger(__name__)

BREAK_TIMEOUT = 5.0
"""Seconds for learning a conversation's id, and again for deleting it, before a broken-off account is given back."""

FORGET_PAUSES = (1.0, 5.0, 15.0)
"""Seconds between the attempts to delete a conversation."""


class Cleanup:
    """Everything that goes on after a client has been answered, or has left."""

    def __init__(self, provider: Provider[Any, Any], metrics: Metrics) -> None:
        self._provider = provider
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def finish(self, output: Output[Any], *, keep: bool) -> None:
        """The output ended well: its account is free at once, the rest runs in the background."""
        output.lease.free()
        self._run(self._finish(output, keep or not self._provider.deletes))

    def abandon(self, output: Output[Any], *, keep: bool) -> asyncio.Task[None]:
        """The output broke off, or its client left: close and delete in the background, then free the account.

        Give the task, for who has to wait for it.
        """
        return self._run(self._abandon(output, keep or not self._provider.deletes))

    def forget(self, conversation: Conversation, account: Account[Any, Any]) -> None:
        """Delete, in the background, what an output that ended well has left beside its conversation."""
        self._run(self._forget(conversation, account))

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - a bound on waiting, not on one operation
        """Wait at most `timeout` seconds for all that is under way, and for what that starts."""
        deadline = asyncio.get_running_loop().time() + timeout
        while self._tasks and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        if self._tasks:
            log.warning("cleanups_left", count=len(self._tasks))
        for task in self._tasks:
            task.cancel()

    async def _abandon(self, output: Output[Any], keep: bool) -> None:
        lease = output.lease
        forgotten = True
        try:
            if lease.conversation is None:
                await self._told(_learn(output))
            await self._told(output.close())
            if lease.conversation is not None and not keep:
                forgotten = await self._forget_soon(lease.conversation, lease.account)
        finally:
            lease.free()
            if not keep:
                self._forget_left(lease)
        if not forgotten and lease.conversation is not None:
            self._run(self._forget(lease.conversation, lease.account))

    def _forget_left(self, lease: Lease[Any, Any]) -> None:
        for conversation in lease.left:
            self.forget(conversation, lease.account)

    async def _finish(self, output: Output[Any], keep: bool) -> None:
        await self._told(output.close())
        lease = output.lease
        # The answer is not kept as long as its conversation may take to be deleted.
        del output
        if keep:
            return
        self._forget_left(lease)
        if lease.conversation is not None:
            await self._forget(lease.conversation, lease.account)

    async def _forget(self, conversation: Conversation, account: Account[Any, Any]) -> None:
        """Delete, trying again after a while."""
        for pause in FORGET_PAUSES:
            if await self._forget_once(conversation, account):
                return
            await asyncio.sleep(pause)
        await self._forget_once(conversation, account)

    async def _forget_soon(self, conversation: Conversation, account: Account[Any, Any]) -> bool:
        try:
            async with asyncio.timeout(BREAK_TIMEOUT):
                return await self._forget_once(conversation, account)
        except TimeoutError:
            return False

    async def _forget_once(self, conversation: Conversation, account: Account[Any, Any]) -> bool:
        """Delete, one conversation of an account at a time; tell whether that is settled: no further try is due."""
        async with self._turns.setdefault(account.digest, asyncio.Lock()):
            try:
                await self._call(conversation, account)
            except ConversationUnknown:
                pass
            except SiteError as error:
                log.warning("conversation_not_deleted", account=account.key, reason=error.code)
                self._metrics.cleanup("failed")
                # What the site does not want, it will not want a second time.
                return isinstance(error, RequestRefused)
            except Exception:
                log.exception("cleanup_failed")
                self._metrics.cleanup("error")
                return True
        self._metrics.cleanup("deleted")
        return True

    async def _call(self, conversation: Conversation, account: Account[Any, Any]) -> None:
        try:
            await self._provider.forget(conversation, account)
        except SessionRefused:
            account.refuse_session()
            await self._provider.forget(conversation, account)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _told(self, work: Awaitable[None]) -> None:
        """Do it; a fault of our own is said in the log, and is no reason to leave out the rest."""
        try:
            await work
        except Exception:
            log.exception("cleanup_failed")
            self._metrics.cleanup("error")


async def _learn(output: Output[Any]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(BREAK_TIMEOUT):
            await output.learn()
