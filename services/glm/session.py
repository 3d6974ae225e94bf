"""The account token, and the access token it is exchanged for."""

import re

from services.glm.refusals import EXPIRED
from shared.accounts import Account, Lease
from shared.terms import Credential, TokenSession
from shared.tokens import take_whole

_JWT = re.compile(r"[\w+/=-]+(?:\.[\w+/=-]*){2,4}", re.ASCII)
"""Three pieces (five if encrypted) between dots. The site takes the token whole, so nothing more is looked at."""

GlmAccount = Account[Credential, TokenSession]
GlmLease = Lease[Credential, TokenSession]


def read_credential(token: str) -> Credential:
    """Take the cookie `chatglm_refresh_token`; raise `AccountExpired` when it cannot be one."""
    return take_whole(token, EXPIRED, _JWT)
