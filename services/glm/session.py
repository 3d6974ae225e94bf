"""The account token, and the access token it is exchanged for."""

import re

from attrs import field, frozen

from services.glm.refusals import EXPIRED
from shared.errors import AccountExpired
from shared.terms import Credential, Session

_JWT = re.compile(r"[\w+/=-]+(?:\.[\w+/=-]*){2,4}", re.ASCII)
"""Three pieces (five if encrypted) between dots. The site takes the token whole, so nothing more is looked at."""


@frozen
class GlmCredential(Credential):
    """The cookie `chatglm_refresh_token`."""


@frozen
class GlmSession(Session):
    """An access token."""

    access_token: str = field(repr=False)


def read_credential(token: str) -> GlmCredential:
    """Take an account token; raise `AccountExpired` when it cannot be one."""
    token = token.strip()
    if not _JWT.fullmatch(token):
        raise AccountExpired(EXPIRED)
    return GlmCredential(token)
