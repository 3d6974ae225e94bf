"""Accounts: who a request speaks for, the lease on one of them, and going on when the site refuses."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import Any, Generic
from weakref import WeakValueDictionary

from attrs import define, field, frozen

from shared import errors
from shared.common.contract import ADDRESS, Alone, Changed, Common, Cooldown, News
from shared.logs import get_logger
from shared.metrics import Metrics
from shared.openai.errors import NO_KEY, NoToken
from shared.redaction import protect
from shared.sessions import Exchange, Sessions
from shared.settings import Settings, SettingsError
from shared.slots import Slots
from shared.terms import C, Conversation, Credential, S, Session

log = get_logger(__name__)

ADDRESS_PAUSE = 300.0
"""Seconds without requests after a limit of the exit address that names none: what users of such sites found."""


@define(eq=False)
class Account(Generic[C, S]):
    """One of the user's logins. `digest` is the SHA-256 of its token, `own` that token taken apart."""

    digest: str
    own: C = field(repr=False)
    _sessions: Sessions = field(repr=False)
    _session: S | None = field(default=None, init=False, repr=False)

    @property
    def key(self) -> str:
        """The only form in which an account is ever shown: 12 hex digits."""
        return self.digest[:12]

    @property
    def credential(self) -> C:
        """The newest credential."""
        newest: Any = self._sessions.credential(self.digest, self.own)
        return newest  # type: ignore[no-any-return]

    async def session(self) -> S:
        """Give the account's session, exchanging it if need be; raise what the exchange raises."""
        session: Any = await self._sessions.get(self.digest, self.own)
        self._session = session
        return session  # type: ignore[no-any-return]

    async def renew(self, exchange: Exchange) -> S:
        """Exchange the credential anew, by `exchange`, and keep what it gives; raise what it raises."""
        session: Any = await self._sessions.renew(self.digest, self.own, exchange)
        self._session = session
        return session  # type: ignore[no-any-return]

    def refuse_session(self) -> None:
        """The site refused the session last given: the next one is exchanged anew."""
        session: Session | None = self._session
        self._sessions.drop(self.digest, session)


@frozen
class Caller:
    """Who a request speaks for: its accounts, and the API key it came with (hashed; empty without API keys)."""

    accounts: tuple[Account[Any, Any], ...]
    api_key: str = ""


class Lease(Generic[C, S]):
    """The right to use an account for one output.

    `own` is whether its conversation is no other output's, `committed` whether another try would make it twice.
    `left` are conversations it has gone on from, which are deleted with it.
    """

    def __init__(self, account: Account[C, S], accounts: "Accounts", name: str) -> None:
        self.account = account
        self.name = name
        self.conversation: Conversation | None = None
        self.own = False
        self.left: list[Conversation] = []
        self.named = asyncio.Event()
        self.committed = False
        self._accounts = accounts
        self._held = True

    def made(self, conversation: Conversation, *, own: bool = False) -> None:
        """Say, as soon as the site names it, which conversation this output is in: clean-up owns it from here on.

        `own`: it is no other output's, also where the client continues one, and is deleted when this one breaks off.
        """
        self.conversation = conversation
        self.own = own
        self.named.set()

    def leave(self) -> None:
        """The output goes on in another conversation, which the site has yet to name."""
        if self.conversation is not None:
            self.left.append(self.conversation)
        self.conversation = None
        self.named = asyncio.Event()

    def commit(self) -> None:
        """The site is making what cannot be asked for again: whatever it refuses from here on is final."""
        self.committed = True

    def skipped(self, kind: str) -> None:
        """Count what a decoder did not know, where no delta is rendered."""
        self._accounts.metrics.unknown(kind)

    def free(self) -> None:
        """The site has stopped generating: the account may write its next output. Safe to call again."""
        if self._held:
            self._held = False
            self._accounts.release(self.account.digest, self.name)

    def passed_on(self) -> "Lease[C, S] | None":
        """Give the right to another output, while this one is still being closed; None when it has been freed."""
        if not self._held:
            return None
        self._held = False
        return Lease(self.account, self._accounts, self.name)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """One at a time for this account and this name (a voice switch)."""
        return self._accounts.lock(self.account.digest, name)


