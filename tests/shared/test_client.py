"""The client towards the sites, on raw sockets: what goes over the wire, and what may not."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from shared.addresses import checked_addresses
from shared.errors import UpstreamChanged, UpstreamTimeout, UpstreamUnavailable
from shared.metrics import Metrics
from shared.settings import Settings
from shared.upstream import client as client_module
from shared.upstream import json
from shared.upstream.client import Upstream, through
from tests.shared.clock import Turns
from tests.shared.origins import CLIENT_TLS, NAME, Names, serve_origin, serve_proxy, server_tls

HOSTS = frozenset({"site.test", "127.0.0.1", "localhost"})
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=x\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@define
class Wire:
    """A server that records the heads of requests, and answers as it is told."""

    answer: bytes = OK
    heads: list[str] = field(factory=list)
    bodies: list[bytes] = field(factory=list)
    gone: asyncio.Event = field(factory=asyncio.Event)
    serve: Callable[[asyncio.StreamWriter], Awaitable[Any]] | None = None
    url: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head.decode())
                length = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
                self.bodies.append(await reader.readexactly(length[0] if length else 0))
                writer.write(self.answer)
                if self.serve is not None:
                    await self.serve(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.close()


@asynccontextmanager
async def wired(answer: bytes = OK, /, **environ: str) -> AsyncIterator[tuple[Wire, Upstream]]:
    """A server on loopback, and the client with these settings; `{url}` in them is the server's."""
    wire = Wire(answer)
    server = await asyncio.start_server(wire.handle, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = Settings.read({name: value.format(url=wire.url) for name, value in environ.items()}, "toy")
    upstream = Upstream(HOSTS, settings, Metrics("toy"))
    await upstream.start()
    try:
        yield wire, upstream
    finally:
        await upstream.close()
        server.close()


GATEWAY = {"UPSTREAM_GATEWAY": "{url}"}


async def get(upstream: Upstream, url: str, **more: Any) -> Any:
    return await upstream.call("GET", url, kind="test", headers={}, **more)


@pytest.mark.parametrize(
    "url", ["https://other.test/", "https://site.test.other/", "ftp://site.test/", "https://SITE/", "/x", ""]
)
async def test_other_hosts_are_refused(url: str) -> None:
    async with wired(OK, **GATEWAY) as (wire, upstream):
        with pytest.raises(UpstreamChanged):
            await get(upstream, url)
        with pytest.raises(UpstreamChanged):
            async with upstream.stream("GET", url, kind="test", headers={}):
                pass
        assert wire.heads == []


@pytest.mark.parametrize(
    "path", ["/a%27b/%2F/+/c?x=%27&y=a+b&z=%E4%BD%A0&e=&s=/?", "/", "/x?", "/a;b,c@d:e!$&'()*", "/%zz", "//double/../x"]
)
async def test_urls_are_sent_as_written(path: str) -> None:
    async with wired(OK, **GATEWAY) as (wire, upstream):
        await get(upstream, f"https://site.test{path}")
        await upstream.fetch(f"https://files.test{path}", kind="test")
        await upstream.fetch(f"http://files.test:81{path}", kind="test")
        # An empty query is none: no site was seen to tell them apart.
        wanted = path.removesuffix("?") if path == "/x?" else path
        assert [head.split(" ")[1] for head in wire.heads] == [
            f"/https/site.test{wanted}",
            f"/https/files.test{wanted}",
            f"/https/files.test:81{wanted}",
        ]
    async with wired() as (wire, upstream):
        await get(upstream, wire.url + path)
        assert wire.heads[0].split(" ")[1] == wanted


async def test_a_files_name_may_be_written_in_any_way() -> None:
    async with wired(OK, **GATEWAY) as (wire, upstream):
        await upstream.fetch("https://files.test/你 好\r\nX: y.png?q=é", kind="test")
        assert wire.heads[0].split(" ")[1] == "/https/files.test/%E4%BD%A0%20%E5%A5%BD%0D%0AX:%20y.png?q=%C3%A9"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "//files.test/x",
        "ftp://files.test/",
        "https://",
        "https://[::1/",
        "https://u:p@files.test/",
        "https://h:99999/",
        "https://\ud800/",
    ],
)
async def test_what_is_no_address_of_a_file(url: str) -> None:
    async with wired(OK, **GATEWAY) as (wire, upstream):
        with pytest.raises(UpstreamChanged):
            await upstream.fetch(url, kind="test")
        assert wire.heads == []


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/", "https://169.254.169.254/", "http://[::1]/", "https://2130706433/"]
)
async def test_a_file_at_a_private_address_is_refused(url: str) -> None:
    async with wired() as (_, upstream):
        with pytest.raises(UpstreamChanged, match="not fetched"):
            await upstream.fetch(url, kind="test")


