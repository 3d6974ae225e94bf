"""What chatglm.cn keeps: accounts with their tokens, conversations, uploads and video jobs."""

import base64
import hashlib
import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import Any

import orjson
from PIL import Image, UnidentifiedImageError

FILM = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
"""As much of an MP4 file as tells its type."""

_numbers = itertools.count(1)


@dataclass(eq=False)
class Account:
    """A login. Every refresh token in `refresh_tokens` is accepted, unless the login has expired."""

    name: str
    refresh_tokens: list[str]
    expired: bool = False

    @property
    def newest(self) -> str:
        """The refresh token that was issued last."""
        return self.refresh_tokens[-1]


@dataclass(eq=False)
class AccessToken:
    """What a refresh gives: the right to act as an account until a time of the site's clock."""

    account: Account
    expires_at: float


@dataclass(eq=False)
class Conversation:
    """A conversation and the prompts of its turns."""

    id: str
    owner: Account
    assistant_id: str
    turns: list[str] = field(default_factory=list)
    deleted: bool = False


@dataclass(eq=False)
class Upload:
    """An uploaded file; `result` is what the site told the caller about it."""

    owner: Account
    content_type: str
    data: bytes
    result: dict[str, Any]


@dataclass(eq=False)
class VideoJob:
    """A video that is being made; each poll takes it one status further."""

    id: str
    conversation_id: str
    owner: Account
    order: Mapping[str, Any]
    statuses: tuple[str, ...]
    failure: str | None = None
    polls: int = 0
    deleted: bool = False

    def poll(self) -> str:
        """Give the present status and move on; a job that is to fail ends with `fail`."""
        statuses = (*self.statuses[:-1], "fail") if self.failure is not None else self.statuses
        status = statuses[min(self.polls, len(statuses) - 1)]
        self.polls += 1
        return status


def object_id() -> str:
    """Give a new id of 24 hex digits."""
    return f"680f1c2e{secrets.token_hex(4)}{next(_numbers):08x}"


def token(kind: str, owner: str, serial: int) -> str:
    """Give a JWT-like token, the same for the same account name and serial number."""
    claims = {
        "sub": owner,
        "type": kind,
        "device_id": hashlib.md5(owner.encode()).hexdigest(),
        "serial": serial,
    }
    signature = hashlib.sha256(repr(claims).encode()).digest()
    return ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"HS256","typ":"JWT"}', orjson.dumps(claims), signature)
    )


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Give the width and height of a picture, None for other data."""
    try:
        with Image.open(BytesIO(data)) as picture:
            return picture.size
    except UnidentifiedImageError:
        return None


@cache
def picture(width: int = 1024, height: int = 1024) -> bytes:
    """Give a PNG of the size the site draws."""
    target = BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(target, "PNG")
    return target.getvalue()
