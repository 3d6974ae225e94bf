"""A provider to an aiohttp application: routes, middlewares, life cycle."""

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from shared import context, logs
from shared.faults import told
from shared.openai.errors import Draining, MethodNotAllowed, NotFound
from shared.provider import Draws, Films, Provider, Speaks, Transcribes
from shared.routes import audio, chat, health, images, models, tokens, videos
from shared.server import Runner, allow_origin, error_response, stop_hearing
from shared.service import SERVICE, Service
from shared.settings import Settings, SettingsError, read_site
from shared.terms import Site

log = logs.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ALLOWED_METHODS = "GET, POST, OPTIONS"
PREFLIGHT_AGE = "86400"
"""Seconds a browser may remember a preflight."""

CLIENT_LEFT = 499
"""The status, in log and metrics, of a request whose client did not wait for the answer."""

LARGE = 64 * 1024
"""Bytes of an answer that may have to wait for a client who reads slowly."""

COLLECTOR = (10_000, 20, 20)
"""The garbage collector's thresholds: containers made and not freed after which the youngest generation is collected,
and for each older one, after how many collections of the one before it.

Measured with 128 streams: a third of the time that Python's own thresholds cost; the longest pause is the same.
"""

QUIET = frozenset({"/ping", "/healthz", "/readyz", "/metrics"})
"""Paths asked by machines every few seconds: not worth a log line each."""

CAPABILITIES: tuple[tuple[type, str, str, Handler], ...] = (
    (Draws, "POST", "/v1/images/generations", images.images),
    (Films, "POST", "/v1/videos/generations", videos.videos),
    (Speaks, "POST", "/v1/audio/speech", audio.speech),
    (Transcribes, "POST", "/v1/audio/transcriptions", audio.transcriptions),
)
"""A route for each capability a provider may have."""


def application(provider_type: type[Provider[Any, Any]], site: Site, settings: Settings) -> web.Application:
    """Make the application of one service."""
    service = Service(provider_type, site, settings)
    app = web.Application(middlewares=[_answer_errors])
    app[SERVICE] = service
    app.router.add_post("/v1/chat/completions", chat.chat)
    app.router.add_get("/v1/models", models.models)
    app.router.add_get("/v1/models/{model:.+}", models.model)
    app.router.add_post("/token/check", tokens.check)
    app.router.add_get("/", health.front)
    app.router.add_get("/ping", health.ping)
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)
    app.router.add_get("/metrics", health.show_metrics)
    for capability, method, path, handler in CAPABILITIES:
        if isinstance(service.provider, capability):
            app.router.add_route(method, path, handler)
    app.on_response_prepare.append(_allow_origins)
    app.cleanup_ctx.append(_life)
    return app


def run(provider_type: type[Provider[Any, Any]]) -> None:
    """Serve until SIGTERM or SIGINT; the process ends with code 0 after a drain, 1 with what kept it from starting."""
    try:
        settings = Settings.read(os.environ, provider_type.name)
        site = read_site(provider_type.site_type, os.environ, provider_type.name)
    except SettingsError as error:
        sys.exit(f"{provider_type.name}: {error}")
    logs.configure(settings)
    logs.log_uncaught()
    with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
        runner.run(serve(application(provider_type, site, settings), settings))


async def serve(app: web.Application, settings: Settings) -> None:
    """Listen, wait for the signal, drain, and stop. A second signal cuts what still runs."""
    service = app[SERVICE]
    runner = Runner(app)
    try:
        await runner.setup()
    except SettingsError as error:
        sys.exit(f"{service.provider.name}: {error}")
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except (OSError, UnicodeError) as error:
        await runner.cleanup()
        sys.exit(f"{service.provider.name}: cannot listen: {error}")
    # What start-up made stays: the collector need not look through it again and again. And nearly all that a request
    # makes goes without it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR)
    log.info("listening", service=service.provider.name, addresses=[list(a[:2]) for a in runner.addresses])
    await _signalled(service)
    await service.drain()
    await runner.cleanup()
    log.info("stopped")


async def _signalled(service: Service) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            service.cut()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await stop.wait()


def _loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if settings.event_loop == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _life(app: web.Application) -> Any:
    await app[SERVICE].start()
    yield
    await app[SERVICE].close()


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every request, whatever happens: preflights, and errors in OpenAI's envelope with a true status."""
    service = request.app[SERVICE]
    name = context.begin(request)
    began = time.monotonic()
    status = CLIENT_LEFT
    try:
        with service.serving():
            response = await _answer(request, handler, name)
            if service.draining:
                response.force_close()
            status = response.status if response.prepared else await _sent(service, request, response)
    finally:
        route = request.match_info.route.resource
        path = "unknown" if route is None else route.canonical
        service.metrics.request(path, status)
        if path not in QUIET:
            log.info(
                "answered",
                method=request.method,
                route=path,
                status=status,
                seconds=round(time.monotonic() - began, 3),
            )
    return response


async def _sent(service: Service, request: web.Request, response: web.StreamResponse) -> int:
    """Send a whole answer to its end, or the end of a drain; give the status to be counted."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity" and not request.content.is_eof():
        # What is still to come would be unpacked, to a thousand times its size, for nobody.
        response.force_close()
        stop_hearing(request)
    try:
        await response.prepare(request)
        if (response.content_length or 0) < LARGE:
            await response.write_eof()
        else:
            async with service.cuttable():
                await response.write_eof()
    except ConnectionError:
        return CLIENT_LEFT
    except Draining:
        if request.transport is not None:
            request.transport.abort()
        return CLIENT_LEFT
    return response.status


async def _answer(request: web.Request, handler: Handler, name: str) -> web.StreamResponse:
    if request.method == "OPTIONS":
        return _preflight(request)
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return error_response(MethodNotAllowed(error.allowed_methods))
    except web.HTTPNotFound:
        return error_response(NotFound())
    except ConnectionError:
        # The client has gone in the middle of a write; nobody reads this answer.
        return web.Response(status=CLIENT_LEFT)
    except Exception as error:  # noqa: BLE001 - `told` logs it
        return error_response(told(error, name))


def _preflight(request: web.Request) -> web.Response:
    asked = request.headers.get("Access-Control-Request-Headers", "*")
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": ALLOWED_METHODS,
            "Access-Control-Allow-Headers": asked,
            "Access-Control-Max-Age": PREFLIGHT_AGE,
        },
    )


async def _allow_origins(request: web.Request, response: web.StreamResponse) -> None:
    """CORS headers on every answer: a signal sees also what no handler made."""
    allow_origin(response.headers, request.headers.get("Origin", "*"))
    if name := context.request_id(request):
        response.headers["X-Request-Id"] = name