async def test_a_file_is_fetched_by_https_only() -> None:
    seen = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readexactly(1))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.2:{port}/x"
    async with wired() as (_, upstream):
        with pytest.raises(UpstreamChanged):
            await upstream.fetch(url, kind="test")
        assert not seen.done()
    async with wired(ALLOW_PRIVATE_URLS="1") as (_, upstream):
        with pytest.raises(UpstreamUnavailable):
            await upstream.fetch(url, kind="test")
    assert await seen == b"\x16"  # a TLS handshake
    server.close()


@pytest.mark.parametrize("through_a_proxy", [False, True])
async def test_a_file_is_fetched_from_the_address_that_was_checked_by_its_name(
    through_a_proxy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.0.0.1"])
    monkeypatch.setattr(client_module, "checked_addresses", partial(checked_addresses, resolve=names))
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", CLIENT_TLS)
    async with serve_origin(server_tls(tmp_path)) as origin, serve_proxy() as proxy:
        origin.gives("/{any}", b"picture")
        proxy.leads_to = origin.port
        environ = {"OUTBOUND_PROXY": f"http://127.0.0.1:{proxy.port}"} if through_a_proxy else {}
        async with wired(ALLOW_PRIVATE_URLS="1", **environ) as (_, upstream):
            url = origin.url("/a%27b/c.png?sign=%2B+%27", NAME, "https")
            assert (await upstream.fetch(url, kind="test", headers={"X-A": "b"})).body == b"picture"
        [request] = origin.asked
        assert request.raw_path == "/a%27b/c.png?sign=%2B+%27"
        assert (request.headers["Host"], request.headers["X-A"]) == (f"{NAME}:{origin.port}", "b")
        # Asked once: a second answer may be another.
        assert names.asked == [NAME]
        connects = [head.split(" ")[:2] for head in proxy.heads]
        assert connects == ([["CONNECT", f"127.0.0.1:{origin.port}"]] if through_a_proxy else [])


async def test_headers_are_the_providers_alone() -> None:
    async with wired() as (wire, upstream):
        await upstream.call("POST", wire.url + "/", kind="test", headers={"X-Own": "1"}, body=b"{}")
        names = {line.partition(":")[0].lower() for line in wire.heads[0].split("\r\n")[1:] if line}
        assert names == {"host", "x-own", "content-length"}
        assert wire.bodies == [b"{}"]


async def test_no_cookies_are_kept_and_no_redirect_is_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with wired(answer) as (wire, upstream):
        # Cookie jars take nothing from bare addresses: that would prove nothing.
        url = wire.url.replace("127.0.0.1", "localhost") + "/"
        for _ in range(2):
            assert (await get(upstream, url)).status == 302
        assert len(wire.heads) == 2
        assert not any("cookie" in head.lower() for head in wire.heads)


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with wired() as (wire, upstream):
        assert (await get(upstream, wire.url + "/")).json() == {}


async def test_calls_go_through_the_outbound_proxy() -> None:
    async with wired(OUTBOUND_PROXY="{url}") as (wire, upstream):
        assert (await get(upstream, "http://site.test/a%27b")).status == 200
        assert wire.heads[0].startswith("GET http://site.test/a%27b HTTP/1.1")
        wire.answer = b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(UpstreamUnavailable):
            await get(upstream, "https://site.test/x")
        assert wire.heads[1].startswith("CONNECT site.test:443 ")
    async with wired(OK, OUTBOUND_PROXY="http://127.0.0.1:1", **GATEWAY) as (wire, upstream):
        assert (await get(upstream, "https://site.test/x")).status == 200


@pytest.mark.parametrize(("method", "told"), [("GET", False), ("DELETE", False), ("PUT", True), ("POST", True)])
async def test_a_length_of_nothing_is_told_as_browsers_do(method: str, told: bool) -> None:
    async with wired() as (wire, upstream):
        await upstream.call(method, wire.url + "/", kind="test", headers={})
        assert ("Content-Length: 0" in wire.heads[0]) is told


async def test_answers() -> None:
    async with wired() as (wire, upstream):
        answer = await get(upstream, wire.url + "/")
        assert (answer.status, answer.content_type, answer.body) == (200, "application/json", b"{}")
        wire.answer = b"HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\n<html>"
        answer = await get(upstream, wire.url + "/")
        assert (answer.status, answer.content_type) == (500, "")
        with pytest.raises(UpstreamUnavailable, match="status 500"):
            answer.json()


async def test_long_headers_of_guards_are_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Security-Policy: %b\r\nContent-Length: 2\r\n\r\n{}" % (b"x" * 20_000)
    async with wired(head) as (wire, upstream):
        assert (await get(upstream, wire.url + "/")).json() == {}


async def test_an_answer_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWER_LIMIT", 1000)
    async with wired(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, **GATEWAY) as (_, upstream):
        with pytest.raises(UpstreamChanged):
            await get(upstream, "https://site.test/")
        with pytest.raises(UpstreamChanged):
            await upstream.fetch("https://files.test/", kind="test", limit=1000)
        assert len((await upstream.fetch("https://files.test/", kind="test", limit=1001)).body) == 1001
        async with upstream.stream("GET", "https://site.test/", kind="test", headers={}) as call:
            with pytest.raises(UpstreamChanged):
                await call.answer()


async def test_a_site_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "HEAD_TIMEOUT", 0.05)
    async with wired(b"") as (wire, upstream):
        with pytest.raises(UpstreamTimeout):
            async with upstream.stream("GET", wire.url + "/", kind="test", headers={}):
                pass
        with pytest.raises(UpstreamTimeout):
            await get(upstream, wire.url + "/", timeout=0.05)
        wire.answer = OK[:-1]
        with pytest.raises(UpstreamTimeout):
            await get(upstream, wire.url + "/", timeout=0.05)
        monkeypatch.setattr(client_module, "CALL_TIMEOUT", 0.05)
        async with upstream.stream("GET", wire.url + "/", kind="test", headers={}) as call:
            with pytest.raises(UpstreamTimeout):
                await call.answer()


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
async def test_a_site_that_breaks_off(answer: bytes) -> None:
    async with wired(answer) as (wire, upstream):

        async def close(writer: asyncio.StreamWriter) -> None:
            writer.close()

        wire.serve = close
        with pytest.raises(UpstreamUnavailable):
            await get(upstream, wire.url + "/")


