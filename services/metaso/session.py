"""The account token, which is two cookies, and the page token that every search carries."""

import re

from attrs import field, frozen

from services.metaso.refusals import EXPIRED
from shared.accounts import Account, Lease
from shared.errors import AccountExpired
from shared.terms import Credential, Session

_TOKEN = re.compile(r"([^\s;-]+)-([^\s;-]+)")
"""Two pieces that fit into a cookie: 24 and 32 hex digits today, which the site alone need know."""


@frozen
class MetasoCredential(Credential):
    """The cookies `uid` and `sid`."""

    uid: str = field(repr=False)
    sid: str = field(repr=False)

    @property
    def cookie(self) -> str:
        """The header that every call of the account carries."""
        return f"uid={self.uid}; sid={self.sid}; "


@frozen
class MetasoSession(Session):
    """The meta-token of a page that was opened as the account."""

    meta_token: str = field(repr=False)


MetasoAccount = Account[MetasoCredential, MetasoSession]
MetasoLease = Lease[MetasoCredential, MetasoSession]


def read_credential(token: str) -> MetasoCredential:
    """Take an account token `<uid>-<sid>` apart; raise `AccountExpired` when it is no such pair."""
    found = _TOKEN.fullmatch(token.strip())
    if found is None:
        raise AccountExpired(EXPIRED)
    return MetasoCredential(found[0], found[1], found[2])
