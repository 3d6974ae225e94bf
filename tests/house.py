"""A service running on a real socket, as it runs for users."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from attrs import define

from shared.app import application
from shared.provider import Provider
from shared.server import Runner
from shared.service import SERVICE, Service
from shared.settings import Settings, read_site


@define
class House:
    """A running service: its address, its inside, and a client that talks to it."""

    url: str
    service: Service
    client: aiohttp.ClientSession

    def post(self, path: str, json: Any, token: str | None = "t1", **headers: str) -> Any:
        """Post JSON; use as `async with`."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.client.post(self.url + path, json=json, headers=headers)


@asynccontextmanager
async def running(provider: type[Provider[Any, Any]], environ: Mapping[str, str]) -> AsyncIterator[House]:
    """Run a service with these settings. Everything is loopback: private addresses are allowed."""
    environ = {"ALLOW_PRIVATE_URLS": "1", "RETRY_BACKOFF": "0.01", **environ}
    settings = Settings.read(environ, provider.name)
    app = application(provider, read_site(provider.site_type, environ, provider.name), settings)
    # As for users: with other ways a test about a client that leaves would prove nothing.
    runner = Runner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as client:
        try:
            yield House(f"http://{host}:{port}", app[SERVICE], client)
        finally:
            await app[SERVICE].cleanup.drain(10)
            await runner.cleanup()