async def test_nobody_at_home() -> None:
    async with wired() as (_, upstream):
        with pytest.raises(UpstreamUnavailable, match="could not be reached"):
            await get(upstream, "http://127.0.0.1:1/")


async def test_the_idle_time_out_runs_only_while_waiting() -> None:
    async with wired(HEAD + b"1\r\na\r\n", UPSTREAM_IDLE_TIMEOUT="0.1") as (wire, upstream):
        go_on = asyncio.Event()

        async def more(writer: asyncio.StreamWriter) -> None:
            await go_on.wait()
            writer.write(b"1\r\nb\r\n")

        wire.serve = more
        async with upstream.stream("GET", wire.url + "/", kind="test", headers={}) as call:
            assert await call.read() == b"a"
            # Longer than the time-out: who reads slowly is not the site's fault.
            await asyncio.sleep(0.25)
            reading = asyncio.create_task(call.read())
            await asyncio.sleep(0)
            go_on.set()
            assert await reading == b"b"
            with pytest.raises(UpstreamTimeout):
                await call.read()
        await asyncio.wait_for(wire.gone.wait(), 5)


async def test_what_arrived_before_a_break_is_read() -> None:
    async with wired(HEAD + b"3\r\nabc\r\n") as (wire, upstream):

        async def close(writer: asyncio.StreamWriter) -> None:
            writer.close()

        wire.serve = close
        async with upstream.stream("GET", wire.url + "/", kind="test", headers={}) as call:
            while call._response.content.exception() is None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)
            assert await call.read() == b"abc"
            for _ in range(2):
                with pytest.raises(UpstreamUnavailable):
                    await call.read()


