import asyncio

import pytest

from shared import attachments
from shared.attachments import NONE, Attached, Attachment, Fetcher
from shared.errors import AttachmentTooLarge, SiteError
from shared.openai.messages import FilePart
from shared.openai.requests import ChatRequest, VideoRequest
from shared.settings import Settings

MB = 1024 * 1024


class Shelf(Fetcher):
    """A fetcher whose files come when they are let; `open` and `most` count those under way."""

    def __init__(self, mb: int = 1) -> None:
        super().__init__(Settings(max_attachment_mb=mb))
        self.gates: dict[str, asyncio.Event] = {}
        self.fails: dict[str, SiteError] = {}
        self.sizes: dict[str, int] = {}
        self.fetched: list[str] = []
        self.cancelled: list[str] = []
        self.open = self.most = 0

    async def fetch(self, part: FilePart, position: int) -> Attachment:
        self.fetched.append(part.url)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0)
            if gate := self.gates.get(part.url):
                await gate.wait()
            if fault := self.fails.get(part.url):
                raise fault
        except asyncio.CancelledError:
            self.cancelled.append(part.url)
            raise
        finally:
            self.open -= 1
        return Attachment(f"{position}-{part.url}", "text/plain", bytes(self.sizes.get(part.url, 1)))


def files(*urls: str) -> list[FilePart]:
    return [FilePart("file", url) for url in urls]


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_files_are_fetched_once_side_by_side_in_order() -> None:
    shelf = Shelf()
    shelf.gates["a"] = asyncio.Event()
    attached = Attached(shelf, files("a", "b", "c"))
    first, second = asyncio.create_task(attached.fetch()), asyncio.create_task(attached.fetch())
    await turns()
    shelf.gates["a"].set()
    assert [file.name for file in await first] == ["1-a", "2-b", "3-c"]
    assert await second is await first is await attached.fetch()
    assert shelf.fetched == ["a", "b", "c"]


async def test_only_a_few_files_are_fetched_at_once() -> None:
    shelf = Shelf()
    await Attached(shelf, files(*map(str, range(20)))).fetch()
    assert shelf.most == attachments.AT_ONCE


async def test_the_first_failure_cancels_the_rest_and_is_not_kept() -> None:
    shelf = Shelf()
    shelf.gates["a"] = asyncio.Event()
    shelf.fails["b"] = AttachmentTooLarge("b")
    attached = Attached(shelf, files("a", "b"))
    with pytest.raises(AttachmentTooLarge, match="b"):
        await attached.fetch()
    assert shelf.cancelled == ["a"]
    shelf.gates.clear()
    shelf.fails.clear()
    assert len(await attached.fetch()) == 2


async def test_a_caller_that_leaves_takes_the_fetching_along() -> None:
    shelf = Shelf()
    shelf.gates["a"] = asyncio.Event()
    task = asyncio.create_task(Attached(shelf, files("a", "b")).fetch())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shelf.cancelled == ["a"]


@pytest.mark.parametrize(("last", "fits"), [(MB, True), (MB + 1, False)])
async def test_the_files_of_one_request_have_a_limit_together(last: int, fits: bool) -> None:
    shelf = Shelf()
    shelf.sizes = {"a": MB, "b": MB, "c": MB, "d": last}
    attached = Attached(shelf, files("a", "b", "c", "d"))
    if fits:
        await attached.fetch()
    else:
        with pytest.raises(AttachmentTooLarge, match="attachments together: more than 4 MB"):
            await attached.fetch()


async def test_files_are_uploaded_once_per_account_in_order() -> None:
    shelf = Shelf()
    attached = Attached(shelf, files("a", "b"))
    calls: list[str] = []

    async def upload(file: Attachment) -> str:
        calls.append(file.name)
        await turns(3 - len(calls))
        return file.name.upper()

    assert await attached.uploaded("k1", upload) == ["1-A", "2-B"]
    assert await attached.uploaded("k1", upload) == ["1-A", "2-B"]
    assert calls == ["1-a", "2-b"]
    assert await attached.uploaded("k2", upload) == ["1-A", "2-B"]
    assert calls == ["1-a", "2-b"] * 2
    assert shelf.fetched == ["a", "b"]


async def test_only_a_few_files_are_uploaded_at_once() -> None:
    running = most = 0

    async def upload(file: Attachment) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns(3)
        running -= 1

    await Attached(Shelf(), files(*map(str, range(9)))).uploaded("k", upload)
    assert most == attachments.AT_ONCE


async def test_after_a_failure_running_uploads_end_none_begins_and_the_rest_is_uploaded_next_time() -> None:
    attached = Attached(Shelf(), files(*map(str, range(7))))
    begun: list[str] = []
    ended: list[str] = []
    broken = True

    async def upload(file: Attachment) -> str:
        begun.append(file.name)
        await turns(1)
        if file.name == "2-1" and broken:
            raise SiteError("no")
        await turns()
        ended.append(file.name)
        return file.name

    with pytest.raises(SiteError, match="no"):
        await attached.uploaded("k", upload)
    assert begun == ["1-0", "2-1", "3-2", "4-3"]
    assert ended == ["1-0", "3-2", "4-3"]
    broken = False
    assert await attached.uploaded("k", upload) == [f"{at + 1}-{at}" for at in range(7)]
    assert begun[4:] == ["2-1", "5-4", "6-5", "7-6"]


async def test_a_caller_that_leaves_takes_its_uploads_along() -> None:
    left: list[str] = []

    async def upload(file: Attachment) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(2)
            left.append(file.name)

    task = asyncio.create_task(Attached(Shelf(), files("a", "b")).uploaded("k", upload))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left == ["1-a", "2-b"]


async def test_a_request_without_files() -> None:
    async def upload(file: Attachment) -> None:
        raise AssertionError

    for attached in (NONE, Attached(Shelf(), ())):
        assert not attached
        assert await attached.fetch() == ()
        assert await attached.uploaded("k", upload) == []
    assert Attached(Shelf(), files("a"))
    assert ChatRequest("m", ()).attached is VideoRequest("p").attached is NONE
