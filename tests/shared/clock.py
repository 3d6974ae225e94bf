"""Loops under control: a clock that jumps to the next moment in which something is due, and turns that are counted."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything can run. For code without I/O."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        inner: Any = self
        due = [handle.when() for handle in inner._scheduled if not handle.cancelled()]
        if due and not inner._ready:
            self.now = max(self.now, min(due))
        inner.__class__.__mro__[1]._run_once(self)


def timeless(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on a clock that jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


class Turns:
    """Counts the turns that others get, as a context."""

    def __init__(self) -> None:
        self.count = 0
        self._counting: asyncio.Task[None]

    async def __aenter__(self) -> "Turns":
        self._counting = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._counting.cancel()

    async def _run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def settle() -> None:
    """Let everything run that can run now."""
    for _ in range(20):
        await asyncio.sleep(0)
