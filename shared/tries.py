"""Going on when the site refuses: another account, another try, or the error for the client."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from shared import errors
from shared.accounts import Account, Accounts, Lease
from shared.cleanup import Cleanup
from shared.metrics import Metrics
from shared.outputs import Output
from shared.settings import Settings

T = TypeVar("T")
OutputT = TypeVar("OutputT", bound=Output[Any])


class Tries:
    """All tries of one request.

    `keep` is whether a broken-off conversation stays at the site because the client continues it.
    """

    def __init__(
        self,
        accounts: Accounts,
        cleanup: Cleanup,
        settings: Settings,
        metrics: Metrics,
        candidates: Sequence[Account[Any, Any]],
        *,
        owner_known: bool = False,
        keep: bool = False,
    ) -> None:
        self._accounts = accounts
        self._cleanup = cleanup
        self._metrics = metrics
        self._backoff = settings.retry_backoff
        self._retries = settings.retries
        self._wait = settings.account_wait
        self._left = {account.digest: account for account in candidates}
        self._owner_known = owner_known
        self._keep = keep
        self._renewed: set[str] = set()
        self._failures: list[errors.SiteError] = []

    async def run(
        self, start: Callable[[Lease[Any, Any]], OutputT], use: Callable[[OutputT], Awaitable[T]]
    ) -> tuple[OutputT, T]:
        """Start an output on one account after the other until `use` of it succeeds.

        Who gets the output back owns it: it goes to `Cleanup.finish` or `Cleanup.abandon`. A try that fails is closed
        and its conversation deleted before the next begins; one that is cancelled is handed to clean-up at once.
        Raise the `SiteError` that says best why nothing worked.
        """
        lease = await self._lease(self._left)
        while True:
            output = start(lease)
            try:
                result = await use(output)
            except errors.SiteError as error:
                candidates = self._candidates(lease.account, error)
                await asyncio.shield(self._cleanup.abandon(output, keep=self._keep))
                if isinstance(error, errors.UpstreamUnavailable):
                    await self._back_off(error)
                lease = await self._lease(candidates)
            except BaseException:
                self._cleanup.abandon(output, keep=self._keep)
                raise
            else:
                self._accounts.slots.succeeded(lease.account.digest)
                return output, result

    def _candidates(self, account: Account[Any, Any], error: errors.SiteError) -> Collection[str]:
        """Note what a refusal means before anyone else is granted the account; give who may try next."""
        if isinstance(error, errors.SessionRefused):
            account.refuse_session()
            if account.digest not in self._renewed:
                self._renewed.add(account.digest)
                return (account.digest,)
        self._accounts.failed(account, error)
        if isinstance(error, errors.UpstreamUnavailable | errors.AccountBusy):
            return self._left
        self._failures.append(error)
        if error.next_account or (isinstance(error, errors.ConversationUnknown) and not self._owner_known):
            del self._left[account.digest]
            return self._left
        return ()

    async def _back_off(self, error: errors.UpstreamUnavailable) -> None:
        if self._retries == 0:
            raise error
        self._retries -= 1
        self._metrics.retried()
        await asyncio.sleep(self._backoff * random.uniform(0.5, 1.5))
        self._backoff *= 2

    async def _lease(self, candidates: Collection[str]) -> Lease[Any, Any]:
        if not candidates:
            raise errors.worst(self._failures)
        self._accounts.check_address()
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            digest = await self._accounts.slots.acquire(tuple(candidates), self._wait)
        except errors.SiteError as error:
            raise errors.worst([*self._failures, error]) from None
        self._wait = max(0.0, self._wait - (loop.time() - asked))
        return Lease(self._left[digest], self._accounts)
