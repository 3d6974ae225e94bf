"""What a connection can meet that no server can be made to do: each fault of the HTTP library, by its name."""

from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aioresponses import aioresponses

from shared.errors import SiteError, UpstreamTimeout, UpstreamUnavailable
from shared.metrics import Metrics
from shared.settings import Settings
from shared.upstream.client import Upstream

URL = "https://site.test/x"
HEADERS = {"Authorization": "SECRET"}

FAULTS: tuple[tuple[BaseException, type[SiteError], str], ...] = (
    (aiohttp.ServerDisconnectedError(), UpstreamUnavailable, "failed"),
    (aiohttp.ClientPayloadError("cut"), UpstreamUnavailable, "failed"),
    (aiohttp.ClientOSError(104, "reset"), UpstreamUnavailable, "failed"),
    (aiohttp.InvalidURL("x"), UpstreamUnavailable, "failed"),
    (aiohttp.ConnectionTimeoutError("connect"), UpstreamTimeout, "timeout"),
    (ConnectionResetError(104, "reset"), UpstreamUnavailable, "failed"),
    (TimeoutError(), UpstreamTimeout, "timeout"),
)


async def call(upstream: Upstream) -> None:
    await upstream.call("GET", URL, kind="test", headers=HEADERS)


async def stream(upstream: Upstream) -> None:
    async with upstream.stream("GET", URL, kind="test", headers=HEADERS):
        pass


@pytest.mark.parametrize("way", [call, stream])
@pytest.mark.parametrize(("fault", "kind", "outcome"), FAULTS, ids=[type(fault[0]).__name__ for fault in FAULTS])
async def test_every_fault_of_the_library_is_one_of_ours(
    fault: BaseException, kind: type[SiteError], outcome: str, way: Callable[[Upstream], Awaitable[None]]
) -> None:
    metrics = Metrics("toy")
    upstream = Upstream(frozenset({"site.test"}), Settings(), metrics)
    await upstream.start()
    try:
        with aioresponses() as site:
            site.get(URL, exception=fault)
            with pytest.raises(kind) as caught:
                await way(upstream)
        assert type(caught.value) is kind
        assert "SECRET" not in caught.value.message
        assert f'kind="test",outcome="{outcome}",provider="toy"}} 1.0' in metrics.render().decode()
    finally:
        await upstream.close()
