"""The event stream to the client: when its head goes out, the pings, the one write for each read."""

import asyncio
from contextlib import suppress

from aiohttp import HttpVersion11, web
from aiohttp_sse import EventSourceResponse

PING_INTERVAL = 15.0
"""Seconds between comment lines: they keep proxies from closing, and find out that a reader has gone."""


class Downstream:
    """The stream of one answer.

    The head goes out with the first bytes, or `head_wait` seconds after the site accepted; from then on pings run.
    """

    def __init__(self, request: web.Request, head_wait: float) -> None:
        self.response = EventSourceResponse(sep="\n", allow_all_methods=True, ping_interval=PING_INTERVAL)
        self.response.charset = "utf-8"
        if request.version < HttpVersion11:
            # Such a body has no length and no chunks: only the end of the connection ends it.
            self.response.force_close()
            self.response.headers["Connection"] = "close"
        self._request = request
        self._head_wait = head_wait
        self._timer: asyncio.TimerHandle | None = None
        self._early: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether the head is out: from then on an error can only be a frame."""
        return self.response.prepared or self._early is not None

    def accepted(self) -> None:
        """The site has accepted: the head waits no longer than `head_wait` from now."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._head_wait, self._send_head)

    async def write(self, data: bytes) -> None:
        """Write whole frames, after the head."""
        await self._head()
        await self.response.write(data)

    async def end(self, data: bytes) -> None:
        """Write the last frames and close the body."""
        await self.write(data)
        self._stop_pings()
        await self.response.write_eof()

    def close(self) -> None:
        """Stop the clocks, whatever became of the answer."""
        if self._timer is not None:
            self._timer.cancel()
        if self._early is not None:
            self._early.cancel()
        self._stop_pings()

    def _stop_pings(self) -> None:
        # Raised while there are none: a head that could not be written has begun nothing.
        with suppress(RuntimeError):
            self.response.stop_streaming()

    def _send_head(self) -> None:
        self._early = asyncio.create_task(self._early_head())

    async def _early_head(self) -> None:
        # A client that has gone is found out by its handler's cancellation.
        with suppress(ConnectionError):
            await self.response.prepare(self._request)

    async def _head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._early is not None:
            await self._early
        elif not self.response.prepared:
            await self.response.prepare(self._request)
