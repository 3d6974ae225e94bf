"""The body of a request."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from shared.openai.errors import TooLarge
from shared.service import SERVICE

T = TypeVar("T")

LARGE = 4 * 1024 * 1024
"""Bytes above which a body is parsed off the event loop."""


async def parse_body(request: web.Request, read: Callable[[bytes], T]) -> T:
    """Read the whole body and parse it with `read`; raise what `read` raises, `TooLarge` above `MAX_BODY_MB`."""
    body = await read_body(request)
    if len(body) < LARGE:
        return read(body)
    return await asyncio.get_running_loop().run_in_executor(None, read, body)


async def read_body(request: web.Request) -> bytes:
    """Read the whole body; raise `TooLarge` above `MAX_BODY_MB`."""
    limit = request.app[SERVICE].settings.max_body_mb * 1024 * 1024
    if (request.content_length or 0) > limit:
        raise TooLarge(limit)
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge(limit) from None
