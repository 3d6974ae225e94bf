"""What the fake yuewen.cn and stepfun.com keep: accounts with their token pairs, chats, files."""

import base64
import hashlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

ACCESS_LIFETIME = 1800.0
REFRESH_LIFETIME = 30 * 86400.0

_numbers = itertools.count(154303117894709248, 131072)


def new_number() -> str:
    """Give a new id: a number of 18 digits."""
    return str(next(_numbers))


@dataclass(eq=False)
class Account:
    """A login on one device.

    `pairs` are the token pairs that the site takes; `token` is what its user has copied; `search` is the account's
    setting.
    """

    name: str
    device: str
    token: str = ""
    pairs: list[str] = field(default_factory=list)
    expired: bool = False
    search: bool = True
    issued: int = 0

    def issue(self, *, guest: bool = False) -> str:
        """Make a new pair of tokens."""
        self.issued += 1
        now = time.time()
        identity = int(hashlib.md5(self.name.encode()).hexdigest()[:12], 16)
        access = {
            "activated": not guest,
            "exp": int(now + ACCESS_LIFETIME),
            "mode": 1 if guest else 2,
            "oasis_id": identity,
            "serial": self.issued,
        }
        refresh = {
            "app_id": 10200,
            "device_id": self.device,
            "exp": int(now + REFRESH_LIFETIME),
            "oasis_id": identity,
            "platform": "web",
            "version": 2,
            "serial": self.issued,
        }
        self.pairs.append(f"{jwt(access)}...{jwt(refresh)}")
        return self.pairs[-1]


@dataclass(eq=False)
class Chat:
    """A chat and the texts it was sent."""

    id: str
    owner: Account
    turns: list[str] = field(default_factory=list)
    deleted: bool = False


@dataclass(eq=False)
class File:
    """A file of a message; `polls` counts how often the caller has asked whether it was read."""

    id: str
    owner: Account
    name: str
    type: str
    data: bytes
    polls: int = 0
    read: bool = False


def device_of(name: str) -> str:
    """Give the device of an account: 40 hex digits."""
    return hashlib.sha1(name.encode()).hexdigest()


def jwt(claims: dict[str, Any]) -> str:
    """Give a JWT whose signature is none."""
    parts = (b'{"alg":"HS256","typ":"JWT"}', orjson.dumps(claims), hashlib.sha256(repr(claims).encode()).digest())
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
