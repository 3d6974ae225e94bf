"""How an application is served, and what becomes of what a client sends that is no request."""

import asyncio
import socket
from collections.abc import Mapping, MutableMapping
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from shared.faults import told
from shared.logs import get_logger
from shared.openai.errors import ApiError, BadRequest, ExpectationFailed, body

log = get_logger(__name__)

HEAD_LIMIT = 64 * 1024
"""Bytes of one header: there may be many accounts in an Authorization."""

SERVER: Mapping[str, Any] = {
    # A client that has left must free its account at once, not at its next token.
    "handler_cancellation": True,
    "access_log": None,
    "max_field_size": HEAD_LIMIT,
}
"""What aiohttp is told."""

SEND_TIMEOUT = 120.0
"""Seconds in which a client must have taken something of what it was sent."""

SHUTDOWN_TIMEOUT = 1.0
"""Seconds for connections to end, after a drain has ended what they were for."""

NO_REQUEST = f"This is no HTTP request that can be read; a header may have {HEAD_LIMIT // 1024} KiB at most."

_MALFORMED = (HttpProcessingError, web.RequestPayloadError)


class Runner(web.AppRunner):
    """Serves an application."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, shutdown_timeout=SHUTDOWN_TIMEOUT)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(server.request_handler, request_factory=server.request_factory, **SERVER)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """A client's connection. What aiohttp says of bytes it cannot read quotes them: it is neither sent nor logged.

    `deaf`: what still comes is read and dropped.
    """

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self.deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; one whose client takes nothing for `SEND_TIMEOUT` ends, as aiohttp-sse has it for event streams."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, option, int(SEND_TIMEOUT * 1000))

    def data_received(self, data: bytes) -> None:
        """Take bytes; tell who reads a body when it cannot be read on, of which aiohttp tells the next request only."""
        if self.deaf:
            return
        super().data_received(data)
        if not self._messages or not isinstance(getattr(self._messages[-1][0], "exc", None), HttpProcessingError):
            return
        # The request before the broken bytes waits for its turn, or is being served.
        served = None if self._current_request is None else self._current_request.content
        content = self._messages[-2][1] if len(self._messages) > 1 else served
        if content is not None and not content.is_eof():
            content.set_exception(web.RequestPayloadError("broken"))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; what aiohttp raised before the application was asked is put into the envelope."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp = _outside(ExpectationFailed())
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 - as aiohttp gives it
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what went wrong outside the application, and close the connection."""
        error: ApiError
        if isinstance(exc, _MALFORMED):
            self.log_exception(exc_info=exc)
            error = BadRequest(NO_REQUEST)
        else:
            error = told(exc if isinstance(exc, Exception) else TimeoutError(), "")
        if request.writer.output_size > 0:
            raise ConnectionError("An answer has begun already.")
        return _outside(error)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a fault; of what a client has sent amiss only the kind."""
        error = kw.get("exc_info")
        if isinstance(error, _MALFORMED):
            log.info("malformed_request", reason=type(error).__name__)
        else:
            super().log_exception(*args, **kw)


def stop_hearing(request: web.BaseRequest) -> None:
    """Drop what the client of a request that has been answered still sends."""
    connection = request.protocol
    if isinstance(connection, _Connection):
        connection.deaf = True


def error_response(error: ApiError) -> web.Response:
    """Give the answer that tells an error."""
    return web.Response(body=body(error), status=error.status, headers=error.headers, content_type="application/json")


def _outside(error: ApiError) -> web.Response:
    """Give the answer to what never reached the application; it ends the connection."""
    response = error_response(error)
    allow_origin(response.headers, "*")
    response.force_close()
    return response


def allow_origin(headers: MutableMapping[str, str], origin: str) -> None:
    """Let pages of an origin read an answer."""
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After"
    headers["Vary"] = "Origin"
