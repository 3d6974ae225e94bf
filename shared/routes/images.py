"""`POST /v1/images/generations`."""

import base64
import time
from typing import cast

from aiohttp import web

from shared.context import note_account
from shared.openai.parse import read_image
from shared.openai.requests import ImageRequest
from shared.outputs import Work
from shared.provider import Draws
from shared.routes.body import json_response, parse_body
from shared.service import SERVICE
from shared.terms import Picture


async def images(request: web.Request) -> web.Response:
    """Draw: at least `n` pictures, as addresses or as base64."""
    service = request.app[SERVICE]
    async with service.running():
        caller = service.caller(request)
        ask = await parse_body(request, read_image)
        service.log_text((ask.prompt,))
        tries = service.tries(caller)
        drawer = cast("Draws", service.provider)
        pictures: list[Picture] = []
        while len(pictures) < ask.n:
            output, drawn = await tries.run(lambda lease: Work(lease, drawer.draw(ask, lease)), Work.given)
            service.cleanup.finish(output, keep=service.settings.keep_conversations)
            note_account(output.lease.account)
            pictures += drawn
        data = [await _picture(drawer, ask, picture) for picture in pictures]
    return json_response({"created": int(time.time()), "data": data})


async def _picture(drawer: Draws, ask: ImageRequest, picture: Picture) -> dict[str, str]:
    if not ask.b64_json:
        return {"url": picture.url}
    content = await drawer.picture(picture.url)
    return {"b64_json": base64.b64encode(content).decode("ascii")}
