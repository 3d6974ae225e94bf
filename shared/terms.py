"""The words of this library that are plain values."""

from collections.abc import Mapping
from typing import TypeVar

from attrs import field, frozen


@frozen
class Credential:
    """One account token taken apart. `token` reads back through `Provider.credential`."""

    token: str = field(repr=False)


@frozen
class Session:
    """What a credential is exchanged for. `expires_at` is in Unix seconds.

    All its fields are what JSON has (texts, numbers, flags): replicas hand it on to each other.
    """

    expires_at: float


@frozen
class TokenSession(Session):
    """A session that is a token: calls are made with it in the place of the account's own."""

    token: str = field(repr=False)


@frozen
class Conversation:
    """A conversation at the site.

    `id` is stable, `tip` is where the next turn attaches (empty where the site needs none), `about` is what else
    continuing or deleting it needs.
    """

    id: str
    tip: str = ""
    about: Mapping[str, str] = field(factory=dict, hash=False)


@frozen
class Site:
    """What a site changes often. A provider's `site.py` extends it; every field can be set from the environment."""

    hosts: frozenset[str]


@frozen
class Picture:
    """A drawn picture, by its address."""

    url: str


@frozen
class Film:
    """A finished video: its addresses, and what the site says of it (duration, resolution, ...).

    `left` is what is to be deleted at the site now that it is made.
    """

    url: str
    about: Mapping[str, str] = field(factory=dict)
    left: Conversation | None = None


C = TypeVar("C", bound=Credential)
S = TypeVar("S", bound=Session)
