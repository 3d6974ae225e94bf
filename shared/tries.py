"""Going on when the site refuses: another account, another try, or the error for the client."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
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
        self._begun = False
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
        lease = await self._lease()
        while True:
            output = start(lease)
            try:
                result = await output.run(partial(use, output))
            except errors.SiteError as refusal:
                error = self._meaning(lease.account, refusal)
                # Noted before anyone else can be granted the account.
                self._accounts.failed(lease.account, error)
                goes_on = not lease.committed and self._goes_on(lease.account, error)
                # The same account is asked once more, before anyone who waits for it.
                kept = lease.passed_on() if goes_on and isinstance(error, errors.SessionRefused) else None
                closing = self._abandon(output)
                if not goes_on:
                    raise error if lease.committed else self._verdict(error) from refusal.__cause__
                await self._closed(closing, kept)
                if isinstance(error, errors.UpstreamUnavailable):
                    await self._back_off()
                lease = await self._lease() if kept is None else self._checked(kept)
            except BaseException:
                self._abandon(output)
                raise
            else:
                self._accounts.succeeded(lease.account)
                return output, result

    async def _closed(self, closing: asyncio.Task[None], kept: Lease[Any, Any] | None) -> None:
        """Wait until a try is closed; who is cancelled here keeps no lease longer than that."""
        try:
            await asyncio.wait((closing,))
        except BaseException:
            if kept is not None:
                closing.add_done_callback(lambda _: kept.free())
            raise

    def _abandon(self, output: Output[Any]) -> asyncio.Task[None]:
        return self._cleanup.abandon(output, keep=self._keep and not output.lease.own)

    def _meaning(self, account: Account[Any, Any], error: errors.SiteError) -> errors.SiteError:
        """Give what a refusal means: a session refused right after it was exchanged, that the token has expired."""
        renewed = isinstance(error, errors.SessionRefused) and account.digest in self._renewed
        return errors.AccountExpired() if renewed else error

    def _goes_on(self, account: Account[Any, Any], error: errors.SiteError) -> bool:
        """Tell whether another try may get another answer; an account that cannot give one is left out from now on."""
        if isinstance(error, errors.SessionRefused):
            self._renewed.add(account.digest)
            return True
        if isinstance(error, errors.UpstreamUnavailable):
            self._retries -= 1
            return self._retries >= 0
        if isinstance(error, errors.AccountBusy):
            return True
        if self._of_account(error):
            self._failures.append(error)
            del self._left[account.digest]
            return bool(self._left)
        return False

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

    async def _lease(self) -> Lease[Any, Any]:
        self._accounts.check_address()
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            digest, name = await self._accounts.acquire(tuple(self._left), self._wait, self._turn, again=self._begun)
        except errors.SiteError as error:
            raise errors.worst([*self._failures, error]) from None
        self._wait = max(0.0, self._wait - (loop.time() - asked))
        self._begun = True
        return self._checked(Lease(self._left[digest], self._accounts, name))

    def _checked(self, lease: Lease[Any, Any]) -> Lease[Any, Any]:
        """Give the lease back when the site has limited the address while this request waited."""
        try:
            self._accounts.check_address()
        except errors.AddressLimited:
            lease.free()
            raise
        return lease
