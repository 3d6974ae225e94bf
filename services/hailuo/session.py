"""The account token, and the device it is registered with."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from services.hailuo.refusals import EXPIRED
from shared.errors import AccountExpired
from shared.terms import Credential, Session
from shared.upstream.json import loads

_TOKEN = re.compile(r"[\x21-\x7e]+")
"""One word that fits into a header: the site alone reads it."""


@frozen
class HailuoCredential(Credential):
    """The local storage item `_token`: a JWT."""


@frozen
class HailuoSession(Session):
    """A registered device, and the token it was registered with."""

    token: str = field(repr=False)
    uuid: str
    device_id: str


def read_credential(token: str) -> HailuoCredential:
    """Take an account token; raise `AccountExpired` when it cannot be one."""
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise AccountExpired(EXPIRED)
    return HailuoCredential(token)


def device_of(credential: HailuoCredential, registered: Mapping[str, Any]) -> str:
    """Give the id of a registered device, by the site's reply or else by the token; empty when neither tells.

    The reply also has it as a number, which has lost its last digits.
    """
    for value in (registered.get("deviceIDStr"), _claims(credential.token).get("deviceID")):
        if isinstance(value, str) and value.isascii() and value.isdigit():
            return value
    return ""


def _claims(token: str) -> Mapping[str, Any]:
    """Read what a JWT says of its user; empty when it cannot be read."""
    payload = [*token.split("."), ""][1]
    try:
        value = loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error):
        return {}
    user = value.get("user") if isinstance(value, dict) else None
    return user if isinstance(user, dict) else {}
