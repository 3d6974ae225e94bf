import asyncio
import base64
import gzip
import re
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared import attachments
from shared.attachments import Attachment, Fetcher
from shared.dataurls import SLICE, read_data_url
from shared.errors import AttachmentRefused, AttachmentTooLarge
from shared.openai.messages import FilePart
from shared.settings import Settings
from tests.shared.clock import Turns
from tests.shared.origins import (
    CLIENT_TLS,
    NAME,
    Names,
    Origin,
    Proxy,
    raw_server,
    serve_origin,
    serve_proxy,
    server_tls,
)

MB = 1024 * 1024
PUBLIC = "93.184.216.34"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with serve_origin() as served:
        yield served


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Origin]:
    async with serve_origin(server_tls(tmp_path)) as served:
        yield served


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with serve_proxy() as served:
        yield served


LOOPBACK = Names(["127.0.0.1"])
Make = Callable[..., Awaitable[Fetcher]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        async def make(resolve: Any = LOOPBACK, mb: int = 1, private: bool = True, proxy: Any = None) -> Fetcher:
            settings = Settings(
                max_attachment_mb=mb,
                allow_private_urls=private,
                outbound_proxy=proxy and f"http://user:pass@127.0.0.1:{proxy.port}",
            )
            fetcher = Fetcher(settings, resolve=resolve, tls=CLIENT_TLS)
            await fetcher.start()
            stack.push_async_callback(fetcher.close)
            return fetcher

        yield make


def part(url: str, name: str = "") -> FilePart:
    return FilePart("file", url, name)


# The way of a file


async def test_a_file_is_fetched_with_an_honest_plain_request(origin: Origin, make: Make) -> None:
    origin.gives("/docs/report.pdf", b"%PDF-1.4 ...", "text/plain", Set_Cookie="a=b")
    fetcher = await make()
    url = origin.url("/docs/report.pdf?sign=a%27b&x=1#part")
    for _ in range(2):
        assert await fetcher.fetch(part(url), 1) == Attachment("report.pdf", "application/pdf", b"%PDF-1.4 ...")
    for request in origin.asked:
        assert request.raw_path == "/docs/report.pdf?sign=a%27b&x=1"
        assert dict(request.headers) == {
            "Host": f"127.0.0.1:{origin.port}",
            "User-Agent": "chat-services",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }


@pytest.mark.parametrize(
    ("path", "headers", "given", "name"),
    [
        ("/a.png?x=/b.gif", {}, "", "a.png"),
        ("/%E4%BD%A0%20%2F..%2Fa.png", {}, "", "a.png"),
        ("/你 好.png", {}, "", "你 好.png"),
        ("/a.png", {"Content_Disposition": "attachment; filename*=UTF-8''%E4%BD%A0.png"}, "", "你.png"),
        ("/a.png", {"Content_Disposition": 'attachment; filename="b"'}, "", "b.png"),
        ("/a.png", {"Content_Disposition": 'attachment; filename="b.png"'}, "c", "c.png"),
        ("/download", {}, "", "download.png"),
        ("/image.php?id=3", {}, "", "image.php.png"),
    ],
)
async def test_name(origin: Origin, make: Make, path: str, headers: dict[str, Any], given: str, name: str) -> None:
    fetcher = await make()

    origin.gives("/{any}", PNG, **headers)
    assert (await fetcher.fetch(part(origin.url(path), given), 1)).name == name


async def test_without_any_name_one_is_made(origin: Origin, make: Make) -> None:
    origin.gives("/", PNG)
    found = await (await make()).fetch(part(origin.url("/")), 1)
    assert re.fullmatch(r"[0-9a-f-]{36}\.png", found.name)


async def test_a_data_url_is_a_file(make: Make) -> None:
    fetcher = await make()
    found = await fetcher.fetch(part("  data:image/jpeg;base64," + base64.b64encode(PNG).decode() + "\n"), 1)
    assert (found.type, found.data) == ("image/png", PNG)
    assert re.fullmatch(r"[0-9a-f-]{36}\.png", found.name)
    named = await fetcher.fetch(part("data:,a%2Cb", "table.csv"), 1)
    assert named == Attachment("table.csv", "text/csv", b"a,b")


@pytest.mark.parametrize(("length", "aside"), [(SLICE // 4 * 3 - 64, False), (20 * MB, True)])
async def test_large_base64_is_decoded_aside(
    make: Make, monkeypatch: pytest.MonkeyPatch, length: int, aside: bool
) -> None:
    threads: list[str] = []

    def watched(url: str, limit: int) -> Any:
        threads.append(threading.current_thread().name)
        return read_data_url(url, limit)

    monkeypatch.setattr(attachments, "read_data_url", watched)
    data = bytes(length)
    url = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    found = await (await make(mb=20)).fetch(part(url), 1)
    assert found.data == data
    assert [name.startswith("data-url") for name in threads] == [aside]


@pytest.mark.parametrize("scheme", ["gzip", "deflate"])
async def test_an_encoding_nobody_asked_for_is_undone(origin: Origin, make: Make, scheme: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        response = web.Response(body=PNG * 100)
        response.enable_compression(web.ContentCoding[scheme])
        return response

    origin.answers["/a.png"] = answer
    assert (await (await make()).fetch(part(origin.url("/a.png")), 1)).data == PNG * 100


# Hosts and addresses


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://files.example.test/a", "only http, https and data URLs"),
        ("file:///etc/passwd", "only http, https and data URLs"),
        ("gopher://127.0.0.1:6379/_x", "only http, https and data URLs"),
        ("//files.example.test/a", "only http, https and data URLs"),
        ("just text", "only http, https and data URLs"),
        ("", "only http, https and data URLs"),
        ("http:///a", "names no host"),
        ("http://", "cannot be read|names no host"),
        ("http://files.example.test:0/a", "names no host"),
        ("http://files.example.test:99999/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http://\ud800.example/", "cannot be read"),
        ("http://files.example.test/\ud800", "cannot be read"),
        ("http://user:secret@files.example.test/a", "user name or password"),
        ("http://@files.example.test/a", "user name or password"),
        ("http://files.example.test/" + "a" * 20_000, "too long"),
        ("http://good.example\\@127.0.0.1/", "cannot be read|user name"),
        *(
            (f"http://{host}/", "neither a name nor a plain")
            for host in ("2130706433", "0x7f.1", "0177.0.0.1", "127.1")
        ),
        ("http://%31%32%37.0.0.1/", "neither a name nor a plain"),
        *(
            (f"http://{host}/latest", "not on the public internet")
            for host in (
                *("127.0.0.1", "127.0.0.1.", "127。0。0。1", "１２７.0.0.1", "[::1]", "[::ffff:7f00:1]", "0.0.0.0"),
                *("169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::a00:1]", "[2002:7f00:1::]", "10.1.2.3:8080"),
            )
        ),
    ],
)
async def test_urls_that_may_not_be_called(make: Make, url: str, why: str) -> None:
    names = Names([PUBLIC])
    fetcher = await make(names, private=False)
    with pytest.raises(AttachmentRefused, match=why):
        await fetcher.fetch(part(url), 1)
    assert names.asked == []


@pytest.mark.parametrize("host", ["localhost", "localhost.", "ⓛocalhost", "rebound.example"])
@pytest.mark.parametrize("answer", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1", PUBLIC], ["::ffff:10.0.0.1"]])
async def test_a_name_with_any_private_address_is_refused(
    make: Make, origin: Origin, host: str, answer: list[str]
) -> None:
    fetcher = await make(Names(answer), private=False)
    with pytest.raises(AttachmentRefused, match="not on the public internet"):
        await fetcher.fetch(part(origin.url("/", host)), 1)
    assert origin.asked == []


async def test_an_unknown_name_is_refused(make: Make) -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError

    with pytest.raises(AttachmentRefused, match=r"Attachment 3 \(a\.example\): its host name is not known\."):
        await (await make(unknown)).fetch(part("https://a.example/secret?key=1"), 3)


async def test_the_connection_goes_to_the_checked_address(make: Make, proxy: Proxy, origin: Origin) -> None:
    """A name that is public when it is checked and private when it is asked again gains nothing."""
    origin.gives("/a.png", PNG)
    proxy.leads_to = origin.port
    names = Names([PUBLIC], ["127.0.0.1"])
    fetcher = await make(names, private=False, proxy=proxy)
    await fetcher.fetch(part("http://rebound.example/a.png?x=1"), 1)
    assert names.asked == ["rebound.example"]
    assert proxy.heads[0].startswith(f"GET http://{PUBLIC}/a.png?x=1 HTTP/1.1\r\n")
    assert origin.asked[0].headers["Host"] == "rebound.example"
    with pytest.raises(AttachmentRefused, match="not on the public internet"):
        await fetcher.fetch(part("http://rebound.example/a.png"), 1)
    assert len(proxy.heads) == 1


async def test_the_next_address_is_tried(make: Make, origin: Origin) -> None:
    origin.gives("/a.png", PNG)
    fetcher = await make(Names(["::1", "127.0.0.2", "127.0.0.1"]))
    assert (await fetcher.fetch(part(origin.url("/a.png", "two.example")), 1)).data == PNG
    assert origin.asked[0].headers["Host"] == f"two.example:{origin.port}"


# TLS and the proxy


@pytest.mark.parametrize("host", [NAME, NAME + ".", "bücher.example.test"])
async def test_tls_verifies_the_name_not_the_address(make: Make, secure: Origin, host: str) -> None:
    secure.gives("/a.png", PNG)
    found = await (await make()).fetch(part(secure.url("/a.png", host, "https")), 1)
    assert found.data == PNG


@pytest.mark.parametrize("host", ["other.example.test", "127.0.0.1"])
async def test_a_certificate_for_another_name_is_refused(make: Make, secure: Origin, host: str) -> None:
    with pytest.raises(AttachmentRefused, match="certificate of its server is not valid"):
        await (await make()).fetch(part(secure.url("/a.png", host, "https")), 1)
    assert secure.asked == []


async def test_through_the_proxy_tls_goes_to_the_checked_address(make: Make, proxy: Proxy, secure: Origin) -> None:
    secure.gives("/a.png", PNG)
    proxy.leads_to = secure.port
    fetcher = await make(Names([PUBLIC]), private=False, proxy=proxy)
    assert (await fetcher.fetch(part(f"https://{NAME}/a.png"), 1)).data == PNG
    assert proxy.heads[0].startswith(f"CONNECT {PUBLIC}:443 HTTP/1.1\r\n")
    assert "\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in proxy.heads[0]
    assert secure.asked[0].headers["Host"] == NAME
    assert "Proxy-Authorization" not in secure.asked[0].headers
    with pytest.raises(AttachmentRefused, match="certificate of its server"):
        await fetcher.fetch(part("https://other.example.test/a.png"), 1)


async def test_an_ipv6_address_is_written_in_brackets(make: Make, proxy: Proxy, secure: Origin) -> None:
    secure.gives("/a.png", PNG)
    proxy.leads_to = secure.port
    fetcher = await make(Names(["2606:4700::1"]), private=False, proxy=proxy)
    await fetcher.fetch(part(f"https://{NAME}:8443/a.png"), 1)
    assert proxy.heads[0].startswith("CONNECT [2606:4700::1]:8443 HTTP/1.1\r\n")
    assert secure.asked[0].headers["Host"] == f"{NAME}:8443"


async def test_a_proxy_that_cannot_reach_one_address_is_asked_for_the_next(
    make: Make, proxy: Proxy, secure: Origin
) -> None:
    secure.gives("/a.png", PNG)
    proxy.leads_to, proxy.refuses = secure.port, {"1.1.1.1:443"}
    fetcher = await make(Names(["1.1.1.1", PUBLIC]), private=False, proxy=proxy)
    await fetcher.fetch(part(f"https://{NAME}/a.png"), 1)
    assert [head.split(" ", 2)[1] for head in proxy.heads] == ["1.1.1.1:443", f"{PUBLIC}:443"]
    proxy.refuses = {"1.1.1.1:443", f"{PUBLIC}:443"}
    with pytest.raises(AttachmentRefused, match="the proxy could not reach its server"):
        await fetcher.fetch(part(f"https://{NAME}/a.png"), 1)


async def test_a_proxy_that_is_not_there(make: Make, unused_tcp_port: int) -> None:
    fetcher = await make(Names([PUBLIC]), private=False, proxy=Proxy(port=unused_tcp_port))
    with pytest.raises(AttachmentRefused, match="the proxy could not be reached"):
        await fetcher.fetch(part(f"https://{NAME}/a.png"), 1)


async def test_the_proxy_of_the_environment_is_not_used(
    make: Make, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    origin.gives("/a.png", PNG)
    await (await make()).fetch(part(origin.url("/a.png")), 1)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(origin: Origin, make: Make, status: int) -> None:
    origin.gives("/dir/a.png", b"", status=status, Location="../b%27c?x=%27")
    origin.gives("/b'c", PNG)
    found = await (await make()).fetch(part(origin.url("/dir/a.png")), 1)
    assert (found.name, found.data) == ("a.png", PNG)
    assert origin.asked[1].raw_path == "/b%27c?x=%27"


async def test_the_last_url_names_the_file_when_the_first_does_not(origin: Origin, make: Make) -> None:
    origin.gives("/download", b"", status=302, Location="/store/report.png")
    origin.gives("/store/report.png", PNG)
    assert (await (await make()).fetch(part(origin.url("/download")), 1)).name == "report.png"


@pytest.mark.parametrize(("hops", "works"), [(5, True), (6, False)])
async def test_at_most_five_redirects(origin: Origin, make: Make, hops: int, works: bool) -> None:
    for hop in range(hops):
        origin.gives(f"/{hop}", b"", status=302, Location=f"/{hop + 1}")
    origin.gives(f"/{hops}", PNG)
    fetcher = await make()
    if works:
        assert (await fetcher.fetch(part(origin.url("/0")), 1)).data == PNG
    else:
        with pytest.raises(AttachmentRefused, match="redirects more than 5 times"):
            await fetcher.fetch(part(origin.url("/0")), 1)
    assert len(origin.asked) == 6


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "not on the public internet"),
        ("http://127.0.0.1:6379/", "not on the public internet"),
        ("//10.0.0.1/", "not on the public internet"),
        ("http://2130706433/", "neither a name nor a plain"),
        ("http://inner.example/", "not on the public internet"),
        ("http://user:pass@files.example.test/", "user name or password"),
        ("file:///etc/passwd", "only http, https"),
        ("data:text/plain,x", "only http, https"),
    ],
)
async def test_each_hop_is_checked_again(make: Make, proxy: Proxy, origin: Origin, location: str, why: str) -> None:
    origin.gives("/a.png", b"", status=302, Location=location)
    proxy.leads_to = origin.port
    fetcher = await make(Names([PUBLIC], ["192.168.1.1"]), private=False, proxy=proxy)
    with pytest.raises(AttachmentRefused, match=why):
        await fetcher.fetch(part(f"http://{NAME}/a.png"), 1)
    assert len(proxy.heads) == len(origin.asked) == 1


async def test_a_redirect_to_nowhere(origin: Origin, make: Make) -> None:
    origin.gives("/a", b"", status=302)
    with pytest.raises(AttachmentRefused, match="answered with status 302"):
        await (await make()).fetch(part(origin.url("/a")), 1)


@pytest.mark.parametrize("location", ["http://[bad", "http://a]b/", "//[::1", "http://a℀b.com/"])
async def test_a_redirect_to_what_is_no_url(origin: Origin, make: Make, location: str) -> None:
    origin.gives("/a", b"", status=302, Location=location)
    with pytest.raises(AttachmentRefused, match="URL"):
        await (await make()).fetch(part(origin.url("/a")), 1)


# Size and time


@pytest.mark.parametrize(("size", "fits"), [(MB, True), (MB + 1, False)])
@pytest.mark.parametrize("announced", [True, False])
async def test_the_limit_holds_announced_or_not(
    origin: Origin, make: Make, size: int, fits: bool, announced: bool
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = size if announced else None
        await response.prepare(request)
        for at in range(0, size, 2**16):
            await response.write(bytes(min(2**16, size - at)))
        return response

    origin.answers["/a"] = answer
    fetcher = await make()
    if fits:
        assert len((await fetcher.fetch(part(origin.url("/a")), 1)).data) == size
    else:
        with pytest.raises(AttachmentTooLarge, match=r"^Attachment 3 \(127\.0\.0\.1\): more than 1 MB") as error:
            await fetcher.fetch(part(origin.url("/a")), 3)
        assert error.value.status == 413


async def test_what_is_announced_too_large_is_not_read(make: Make) -> None:
    fetcher = await make()
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", stays=True) as address:
        with pytest.raises(AttachmentTooLarge):
            await fetcher.fetch(part(address), 1)


async def test_a_body_without_end_is_left_at_the_limit(origin: Origin, make: Make) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(2**16))
            sent += 2**16

    origin.answers["/a"] = answer
    with pytest.raises(AttachmentTooLarge):
        await (await make()).fetch(part(origin.url("/a")), 1)
    assert sent < 64 * MB


async def test_others_have_their_turn_while_much_is_unpacked(origin: Origin, make: Make) -> None:
    origin.gives("/a", gzip.compress(bytes(16 * MB)), Content_Encoding="gzip")
    fetcher = await make(mb=20)
    async with Turns() as turns:
        assert len((await fetcher.fetch(part(origin.url("/a")), 1)).data) == 16 * MB
    assert turns.count > 20


async def test_a_gzip_bomb_is_inflated_only_up_to_the_limit(origin: Origin, make: Make) -> None:
    bomb = gzip.compress(bytes(200 * MB), 9)
    origin.gives("/a", bomb, Content_Encoding="gzip")
    fetcher = await make()
    tracemalloc.start()
    try:
        with pytest.raises(AttachmentTooLarge, match="more than 1 MB"):
            await fetcher.fetch(part(origin.url("/a")), 1)
        assert tracemalloc.get_traced_memory()[1] < 8 * MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "proper HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab and more", "proper HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "proper HTTP"),
        (b"", "could not be reached, or broke off"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered with status 404"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "answered with status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "it is empty"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "it is empty"),
    ],
)
async def test_broken_answers_are_refusals(make: Make, answer: bytes, why: str) -> None:
    fetcher = await make()
    async with raw_server(answer) as address:
        with pytest.raises(AttachmentRefused, match=why):
            await fetcher.fetch(part(address + "/a.png"), 1)


