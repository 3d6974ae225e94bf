"""A Redis of the tests' own, on a socket in a folder of its own, that can be killed, hung and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SERVER = shutil.which("redis-server") or shutil.which("valkey-server")

needs_redis = pytest.mark.skipif(
    SERVER is None, reason="neither redis-server nor valkey-server is installed (apt-get install redis-server)"
)

START_TIMEOUT = 10.0


class RedisServer:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"
        self.client: Any = redis.Redis(unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0))

    def start(self, *options: str) -> None:
        """Start, empty, and wait until it answers."""
        assert SERVER is not None
        self._socket.unlink(missing_ok=True)
        command = [SERVER, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.005)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.close()

    def signal(self, number: signal.Signals) -> None:
        """Stop it (SIGSTOP), so that it takes calls and does not answer, or let it go on (SIGCONT)."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def keys(self, kind: str) -> list[str]:
        """What there is of a kind, of the toy: the names."""
        prefix = f"chat-services:toy:{kind}:"
        return sorted(key.decode().removeprefix(prefix) for key in self.client.keys(prefix + "*"))

    def leases(self) -> dict[str, float]:
        """The leases that hold now: their names, and the time (Unix seconds) they end."""
        found: dict[str, float] = {}
        for account in self.keys("leases"):
            members = self.client.zrangebyscore(
                f"chat-services:toy:leases:{account}", time.time() * 1000, "+inf", withscores=True
            )
            found |= {name.decode(): score / 1000 for name, score in members}
        return found

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


@contextmanager
def redis_server(*options: str, start: bool = True) -> Iterator[RedisServer]:
    """Run one; what it holds is gone afterwards."""
    # A socket's path must be short, which pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        server = RedisServer(Path(folder))
        try:
            if start:
                server.start(*options)
            yield server
        finally:
            server.kill()
