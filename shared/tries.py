"""Going on when the site refuses: another account, another try, or the error for the client."""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
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
        self._turn = accounts.slots.turn()
        self._left = {account.digest: account for account in candidates}
        self._owner_known = owner_known
        self._keep = keep
        self._renewed: set[str] = set()
        self._failures: list[errors.SiteError] = []

    async def run(
        self, start: Callable[[Lease[Any, Any]], OutputT], use: Callable[[OutputT], Coroutine[Any, Any, T]]
    ) -> tuple[OutputT, T]:
        """Start an output on one account after the other until `use` of it succeeds.

        Who gets the output back owns it: it goes to `Cleanup.finish` or `Cleanup.abandon`. A try that fails is closed
        and its conversation deleted before the next begins; the last one, and one that is cancelled, are handed to
        clean-up at once. Raise the `SiteError` that says best why nothing worked.
        """
        lease = await self._lease(self._left)
        while True:
            output = start(lease)
            try:
                result = await output.run(partial(use, output))
            except errors.SiteError as refusal:
                error = self._meaning(lease.account, refusal)
                # Noted before anyone else can be granted the account.
                self._accounts.failed(lease.account, error)
                candidates = () if lease.committed else self._candidates(lease.account, error)
                closing = self._abandon(output)
                if not candidates:
                    raise error if lease.committed else self._verdict(error) from refusal.__cause__
                await asyncio.wait((closing,))
                if isinstance(error, errors.UpstreamUnavailable):
                    await self._back_off()
                lease = await self._lease(candidates)
            except BaseException:
                self._abandon(output)
                raise
            else:
                self._accounts.succeeded(lease.account)
                return output, result

    def _abandon(self, output: Output[Any]) -> asyncio.Task[None]:
        return self._cleanup.abandon(output, keep=self._keep and not output.lease.own)

    def _meaning(self, account: Account[Any, Any], error: errors.SiteError) -> errors.SiteError:
        """A session that is refused right after it was exchanged means that the account's token is."""
        renewed = isinstance(error, errors.SessionRefused) and account.digest in self._renewed
        return errors.AccountExpired() if renewed else error

    def _candidates(self, account: Account[Any, Any], error: errors.SiteError) -> Collection[str]:
        """Give the accounts that may try next; none when the refusal is final."""
        if isinstance(error, errors.SessionRefused):
            self._renewed.add(account.digest)
            return (account.digest,)
        if isinstance(error, errors.UpstreamUnavailable):
            self._retries -= 1
            return self._left if self._retries >= 0 else ()
        if isinstance(error, errors.AccountBusy):
            return self._left
        if self._of_account(error):
            self._failures.append(error)
            del self._left[account.digest]
            return self._left
        return ()

    def _verdict(self, error: errors.SiteError) -> errors.SiteError:
        """Give what the client hears: the site's word on the request itself, else the weightiest of all failures."""
        if self._of_account(error) or isinstance(error, errors.UpstreamUnavailable):
            return errors.worst([*self._failures, error])
        return error

    def _of_account(self, error: errors.SiteError) -> bool:
        """Tell whether another account may get another answer."""
        return error.next_account or (isinstance(error, errors.ConversationUnknown) and not self._owner_known)

    async def _back_off(self) -> None:
        self._metrics.retried()
        await asyncio.sleep(self._backoff * random.uniform(0.5, 1.5))
        self._backoff *= 2

    async def _lease(self, candidates: Collection[str]) -> Lease[Any, Any]:
        self._accounts.check_address()
        loop = asyncio.get_running_loop()
        asked = loop.time()
        others = len(candidates) < len(self._left)
        try:
            digest, name = await self._accounts.acquire(tuple(candidates), 0 if others else self._wait, self._turn)
        except errors.SiteError as error:
            if others:
                # Another request has taken the account meanwhile, or found it expired.
                return await self._lease(self._left)
            raise errors.worst([*self._failures, error]) from None
        self._wait = max(0.0, self._wait - (loop.time() - asked))
        lease = Lease(self._left[digest], self._accounts, name)
        try:
            # It may have been limited while this request waited.
            self._accounts.check_address()
        except errors.AddressLimited:
            lease.free()
            raise
        return lease
