"""`GET /v1/models` and `GET /v1/models/{id}`."""

from typing import Any

from aiohttp import web

from shared.openai.errors import ModelNotFound
from shared.routes.body import json_response
from shared.service import SERVICE

CREATED = 1_700_000_000
"""`created` of every model, in Unix seconds: the sites tell no date, and clients want a number."""


async def models(request: web.Request) -> web.Response:
    """List every name that works."""
    provider = request.app[SERVICE].provider
    data = [_model(provider.name, model) for model in provider.models]
    return json_response({"object": "list", "data": data})


async def model(request: web.Request) -> web.Response:
    """Give one name."""
    provider = request.app[SERVICE].provider
    name = request.match_info["model"]
    if not provider.has_model(name):
        raise ModelNotFound
    return json_response(_model(provider.name, name))


def _model(owner: str, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": owner}
