"""The account token, which is used as it is."""

from services.emohaa.refusals import EXPIRED
from shared.accounts import Account, Lease
from shared.terms import Credential, TokenSession
from shared.tokens import take_whole

EmohaaAccount = Account[Credential, TokenSession]
EmohaaLease = Lease[Credential, TokenSession]


def read_credential(token: str) -> Credential:
    """Take the Local Storage item `token`, a JWT; raise `AccountExpired` when it cannot be one."""
    return take_whole(token, EXPIRED)