async def test_a_closed_port_is_a_refusal(make: Make, unused_tcp_port: int) -> None:
    with pytest.raises(AttachmentRefused, match="could not be reached"):
        await (await make()).fetch(part(f"http://127.0.0.1:{unused_tcp_port}/"), 1)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a_silent_server_is_left_in_time(make: Make, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(attachments, "TOTAL_TIMEOUT", 0.1)
    fetcher = await make()
    async with raw_server(head, stays=True) as address:
        with pytest.raises(AttachmentRefused, match="did not answer in time"):
            await fetcher.fetch(part(address), 1)


async def test_a_body_that_drips_is_left_in_time(origin: Origin, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    origin.answers["/a"] = answer
    monkeypatch.setattr(attachments, "TOTAL_TIMEOUT", 0.2)
    with pytest.raises(AttachmentRefused, match="did not answer in time"):
        await (await make()).fetch(part(origin.url("/a")), 1)


# Errors


async def test_an_error_names_the_place_and_the_reason_and_no_secret(origin: Origin, make: Make) -> None:
    with pytest.raises(AttachmentRefused) as error:
        await (await make()).fetch(part(origin.url("/path-secret/a.png?key=query-secret")), 2)
    assert error.value.message == "Attachment 2 (127.0.0.1): its server answered with status 404."
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    with pytest.raises(AttachmentRefused) as error:
        await (await make()).fetch(part("data:text/plain;base64,c2VjcmV0*"), 1)
    assert error.value.message == "Attachment 1: the data of its data URL cannot be decoded."
