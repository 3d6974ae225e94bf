"""What is no HTTP: answered like all else, and never quoted in the log."""

import asyncio
import gzip
import json
import logging
import random
from collections.abc import Iterator, Mapping
from typing import Any, cast

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from shared import server
from shared.routes.body import read_body
from shared.service import SERVICE
from tests.shared.clock import Turns
from tests.shared.toy import ask, asks, toy
from tests.shared.toysite import Scene

SECRET = "SECRETDIARY"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t1\r\n"


async def exchange(url: str, data: bytes, seconds: float = 10) -> bytes:
    """Send bytes, and read all that comes back until the connection is closed, in so many seconds."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    answer = b""
    async with asyncio.timeout(seconds):
        while part := await reader.read(65536):
            answer += part
    writer.close()
    return answer


def last(answer: bytes) -> tuple[int, Mapping[str, str], Any]:
    """Take the last answer of a connection apart: status, headers (lower-case) and JSON body."""
    head, _, body = answer[answer.rindex(b"HTTP/1.") :].partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split(" ")[1]), headers, json.loads(body)


BROKEN = {
    "no HTTP": f"{SECRET}\r\n\r\n".encode(),
    "a header without a name": HEAD + f": {SECRET}\r\n\r\n".encode(),
    "a header too long": HEAD + f"X: {SECRET * 7000}\r\n\r\n".encode(),
    "an address too long": f"GET /{SECRET * 1000} HTTP/1.1\r\nHost: h\r\n\r\n".encode(),
    "two lengths": HEAD + f"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{SECRET}".encode(),
    "a broken chunk": HEAD + f"Transfer-Encoding: chunked\r\n\r\nzz{SECRET}\r\n".encode(),
    "a length too short": HEAD + f"Content-Length: 2\r\n\r\n{{}}{SECRET} of mine\r\n\r\n".encode(),
    "an unknown version": f"GET /{SECRET} HTTP/3.7\r\nHost: h\r\n\r\n".encode(),
}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client sends, nothing of it is logged, and nothing as an error."""
    caplog.set_level("DEBUG")
    with structlog.testing.capture_logs() as lines:
        yield
    assert SECRET not in f"{lines} {caplog.text}"
    assert not [line for line in lines if line["log_level"] == "error"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_request_is_answered_in_the_envelope_and_not_quoted(data: bytes) -> None:
    async with toy() as (_, house):
        status, headers, told = last(await exchange(house.url, data))
        assert (status, told["error"]["type"]) == (400, "invalid_request_error")
        assert headers["access-control-allow-origin"] == "*"
        assert SECRET not in json.dumps(told)
        assert (await ask(house)).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("length", [20, 10**10])
async def test_a_body_that_is_not_encoded_as_it_says_is_no_fault_of_ours(encoding: str, length: int) -> None:
    async with toy() as (_, house):
        head = HEAD + f"Content-Encoding: {encoding}\r\nContent-Length: {length}\r\n\r\n".encode()
        status, _, told = last(await exchange(house.url, head + SECRET.encode().ljust(20)))
        assert (status, told["error"]["type"]) == (400 if length == 20 else 413, "invalid_request_error")


@pytest.mark.parametrize("begun", [b"", b'5\r\n{"mes\r\n'])
async def test_a_body_that_breaks_while_it_is_read_is_answered_at_once(begun: bytes) -> None:
    async with toy() as (_, house):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rpartition(":")[2]))
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + begun)
        async with asyncio.timeout(10):
            while not house.service._serving:  # noqa: ASYNC110 - until the request is being read
                await asyncio.sleep(0.005)
            writer.write(f"zz{SECRET}\r\n".encode())
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert last(answer)[0] == 400
        assert not house.service._serving


async def test_what_a_refused_request_would_still_unpack_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Any]", server.SERVER), "lingering_time", 0.2)
    async with toy() as (_, house):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\n"
        half = gzip.compress(bytes(2**20))[:500]
        # More is announced than comes.
        status, headers, told = last(await exchange(house.url, head + b"Content-Length: 1000\r\n\r\n" + half))
        assert (status, told["error"]["code"], headers["connection"]) == (401, "invalid_api_key", "close")


async def test_a_refused_request_is_answered_whatever_it_still_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Any]", server.SERVER), "lingering_time", 1.0)
    async with toy() as (_, house):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\n"
        body = gzip.compress(random.Random(1).randbytes(8 * 2**20))
        # All of it is sent before anything is read: a connection reset would lose the answer.
        answer = await exchange(house.url, head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert last(answer)[0] == 401


async def test_a_broken_request_behind_another_is_answered() -> None:
    async with toy() as (world, house):
        gate = asyncio.Event()
        world.play(Scene(head=gate))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rpartition(":")[2]))
        body = json.dumps(asks()).encode()
        writer.write(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await world.until(world.tokens)
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        # An answer on another connection: what was sent before has been read.
        assert (await ask(house, {}, None, "/nowhere")).status == 404
        writer.write(b"zzz\r\n")
        assert (await ask(house, {}, None, "/nowhere")).status == 404
        gate.set()
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert (answer[:13], last(answer)[0]) == (b"HTTP/1.1 200 ", 400)
        assert not house.service._serving


async def test_a_body_that_is_there_at_once_holds_nobody_up() -> None:
    async with toy(MAX_BODY_MB="20") as (_, house):
        content = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**24, loop=asyncio.get_running_loop())
        for _ in range(8):
            content.feed_data(bytes(2**20))
        content.feed_eof()
        app = web.Application()
        app[SERVICE] = house.service
        request = make_mocked_request("POST", "/", payload=content, app=app)
        async with Turns() as turns:
            assert len(await read_body(request)) == 8 * 2**20
        assert turns.count >= 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/nowhere"])
async def test_what_is_expected_of_the_service_in_vain_is_told_in_the_envelope(path: str) -> None:
    async with toy() as (_, house):
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: {SECRET}\r\n\r\n{{}}".encode()
        status, headers, told = last(await exchange(house.url, head))
        assert (status, told["error"]["code"]) == (417, "expectation_failed")
        assert headers["access-control-allow-origin"] == "*"


async def test_an_encoded_body_is_read() -> None:
    async with toy() as (world, house):
        body = gzip.compress(json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode())
        head = HEAD + f"Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        status, _, told = last(await exchange(house.url, head + body))
        assert (status, told["object"]) == (200, "chat.completion")
        assert world.asked[-1][0] in ("chat", "forget")


async def test_a_client_that_reads_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_TIMEOUT", 0.3)
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(2**20))
        finally:
            ended.set()

    app = web.Application()
    app.router.add_get("/", endless)
    runner = server.Runner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        _, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(20):
            await ended.wait()
        writer.close()
    finally:
        await runner.cleanup()
