"""Account tokens that a site alone reads, and what those of them that are JWTs say. Pure."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from shared.errors import AccountExpired
from shared.terms import Credential
from shared.upstream.json import loads
from shared.upstream.shapes import as_object

ONE_WORD = re.compile("[!-~]+")
"""What fits into a header."""


def take_whole(token: str, refused: str, pattern: re.Pattern[str] = ONE_WORD) -> Credential:
    """Take an account token as it is; raise `AccountExpired`, which says `refused`, when it cannot be one."""
    token = token.strip()
    if not pattern.fullmatch(token):
        raise AccountExpired(refused)
    return Credential(token)


def claims(jwt: str) -> Mapping[str, Any]:
    """Read what a JWT says, without a look at its signature; nothing when it is none."""
    middle = jwt.split(".")[1] if jwt.count(".") == 2 else ""
    try:
        return as_object(loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))))
    except ValueError:
        return {}
