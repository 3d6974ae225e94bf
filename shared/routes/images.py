"""`POST /v1/images/generations`."""

import base64
import time
from typing import Any

import orjson
from aiohttp import web

from shared.context import note_account
from shared.openai.parse import read_image
from shared.openai.requests import ImageRequest
from shared.outputs import Work
from shared.provider import Draws
from shared.routes.body import parse_body
from shared.service import SERVICE, Service
from shared.terms import Picture


async def images(request: web.Request) -> web.Response:
    """Draw: at least `n` pictures, as addresses or as base64."""
    service = request.app[SERVICE]
    async with service.running():
        caller = service.caller(request)
        ask = await parse_body(request, read_image)
        service.log_text((ask.prompt,))
        tries = service.tries(caller)
        pictures: list[Picture] = []
        while len(pictures) < ask.n:
            output, drawn = await tries.run(lambda lease: Work(lease, _drawer(service).draw(ask, lease)), Work.given)
            service.cleanup.finish(output, keep=service.settings.keep_conversations)
            note_account(output.lease.account)
            pictures += drawn
        data = [await _picture(service, ask, picture) for picture in pictures]
    body = orjson.dumps({"created": int(time.time()), "data": data})
    return web.Response(body=body, content_type="application/json")


async def _picture(service: Service, ask: ImageRequest, picture: Picture) -> dict[str, str]:
    if not ask.b64_json:
        return {"url": picture.url}
    content = await _drawer(service).picture(picture.url)
    return {"b64_json": base64.b64encode(content).decode("ascii")}


def _drawer(service: Service) -> Draws:
    provider: Any = service.provider
    drawer: Draws = provider
    return drawer
