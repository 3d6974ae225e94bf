"""The service and its site, running."""

from collections.abc import AsyncIterator

import pytest

from tests.services.metaso.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World.start() as started:
        yield started
