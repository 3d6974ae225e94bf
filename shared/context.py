"""What is known of a request while it is served: its id, and the account it ran on, for the log."""

import random
import re
from typing import Any

from aiohttp import web

from shared import logs
from shared.accounts import Account

_REQUEST_ID = web.RequestKey("request_id", str)
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def begin(request: web.Request) -> str:
    """Give the request its id, the client's own `X-Request-Id` if it is a sober one, and bind it to the log."""
    given = request.headers.get("X-Request-Id", "")
    name = given if _GIVEN.fullmatch(given) else f"{random.getrandbits(64):016x}"
    request[_REQUEST_ID] = name
    logs.ABOUT.set({"request": name})
    return name


def request_id(request: web.BaseRequest) -> str:
    """Give the request's id; empty for one that never reached the application."""
    name: str = request.get(_REQUEST_ID, "")
    return name


def note_account(account: Account[Any, Any]) -> None:
    """Bind the account that serves this request to the log, by its key."""
    logs.ABOUT.set({**logs.ABOUT.get(), "account": account.key})
