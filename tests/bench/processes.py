"""The processes of a run: started on their core, watched until they answer, and what they have used. Linux only."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 15.0
STOP_TIMEOUT = 10.0
"""Seconds a process has to answer for the first time, and to end."""

_LOOK_EVERY = 0.001
"""Seconds between two looks whether a process answers: what a start time is exact to."""


class ProcessError(Exception):
    """A process of the run did not start, or gave no result."""


@frozen
class Cores:
    """Processor cores: those of the process that is measured, and those of all others."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def split(cls) -> "Cores":
        """Keep one core for what is measured, if there is more than one."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(frozenset(usable[-1:]), frozenset(usable[:-1] or usable))


class Process:
    """A server of the run. `start_seconds` is the time from its start to its first good answer."""

    def __init__(self, arguments: Sequence[str], port: int, cores: frozenset[int], settings: Mapping[str, str]) -> None:
        self.port = port
        self._name = " ".join(arguments)
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            # Nothing of this shell's settings: what is measured is the default.
            env={"PATH": os.environ["PATH"], **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.sched_setaffinity(self._process.pid, cores)
        self.pid = self._process.pid
        self._await_health(began + START_TIMEOUT)
        self.start_seconds = time.perf_counter() - began

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def megabytes(self, figure: str) -> float:
        """Give a figure of the process's memory: `VmRSS` now, or `VmHWM`, the most there has been."""
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            if line.startswith(figure + ":"):
                return int(line.split()[1]) * 1024 / 1e6
        raise ProcessError(f"{self._name} has ended")

    def _await_health(self, deadline: float) -> None:
        while not _is_healthy(self.port):
            if self._process.poll() is not None or time.perf_counter() > deadline:
                self.__exit__()
                raise ProcessError(f"it does not start: python {self._name}")
            time.sleep(_LOOK_EVERY)


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Give the processor time a process has used, and the time it had to wait for its core.

    All threads, user and system; exact to a few milliseconds.
    """
    used = waited = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            running, waiting, _ = map(int, (task / "schedstat").read_text("ascii").split())
            used, waited = used + running, waited + waiting
    return used / 1e9, waited / 1e9


def free_port() -> int:
    """Give a port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _is_healthy(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