class Accounts:
    """The accounts of one service. `read` is the provider's way to take a token apart, `slots` outputs run on each.

    `common` is what they have to do with other replicas of the service.
    """

    def __init__(
        self,
        read: Callable[[str], Credential],
        slots: int,
        settings: Settings,
        metrics: Metrics,
        sessions: Sessions,
        common: Common | None = None,
    ) -> None:
        self.slots = Slots(slots)
        self._read = read
        self._settings = settings
        self.metrics = metrics
        self._sessions = sessions
        self._common = common or Alone()
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._address: errors.SiteError | None = None
        self._address_until = 0.0

    def caller(self, authorization: str | None) -> Caller:
        """Read an Authorization header; raise `NoToken` when it has no token, or no API key the service knows.

        With API keys the accounts are the server's own. A malformed token does not spoil the others.
        """
        given = _tokens(authorization)
        if not self._settings.api_keys:
            if not given:
                raise NoToken()
            return Caller(self._parse(given))
        if not given:
            raise NoToken(NO_KEY)
        for key in given:
            protect(key)
            if any(hmac.compare_digest(_bytes(key), _bytes(known)) for known in self._settings.api_keys):
                return Caller(self._parse(self._settings.accounts), _digest(key))
        raise NoToken("This service takes its API keys only, and this is none of them.")

    def check_own(self) -> None:
        """Raise `SettingsError` when none of the server's own accounts can be one; say how many of them cannot."""
        own = self._settings.accounts
        if not own:
            return
        try:
            left = len(own) - len(self._parse(own))
        except errors.AccountExpired:
            raise SettingsError("ACCOUNTS holds no token of this site.") from None
        if left:
            log.warning("accounts_left_out", count=left)

    def account(self, token: str) -> Account[Any, Any]:
        """Take one token as an account; raise `AccountExpired` when it is malformed."""
        protect(token)
        # No site's token has other characters, and these could not stand in a header of a call.
        if not (token.isascii() and token.isprintable()):
            raise errors.AccountExpired
        own = self._read(token)
        # The same login may be written in several ways: it is known, and kept out of the log, as it is read.
        protect(own.token)
        return Account(_digest(own.token), own, self._sessions)

    @asynccontextmanager
    async def lock(self, digest: str, name: str) -> AsyncIterator[None]:
        """Hold what of this account has this name, among all replicas."""
        here = self._locks.setdefault((digest, name), asyncio.Lock())
        async with here, self._common.flight(f"{digest}:{name}"):
            yield

    async def acquire(
        self, candidates: Collection[str], wait: float, turn: int, *, again: bool = False
    ) -> tuple[str, str]:
        """Give one of `candidates` (digests) to run on, and the name of its lease, for `release`.

        Wait at most `wait` seconds; raise what `Slots.acquire` raises, and `AddressLimited`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            digest = await self.slots.acquire(candidates, max(0.0, until - loop.time()), turn, again=again)
            lease = await self._take(digest)
            if lease is not None:
                return digest, lease
            self.check_address()

    def release(self, digest: str, lease: str) -> None:
        """An output has ended: the account is free, for all replicas."""
        self._common.release(digest, lease)
        self.slots.release(digest)

    def hear(self, news: News) -> None:
        """Take in what another replica has said."""
        if not isinstance(news, Changed):
            self.slots.freed(news.account)
        elif news.account != ADDRESS:
            self.slots.learn(news.account, news.cooldown)
        elif news.cooldown is not None:
            self._limit_address(news.cooldown)

    def succeeded(self, account: Account[Any, Any]) -> None:
        """The site took the account."""
        if self.slots.succeeded(account.digest):
            self._common.clear(account.digest)

    def limit_address(self, refusal: errors.AddressLimited, seconds: float) -> None:
        """The site limits this service's address: refuse every request for `seconds`."""
        cooldown = Cooldown(refusal, seconds, seconds)
        if self._limit_address(cooldown):
            self._common.cool(ADDRESS, cooldown)

    def check_address(self) -> None:
        """Raise `AddressLimited` while the site limits this service's address."""
        if self._address is None:
            return
        left = self._address_until - asyncio.get_running_loop().time()
        if left > 0:
            raise errors.AddressLimited(self._address.message, retry_after=left)

    def failed(self, account: Account[Any, Any], error: errors.SiteError) -> None:
        """Do to the account what the refusal means for it."""
        self.metrics.account_failed(error)
        off = self._settings.expired_cooldown
        match error:
            case errors.AccountBusy():
                pause = self.slots.busy(account.digest)
                self._common.cool(account.digest, Cooldown(error, pause, pause))
            case errors.AccountLimited(retry_after=float() | int() as seconds):
                self._off(account, error, seconds)
            case errors.AccountBarred():
                self._off(account, error, off if error.retry_after is None else error.retry_after)
            case errors.AccountExpired():
                account.refuse_session()
                self._off(account, error, off)
            case errors.SessionRefused():
                account.refuse_session()
            case errors.AddressLimited():
                # What the site gave out under the limit may go on being limited.
                account.refuse_session()
                self.limit_address(error, ADDRESS_PAUSE if error.retry_after is None else error.retry_after)
            case _:
                pass

    async def _take(self, digest: str) -> str | None:
        """Ask the other replicas for an account that is free here; give it back when it is not, or not well."""
        try:
            taken = await self._common.take(digest, alone=not self.slots.waiting())
        except BaseException:
            self.slots.release(digest)
            raise
        if taken.address is not None:
            self._limit_address(taken.address)
        if taken.lease is None:
            self.slots.elsewhere(digest)
        unwell = taken.cooldown is not None and self.slots.learn(digest, taken.cooldown)
        if taken.lease is not None and not unwell:
            return taken.lease
        if taken.lease is not None:
            self._common.release(digest, taken.lease)
        self.slots.release(digest)
        return None

    def _off(self, account: Account[Any, Any], refusal: errors.SiteError, seconds: float) -> None:
        self.slots.off(account.digest, refusal, seconds)
        self._common.cool(account.digest, Cooldown(refusal, seconds, seconds))

    def _limit_address(self, cooldown: Cooldown) -> bool:
        """Note a limit, unless a longer one is known; tell which. Of many refusals at once few may name a time."""
        until = asyncio.get_running_loop().time() + cooldown.left
        if until <= self._address_until:
            return False
        self._address, self._address_until = cooldown.refusal, until
        return True

    def _parse(self, tokens: Sequence[str]) -> tuple[Account[Any, Any], ...]:
        """Take the tokens apart; malformed ones are left out unless none is left.

        Raise `NoToken` when there are none: API keys without accounts of the server.
        """
        if not tokens:
            raise NoToken("This service has API keys, but no accounts to use for them: set ACCOUNTS.")
        accounts: dict[str, Account[Any, Any]] = {}
        malformed: errors.AccountExpired | None = None
        for token in tokens:
            try:
                account = self.account(token)
            except errors.AccountExpired as error:
                malformed = error
            else:
                accounts.setdefault(account.digest, account)
        if malformed is not None and not accounts:
            raise malformed
        return tuple(accounts.values())


def _tokens(authorization: str | None) -> list[str]:
    """Split `Bearer t1,t2` (the scheme in any case, or absent) at commas; trimmed, empties dropped."""
    text = (authorization or "").strip()
    scheme, _, rest = text.partition(" ")
    if scheme.lower() == "bearer":
        text = rest
    return [token for token in (part.strip() for part in text.split(",")) if token]


@lru_cache(maxsize=1024)
def _digest(token: str) -> str:
    return hashlib.sha256(_bytes(token)).hexdigest()


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")
