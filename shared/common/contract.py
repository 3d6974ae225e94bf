"""What a service shares with its other replicas: the contract, and the service that has none."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Literal, Protocol

from attrs import frozen

from shared.errors import SiteError

Kind = Literal["session", "credential", "conversation"]
"""What is kept by name: a session and the newest token by account, the owner of a conversation by its id."""

ADDRESS = "address"
"""Stands for an account where all are meant: the site limits the address of the service."""


@frozen
class Cooldown:
    """Why an account is left alone: the site's `refusal`. It holds `seconds`, of which `left` remain."""

    refusal: SiteError
    seconds: float
    left: float


@frozen
class Taken:
    """The answer to `take`: the lease, None while others run all that the account may; and what others met."""

    lease: str | None
    cooldown: Cooldown | None = None
    address: Cooldown | None = None


@frozen
class Freed:
    """Another replica has given an account back."""

    account: str


@frozen
class Changed:
    """Another replica was refused an account, or, without a cool-down, found it well again."""

    account: str
    cooldown: Cooldown | None


News = Freed | Changed


class Common(Protocol):
    """What the replicas of a service have in common. Accounts are named by their digest.

    Nothing here fails: where the others cannot be asked, each goes on by itself.
    """

    @property
    def state(self) -> str:
        """`ok` or `away` for readers of `/readyz`; empty when there is nothing to say."""
        ...

    async def start(self, hear: Callable[[News], None]) -> None:
        """Begin; `hear` is told what other replicas do."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...

    async def take(self, account: str, *, alone: bool) -> Taken:
        """Ask for a lease. `alone` is whether nobody else waits here, for any account."""
        ...

    def release(self, account: str, lease: str) -> None:
        """Give a lease back."""
        ...

    def cool(self, account: str, cooldown: Cooldown) -> None:
        """Say that the site refused the account (or `ADDRESS`)."""
        ...

    def clear(self, account: str) -> None:
        """Say that the site takes the account again."""
        ...

    def flight(self, name: str) -> AbstractAsyncContextManager[None]:
        """Hold while one replica at a time does what has this name: the exchange of an account, a setting of it."""
        ...

    async def fetch(self, kind: Kind, name: str) -> bytes | None:
        """Give what is kept under this name."""
        ...

    async def store(self, kind: Kind, name: str, value: bytes, seconds: float | None) -> None:
        """Keep a value for so long; None is for ever."""
        ...

    def discard(self, kind: Kind, name: str, value: bytes) -> None:
        """Forget a value, unless another has taken its place."""
        ...


class Alone:
    """The only replica, or one that is not told of others."""

    state = ""

    async def start(self, hear: Callable[[News], None]) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def take(self, account: str, *, alone: bool) -> Taken:  # noqa: ARG002 - the contract's
        """Grant."""
        return _GRANTED

    def release(self, account: str, lease: str) -> None:
        """Nobody waits for it."""

    def cool(self, account: str, cooldown: Cooldown) -> None:
        """Nobody else need know."""

    def clear(self, account: str) -> None:
        """Nobody else need know."""

    def flight(self, name: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 - the contract's
        """No other replica can be at it."""
        return nullcontext()

    async def fetch(self, kind: Kind, name: str) -> bytes | None:  # noqa: ARG002 - the contract's
        """Nothing is kept."""
        return None

    async def store(self, kind: Kind, name: str, value: bytes, seconds: float | None) -> None:
        """Nothing is kept."""

    def discard(self, kind: Kind, name: str, value: bytes) -> None:
        """Nothing is kept."""


_GRANTED = Taken("")
