"""The account token, and the token pair it is exchanged for. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from services.step.refusals import EXPIRED, GUEST, MALFORMED
from shared.accounts import Account, Lease
from shared.errors import AccountExpired
from shared.terms import Credential, Session
from shared.tokens import claims
from shared.upstream.shapes import as_text, inner

DOTS = "..."
"""Between the access and the refresh half of the site's token."""

MARGIN = 0.1
"""The part of a session's life that is not used, so that no call is made with a token that ends on its way."""

_DEVICE = re.compile(r"[\w-]+", re.ASCII)
_PAIR = re.compile(r"[\w.~+/=%-]+", re.ASCII)
"""What can stand in a cookie. The site alone reads what it means."""

_HALVES = re.compile(rf"{_PAIR.pattern}{re.escape(DOTS)}{_PAIR.pattern}", re.ASCII)

_MOST = 10.0**9
"""Seconds a session may live: what is longer is no time, and may be no number a clock can hold."""

_SECONDS = re.compile(r"(\d{1,9})(?:\.\d+)?s?", re.ASCII)


@frozen
class StepCredential(Credential):
    """`deviceId@Oasis-Token`."""

    device: str = field(repr=False)
    pair: str = field(repr=False)


@frozen
class StepSession(Session):
    """The pair that calls are made with. `guest` is whether the site says that nobody is logged in with it."""

    device: str = field(repr=False)
    pair: str = field(repr=False)
    guest: bool = False


StepAccount = Account[StepCredential, StepSession]
StepLease = Lease[StepCredential, StepSession]


def read_credential(token: str) -> StepCredential:
    """Take an account token apart; raise `AccountExpired` when it cannot be one.

    Without a device id, the one in the refresh half is taken: they are the same.
    """
    first, *others = (part.strip().strip('"') for part in token.split("@"))
    device, pair = (first, others[0]) if others else ("", first)
    device = device or _device(pair)
    if not _DEVICE.fullmatch(device) or not _PAIR.fullmatch(pair):
        raise AccountExpired(MALFORMED)
    return StepCredential(f"{device}@{pair}", device, pair)


def exchanged(
    payload: Mapping[str, Any],
    credential: StepCredential,
    *,
    now: float,
    lifetime: float,
    cookies: Mapping[str, str] | None = None,
) -> tuple[StepSession, StepCredential]:
    """Read the reply of an exchange, received at `now` (Unix seconds); the pair in it is the newest credential.

    `lifetime` (seconds) is for a pair that does not say how long it lives. `cookies` are those the reply sets, None
    where the pair cannot be for another device than before. Raise `AccountExpired` when there is no pair, or when the
    site gave a guest's in the place of a user's.
    """
    pair, device = _pair_and_device(payload, cookies or {})
    if not pair:
        raise AccountExpired(EXPIRED)
    access = pair.partition(DOTS)[0]
    guest = is_guest(access)
    if guest and not is_guest(credential.pair.partition(DOTS)[0]):
        raise AccountExpired(GUEST)
    lives = _seconds(inner(payload, "accessToken", "duration")) or _left(access, now) or lifetime
    if cookies is None or not device:
        device = credential.device
    session = StepSession(now + lives * (1 - MARGIN), device, pair, guest)
    return session, StepCredential(f"{device}@{pair}", device, pair)


def is_guest(access: str) -> bool:
    """Tell whether an access token says that nobody is logged in with it."""
    return claims(access).get("activated") is False


def _pair_and_device(payload: Mapping[str, Any], cookies: Mapping[str, str]) -> tuple[str, str]:
    """Give the pair of a reply, and the device it was made for; each is empty where the reply does not say.

    What is set by cookies belongs together.
    """
    halves = [as_text(inner(payload, f"{half}Token", "raw")) for half in ("access", "refresh")]
    pair = DOTS.join(halves) if all(map(_PAIR.fullmatch, halves)) else ""
    token, device = (cookies.get(f"Oasis-{name}", "") for name in ("Token", "Webid"))
    if not _DEVICE.fullmatch(device):
        device = ""
    if _HALVES.fullmatch(token) and (device or not pair):
        pair = token
    return pair, device or _device(pair)


def _device(pair: str) -> str:
    """Give the device that the refresh half of a pair was made for; empty when it does not say."""
    told = claims(pair.partition(DOTS)[2]).get("device_id")
    return told if isinstance(told, str) and _DEVICE.fullmatch(told) else ""


def _seconds(duration: Any) -> float:
    """Read a duration, which may be a number, or a text with or without its unit; 0 when it is none."""
    if isinstance(duration, str):
        found = _SECONDS.fullmatch(duration)
        return float(found[1]) if found else 0.0
    return max(0.0, float(min(duration, _MOST))) if isinstance(duration, int | float) else 0.0


def _left(access: str, now: float) -> float:
    """Give the seconds an access token says it has left; 0 when it does not say, or by another clock than ours."""
    expires = claims(access).get("exp")
    return max(0.0, min(expires, now + _MOST) - now) if isinstance(expires, int | float) else 0.0
