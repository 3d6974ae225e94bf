"""One output, without a site: what a caller that leaves cuts, and what it does not."""

import asyncio
from typing import Any, cast

import pytest

from shared.accounts import Lease
from shared.errors import UpstreamUnavailable
from shared.outputs import Work


class Site:
    """The start of an output, which waits to be let on, and what is done with it."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.accepts = asyncio.Event()
        self.started = asyncio.Event()
        self.used = asyncio.Event()
        self.cut = False
        # Nothing here asks for an account or a conversation.
        self.output = Work(cast("Lease[Any, Any]", None), self._start())

    async def _start(self) -> str:
        self.called.set()
        await self.accepts.wait()
        self.started.set()
        return "accepted"

    async def use(self) -> None:
        self.used.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # As a write that has to be finished first.
            await asyncio.sleep(0)
            self.cut = True
            raise


async def left(running: asyncio.Task[Any]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_who_leaves_during_the_start_cuts_nothing_and_nothing_more_is_done() -> None:
    site = Site()
    running = asyncio.create_task(site.output.run(site.use))
    await site.called.wait()
    await left(running)
    site.accepts.set()
    await asyncio.wait_for(site.started.wait(), 5)
    await site.output.close()
    assert site.output.value == "accepted"
    assert not site.used.is_set()


async def test_who_leaves_later_has_waited_for_the_end_of_what_was_being_done() -> None:
    site = Site()
    site.accepts.set()
    running = asyncio.create_task(site.output.run(site.use))
    await site.used.wait()
    await left(running)
    assert site.cut
    await site.output.close()


async def test_what_goes_wrong_is_raised_and_told_once() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    site = Site()
    site.accepts.set()

    async def broken() -> None:
        raise UpstreamUnavailable("broken")

    with pytest.raises(UpstreamUnavailable, match="broken"):
        await site.output.run(broken)
    await site.output.close()
    assert told == []


async def test_one_that_was_never_run_is_closed_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    site = Site()
    await site.output.close()
    assert not site.called.is_set()
    assert [str(warning.message) for warning in recwarn] == []
