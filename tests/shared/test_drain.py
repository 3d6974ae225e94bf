"""The end of a service, as a process of its own: SIGTERM with work under way."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from attrs import define

from shared.openai.errors import Draining
from shared.service import Service
from shared.sessions import Sessions
from shared.settings import Settings
from shared.terms import Credential
from tests.house import House
from tests.shared.toy import Toy, ToySession, ToySite, ask, asks, events, text_of, toy
from tests.shared.toysite import HELLO, Scene, World, refuses


@define
class Process:
    """A running service: its address, its process, a client, and the lines of its log."""

    url: str
    process: asyncio.subprocess.Process
    client: aiohttp.ClientSession
    log: list[Any]

    def post(self, body: Any, token: str = "t1") -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        return self.client.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def logged(self, event: str) -> Any:
        """Wait for a line of the log."""
        assert self.process.stderr is not None
        while line := await asyncio.wait_for(self.process.stderr.readline(), 10):
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"{event} is not in {self.log}")

    async def ended(self) -> int:
        """Wait for the end; give the exit code. Nothing may have been logged at ERROR."""
        assert self.process.stderr is not None
        rest = await asyncio.wait_for(self.process.stderr.read(), 20)
        self.log += [json.loads(line) for line in rest.splitlines()]
        assert [line for line in self.log if line["level"] == "error"] == []
        return await self.process.wait()


@asynccontextmanager
async def served(world: World, **environ: str) -> AsyncIterator[Process]:
    path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    settings = {"HOST": "127.0.0.1", "PORT": "0", "UPSTREAM_GATEWAY": world.url, **environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.shared.toy", env=path | settings, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with aiohttp.ClientSession() as client:
            running = Process("", process, client, [])
            host, port = (await running.logged("listening"))["addresses"][0]
            running.url = f"http://{host}:{port}"
            yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_streams_finish_and_nothing_is_left(loop: str) -> None:
    async with World().serve() as world, served(world, EVENT_LOOP=loop) as service:
        gate = asyncio.Event()
        world.play(Scene(gates={2: gate}), Scene(gates={0: gate}))
        world.hold_forget = asyncio.Event()
        async with service.post(asks(stream=True)) as stream:
            begun = await stream.content.readany()
            whole = asyncio.create_task(service.client.post(**request(service, asks(), "t2")))
            queued = asyncio.create_task(service.client.post(**request(service, asks(), "t1")))
            await world.until(lambda: world.running["t1"] and world.running["t2"])
            service.stop()
            assert (await service.logged("draining"))["requests"] in (2, 3)
            response = await queued
            assert (response.status, response.headers["Connection"]) == (503, "close")
            assert (await response.json())["error"]["code"] == "shutting_down"
            async with service.client.get(service.url + "/readyz") as ready:
                assert (ready.status, ready.headers["Connection"]) == (503, "close")
            async with service.post(asks(), "t3") as refused:
                assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (503, "*")
            gate.set()
            assert text_of(events(begun + await stream.read())) == "Hello world"
            assert (await whole).status == 200
        await world.until(lambda: world.forgetting.total() == 2)
        assert service.process.returncode is None
        world.hold_forget.set()
        assert await service.ended() == 0
        assert (len(world.deleted), world.conversations) == (2, {})


async def test_what_has_begun_goes_on_to_its_end() -> None:
    async with toy(RETRY_BACKOFF="0.01") as (world, house):
        gate = asyncio.Event()
        world.play(Scene(refuse=refuses("UpstreamUnavailable").refuse, head=gate), token="t1")
        world.play(Scene(refuse=refuses("AccountExpired").refuse, head=gate), token="t2")
        world.play(Scene(head=gate), token="t4")
        pictures = asyncio.create_task(ask(house, {"prompt": "p", "n": 3}, "t4", "/v1/images/generations"))
        tries = [asyncio.create_task(ask(house, token=tokens)) for tokens in ("t1", "t2,t3")]
        await world.until(lambda: len(world.tokens()) == 2 and world.tokens("draw"))
        draining = asyncio.create_task(house.service.drain())
        await asyncio.sleep(0)
        assert (await ask(house, token="t5")).status == 503
        gate.set()
        assert [(await told).status for told in tries] == [200, 200]
        assert len((await pictures).json["data"]) == 3
        await draining


def request(service: Process, body: Any, token: str) -> dict[str, Any]:
    url = f"{service.url}/v1/chat/completions"
    return {"url": url, "json": body, "headers": {"Authorization": f"Bearer {token}"}}


@asynccontextmanager
async def unread(world: World, house: House) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.Task[None]]]:
    """A large whole answer that the site has given and whose client has hardly begun to read, and a drain."""
    world.play(Scene(({"conversation": "*"}, *[{"text": "x" * 2**20}] * 20, {"finish": "stop"})))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rpartition(":")[2]))
    body = json.dumps(asks()).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer t1\r\nContent-Length: {len(body)}"
    writer.write(f"{head}\r\nHost: h\r\n\r\n".encode() + body)
    await world.until(lambda: world.deleted)
    draining = asyncio.create_task(house.service.drain())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not draining.done()
    async with asyncio.timeout(20):
        yield reader, draining
        await draining
    writer.close()


async def test_a_whole_answer_is_sent_to_its_end() -> None:
    async with toy() as (world, house), unread(world, house) as (reader, _):
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
        assert json.loads(answer)["choices"][0]["message"]["content"] == "x" * 20 * 2**20


async def test_the_end_of_a_drain_cuts_a_whole_answer_that_nobody_reads() -> None:
    async with toy() as (world, house), unread(world, house) as (reader, draining):
        house.service.cut()
        await draining
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(20 * 2**20)


async def test_what_is_being_cut_is_cut_once() -> None:
    service = Service(Toy, ToySite(), Settings())
    ending = asyncio.Event()

    async def cut_slowly() -> None:
        async with service.cuttable():
            try:
                await asyncio.Event().wait()
            finally:
                await ending.wait()

    running = asyncio.create_task(cut_slowly())
    await asyncio.sleep(0)
    for _ in range(3):
        service.cut()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    ending.set()
    with pytest.raises(Draining):
        await running


@pytest.mark.parametrize("cut", ["time-out", "second signal"])
async def test_what_does_not_finish_gets_an_error_frame(cut: str) -> None:
    timeout = "0.2" if cut == "time-out" else "60"
    async with World().serve() as world, served(world, DRAIN_TIMEOUT=timeout, HEAD_WAIT="0") as service:
        world.play(Scene(HELLO[:2], ending="stall"), Scene(HELLO[:1], ending="stall"), Scene(HELLO[:1], ending="stall"))
        async with service.post(asks(stream=True)) as begun, service.post(asks(stream=True), "t2") as silent:
            first = await begun.content.readany()
            whole = asyncio.create_task(service.client.post(**request(service, asks(), "t3")))
            await world.until(lambda: world.running["t3"])
            service.stop()
            await service.logged("draining")
            if cut == "second signal":
                service.stop()
            told = events(first + await begun.read())
            assert (text_of(told[:-1]), told[-1]["error"]["code"]) == ("Hello", "shutting_down")
            [error] = events(await silent.read())
            assert error["error"]["code"] == "shutting_down"
            assert (await whole).status == 503
        assert await service.ended() == 0
        assert (len(world.deleted), world.conversations) == (3, {})


async def test_an_idle_service_stops_at_once() -> None:
    async with World().serve() as world, served(world) as service:
        async with service.client.get(service.url + "/ping") as response:
            assert await response.text() == "pong"
        service.stop()
        assert await service.ended() == 0
        assert service.log[-1]["event"] == "stopped"


async def test_a_rotated_token_survives_the_restart(tmp_path: Any) -> None:
    async with World().serve() as world:
        world.newest["t1"] = "t1-newer"
        for _ in range(2):
            async with served(world, STATE_FILE=str(tmp_path / "state.json")) as service:
                async with service.post(asks()) as response:
                    assert response.status == 200
                service.stop()
                assert await service.ended() == 0
        assert world.tokens("session") == ["t1", "t1-newer"]


async def test_an_exchange_under_way_at_the_end_comes_home(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    close, exchange = Sessions.close, Toy.exchange
    begun, closing = asyncio.Event(), asyncio.Event()

    async def close_later(self: Sessions) -> None:
        closing.set()
        await close(self)

    async def exchange_later(self: Toy, credential: Credential) -> tuple[ToySession, Credential]:
        begun.set()
        await closing.wait()
        return await exchange(self, credential)

    monkeypatch.setattr(Sessions, "close", close_later)
    monkeypatch.setattr(Toy, "exchange", exchange_later)
    path = tmp_path / "state.json"
    async with toy(STATE_FILE=str(path)) as (world, house):
        world.newest["t1"] = "t1-newer"
        asking = asyncio.create_task(ask(house))
        await begun.wait()
        asking.cancel()
    # The old one is worth nothing any more at a site that rotates.
    assert "t1-newer" in path.read_text()


async def test_a_client_that_leaves_ends_the_call_to_the_site() -> None:
    async with World().serve() as world, served(world) as service:
        world.play(Scene(HELLO[:2], ending="stall"), Scene(HELLO[:2], ending="stall"))
        async with service.post(asks(stream=True)) as stream:
            await stream.content.readany()
            stream.close()
        await world.until(lambda: world.left == ["chat"], 2)
        whole = asyncio.create_task(service.client.post(**request(service, asks(), "t2")))
        await world.until(lambda: world.running["t2"])
        whole.cancel()
        await world.until(lambda: len(world.deleted) == 2)
        service.stop()
        assert await service.ended() == 0
        assert [line["status"] for line in service.log if line["event"] == "answered"] == [499, 499]


async def not_started(**environ: str) -> str:
    """Start one that cannot; give the one line that it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.shared.toy",
        env={"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert said.count(b"\n") == 1
    return said.decode()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_port_that_is_taken_is_said_in_one_line(loop: str) -> None:
    async with World().serve() as world, served(world) as first:
        said = await not_started(PORT=first.url.rpartition(":")[2], EVENT_LOOP=loop)
    assert said.startswith("toy: cannot listen: ")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PORT": "http"}, "PORT takes a whole number"),
        ({"HOST": "a" * 64}, "cannot listen: "),
        ({"HOST": "a" * 64, "EVENT_LOOP": "asyncio"}, "cannot listen: "),
        ({"STATE_FILE": "/nowhere/state.json"}, "STATE_FILE takes a file that can be written"),
        ({"API_KEYS": "key", "ACCOUNTS": "NO TOKEN!"}, "ACCOUNTS holds no token of this site."),
    ],
)
async def test_what_cannot_be_started_is_said_in_one_line(environ: dict[str, str], said: str) -> None:
    assert (await not_started(**environ)).startswith(f"toy: {said}")


async def test_accounts_that_can_be_none_are_counted_at_the_start() -> None:
    settings = {"API_KEYS": "key", "ACCOUNTS": "NO TOKEN!,t1"}
    async with World().serve() as world, served(world, **settings) as service:
        assert [line["count"] for line in service.log if line["event"] == "accounts_left_out"] == [1]
        async with service.post(asks(), "key") as response:
            assert response.status == 200
        service.stop()
        assert await service.ended() == 0
