"""The process of the relay: `python -m tests.bench.relay <port> <address of the call that streams>`.

The least an aiohttp service can do: one call to the site for each call of a client, bytes copied as they come,
nothing parsed. Loop, session and buffer are as in the services.
"""

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

from shared.upstream.client import READ_SIZE


class Relay:
    """Relays every call of a client to one address."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def relay(self, request: web.Request) -> web.StreamResponse:
        """Copy the client's body to the site, and the site's body to the client."""
        headers = {"Authorization": request.headers["Authorization"], "Content-Type": "application/json"}
        async with self._session.post(self._url, data=await request.read(), headers=headers) as upstream:
            response = web.StreamResponse(
                status=upstream.status, headers={"Content-Type": upstream.headers["Content-Type"]}
            )
            await response.prepare(request)
            async for data in upstream.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response


async def healthz(_: web.Request) -> web.Response:
    """The process is alive."""
    return web.Response(text="ok")


async def serve(port: int, url: str) -> None:
    """Relay until the process is ended."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        read_bufsize=READ_SIZE,
    ) as session:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", Relay(session, url).relay)
        app.router.add_get("/healthz", healthz)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as asyncio_runner:
        asyncio_runner.run(serve(int(sys.argv[1]), sys.argv[2]))
