"""The account token, and the device it is registered with."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from services.hailuo.refusals import EXPIRED
from shared.accounts import Account, Lease
from shared.terms import Credential, Session
from shared.tokens import claims, take_whole
from shared.upstream.shapes import inner


@frozen
class HailuoSession(Session):
    """A registered device, and the token it was registered with."""

    token: str = field(repr=False)
    uuid: str
    device_id: str


HailuoAccount = Account[Credential, HailuoSession]
HailuoLease = Lease[Credential, HailuoSession]


def read_credential(token: str) -> Credential:
    """Take the Local Storage item `_token`, a JWT; raise `AccountExpired` when it cannot be one."""
    return take_whole(token, EXPIRED)


def device_of(credential: Credential, registered: Mapping[str, Any]) -> str:
    """Give the id of a registered device, by the site's reply or else by the token; empty when neither tells.

    The reply also has it as a number, which has lost its last digits.
    """
    stated = registered.get("deviceIDStr")
    for value in (str(stated) if type(stated) is int else stated, inner(claims(credential.token), "user", "deviceID")):
        if isinstance(value, str) and value.isascii() and value.isdigit():
            return value
    return ""
