"""What the fake hailuoai.com keeps: accounts, conversations, and what it reads out."""

import base64
import hashlib
from dataclasses import dataclass, field

import orjson


@dataclass(eq=False)
class Account:
    """A login, its newest device (uuid and id), its voice, and the speech for which that was set."""

    name: str
    token: str
    device: tuple[str, str] | None = None
    expired: bool = False
    voice: str = "male-botong"
    speaking: str | None = None


@dataclass(eq=False)
class Chat:
    """A conversation and the prompts of its turns."""

    id: str
    owner: Account
    turns: list[str] = field(default_factory=list)
    deleted: bool = False


@dataclass(eq=False)
class Speech:
    """A message that can be read out; each look shows one more of its parts."""

    owner: Account
    chat: Chat
    text: str
    looks: int = 0


def token(name: str) -> str:
    """Give the JWT of an account, the same for the same name."""
    claims = {"exp": 1830000000, "user": {"id": "1", "name": name, "deviceID": "242935159979966466"}}
    pieces = (b'{"alg":"HS256","typ":"JWT"}', orjson.dumps(claims), hashlib.sha256(name.encode()).digest())
    return ".".join(base64.urlsafe_b64encode(piece).decode().rstrip("=") for piece in pieces)
