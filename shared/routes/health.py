"""`/ping`, `/healthz`, `/readyz`, `/metrics`, and the front page."""

from aiohttp import web

from shared.routes.body import json_response
from shared.service import SERVICE


async def front(request: web.Request) -> web.Response:
    """Say what this is, for a browser that was pointed here."""
    service = request.app[SERVICE]
    routes = [
        f"{route.method} {route.resource.canonical}"
        for route in request.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]
    text = f"{service.provider.name}: an OpenAI-compatible service.\n\n" + "\n".join(routes) + "\n"
    return web.Response(text=text, headers={"Expires": "-1"})


async def ping(_: web.Request) -> web.Response:
    """Answer `pong`."""
    return web.Response(text="pong")


async def healthz(_: web.Request) -> web.Response:
    """The process is alive."""
    return _status("ok", 200)


async def readyz(request: web.Request) -> web.Response:
    """The service takes new work; with a Redis, whether that answers (without it, work goes on)."""
    service = request.app[SERVICE]
    details = {"redis": service.common.state} if service.common.state else {}
    return _status("draining", 503, **details) if service.draining else _status("ok", 200, **details)


async def show_metrics(request: web.Request) -> web.Response:
    """Give the metrics in the Prometheus text format."""
    metrics = request.app[SERVICE].metrics
    return web.Response(body=metrics.render(), headers={"Content-Type": metrics.content_type})


def _status(status: str, code: int, **details: str) -> web.Response:
    return json_response({"status": status, **details}, code)
