"""Bodies: that of a request, read, and that of an answer in JSON."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import aiohttp
import orjson
from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import parse_mimetype
from aiohttp.http_exceptions import HttpProcessingError

from shared.errors import AttachmentTooLarge
from shared.openai.errors import BadRequest, TooLarge
from shared.service import SERVICE
from shared.upstream.json import JSON

T = TypeVar("T")

LARGE = 4 * 1024 * 1024
"""Bytes above which a body is parsed off the event loop."""

FIELD_LIMIT = 64 * 1024
PARTS_MOST = 100
"""Bytes of a text field of a form, and how many parts there may be."""

PIECE = 1024 * 1024
"""Bytes of a body that are read, or taken out of a form, without a pause."""

NOT_A_FORM = "The request body must be a form: multipart/form-data, as `curl -F` and the OpenAI clients send it."


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
    parts: list[bytes] = []
    size = 0
    try:
        while part := await request.content.readany():
            size += len(part)
            if size > limit:
                raise TooLarge(limit)
            parts.append(part)
            if size > PIECE:
                # What is unpacked is there at once: nothing else would let others have their turn.
                await asyncio.sleep(0)
        return b"".join(parts)
    except web.RequestPayloadError as error:
        raise BadRequest("The request body is not encoded as its headers say.") from error


async def read_form(request: web.Request, upload: str, limit: int) -> tuple[dict[str, str], bytes | None]:
    """Read a form: its text fields, and the bytes (at most `limit`) of the file in its field `upload`, if any.

    Raise `BadRequest` when the body is no form, `AttachmentTooLarge` and `TooLarge` when it is too much.
    """
    if request.content_type != "multipart/form-data":
        raise BadRequest(NOT_A_FORM)
    # Some writers begin with the line end that stands before every other boundary.
    body = (await read_body(request)).removeprefix(b"\r\n")
    boundary = parse_mimetype(request.headers["Content-Type"]).parameters.get("boundary", "")
    delimiter = f"--{boundary}".encode("utf-8", "surrogateescape")
    # What stood before the first part would be read line by line, without a pause.
    if not body.startswith((delimiter + b"\r\n", delimiter + b"\n")):
        raise BadRequest(NOT_A_FORM)
    fields: dict[str, str] = {}
    data = None
    try:
        reader = MultipartReader(request.headers, _content(body))
        for _ in range(PARTS_MOST):
            if (part := await reader.next()) is None:
                return fields, data
            if isinstance(part, MultipartReader) or part.name is None:
                break
            if part.name == upload and part.filename is not None:
                data = await _read_part(part, limit)
            else:
                fields[part.name] = (await _read_part(part, FIELD_LIMIT)).decode("utf-8", "replace")
    except (ValueError, KeyError, AssertionError, RuntimeError, HttpProcessingError) as error:
        raise BadRequest(NOT_A_FORM) from error
    raise BadRequest(NOT_A_FORM)


def json_response(value: Any, status: int = 200) -> web.Response:
    """Give the answer that is this JSON value."""
    return web.Response(body=orjson.dumps(value), status=status, content_type=JSON)


def _content(body: bytes) -> aiohttp.StreamReader:
    """Give a body that is there as one that is read, all of it at once."""
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(BaseProtocol(loop), len(body), loop=loop)
    # In pieces: what is read too far is put back before the rest of its piece, which is copied for it.
    for start in range(0, len(body), PIECE):
        content.feed_data(body[start : start + PIECE])
    content.feed_eof()
    return content


async def _read_part(part: BodyPartReader, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while not part.at_eof():
        piece = await part.read_chunk(PIECE)
        size += len(piece)
        if size > limit:
            raise AttachmentTooLarge(f"The form's field `{part.name}` is larger than {limit / 2**20:g} MiB.")
        pieces.append(piece)
        # All of it is there: nothing else would let others have their turn.
        await asyncio.sleep(0)
    return b"".join(pieces)
