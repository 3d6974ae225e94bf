"""The service that a test is of, and its site, running."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.world import World


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World[Any]]:
    """The `World` of the module `world` beside the test, with no settings of its own."""
    beside = importlib.import_module(f"{request.module.__package__}.world")
    async with beside.World.start() as started:
        yield started
