from collections.abc import Iterator

import pytest

from tests.shared.redisserver import RedisServer, redis_server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that was away is looked for again at once."""
    monkeypatch.setattr("shared.common.link.PROBE_PAUSE", 0.05)
