"""`POST /v1/videos/generations`."""

import time
from typing import cast

from aiohttp import web

from shared.attachments import Attached
from shared.context import note_account
from shared.openai.parse import read_video
from shared.outputs import Work
from shared.provider import Films
from shared.routes.body import json_response, parse_body
from shared.service import SERVICE


async def videos(request: web.Request) -> web.Response:
    """Make a video, and answer when it is finished."""
    service = request.app[SERVICE]
    async with service.running():
        caller = service.caller(request)
        ask = await parse_body(request, read_video)
        service.log_text((ask.prompt,))
        filmer = cast("Films", service.provider)
        filmer.check_film(ask)
        ask.conversation, _, owner = await service.continued(ask.conversation_id, caller)
        ask.keep = service.settings.keep_conversations
        ask.attached = Attached(service.fetcher, () if ask.image is None else (ask.image,))
        await ask.attached.fetch()
        tries = service.tries(caller, ask.conversation, owner)
        output, film = await tries.run(lambda lease: Work(lease, filmer.film(ask, lease)), Work.given)
        # The film belongs to its conversation, which the answer names: it is never deleted here.
        service.cleanup.finish(output, keep=True)
        lease = output.lease
        if film.left is not None:
            service.cleanup.forget(film.left, lease.account)
        if lease.conversation is not None:
            await service.keep(caller, lease.account, lease.conversation)
        note_account(lease.account)
    return json_response({"created": int(time.time()), "data": [{"url": film.url, **film.about}]})