async def test_others_have_their_turn_while_much_is_unpacked() -> None:
    packed = gzip.compress(b"\n" * 2**23)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with wired(head + packed) as (wire, upstream):
        for read in (stream_all, get):
            async with Turns() as turns:
                await read(upstream, wire.url + "/")
            assert turns.count > 20


async def stream_all(upstream: Upstream, url: str) -> None:
    async with upstream.stream("GET", url, kind="test", headers={}) as call:
        while await call.read():
            pass


async def test_more_than_a_hundred_streams_at_once() -> None:
    async with wired(HEAD) as (wire, upstream), AsyncExitStack() as streams:
        wire.serve = asyncio.StreamWriter.drain
        for _ in range(101):
            stream = upstream.stream("GET", wire.url + "/", kind="test", headers={})
            await asyncio.wait_for(streams.enter_async_context(stream), 5)


async def test_leaving_a_stream_ends_its_call() -> None:
    async with wired(HEAD + b"1\r\na\r\n") as (wire, upstream):
        async with upstream.stream("GET", wire.url + "/", kind="test", headers={}) as call:
            await call.read()
        await asyncio.wait_for(wire.gone.wait(), 0.5)


async def test_a_body_that_was_read_leaves_its_connection_for_the_next() -> None:
    async with wired(HEAD + b"1\r\na\r\n0\r\n\r\n") as (wire, upstream):
        for _ in range(2):
            async with upstream.stream("GET", wire.url + "/", kind="test", headers={}) as call:
                assert (await call.read(), await call.read(), await call.read()) == (b"a", b"", b"")
        assert not wire.gone.is_set()


def test_gateway_addresses() -> None:
    assert through("http://h:1", "https://a.b/c%27?d=+") == "http://h:1/https/a.b/c%27?d=+"


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', "12345678901234567890123"])
def test_json_that_orjson_refuses(text: str) -> None:
    assert json.loads(json.dumps(json.loads(text))) == json.loads(text.encode())


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[Infinity]", b"\xff", b"[" * 100_000])
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json.loads(text)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_was_closed_after_a_reply_is_not_used_again(method: str) -> None:
    async with wired() as (wire, upstream):

        async def close(writer: asyncio.StreamWriter) -> None:
            writer.close()

        wire.serve = close
        for _ in range(20):
            assert (await upstream.call(method, wire.url + "/", kind="test", headers={}, body=b"")).status == 200


async def test_a_call_is_never_sent_twice() -> None:
    async with wired() as (wire, upstream):

        async def only_once(writer: asyncio.StreamWriter) -> None:
            wire.answer = b""
            if len(wire.heads) > 1:
                writer.close()

        wire.serve = only_once
        await get(upstream, wire.url + "/")
        with pytest.raises(UpstreamUnavailable):
            await get(upstream, wire.url + "/")
        assert len(wire.heads) == 2
