"""The account token, which is used as it is."""

import re

from attrs import field, frozen

from services.emohaa.refusals import EXPIRED
from shared.errors import AccountExpired
from shared.terms import Credential, Session

_TOKEN = re.compile(r"[!-~]+")
"""One word that fits into a header: the site alone reads it."""


@frozen
class EmohaaSession(Session):
    """The account token: the site has no sessions."""

    token: str = field(repr=False)


def read_credential(token: str) -> Credential:
    """Take the Local Storage item `token`, a JWT; raise `AccountExpired` when it cannot be one."""
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise AccountExpired(EXPIRED)
    return Credential(token)
