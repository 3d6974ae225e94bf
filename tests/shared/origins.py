"""Servers of files, a proxy and a resolver, all on this machine, for the tests of attachments."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field

NAME = "files.example.test"

# A certificate for NAME that signs itself, and its key: for these tests alone, valid from 2020 to 2120.
CERTIFICATE = """
MIIBpDCCAUqgAwIBAgIBATAKBggqhkjOPQQDAjAbMRkwFwYDVQQDDBBhdHRhY2htZW50cyB0ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAw
MTAxMDAwMDAwWjAbMRkwFwYDVQQDDBBhdHRhY2htZW50cyB0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQ/GYAJVVqN2x9MkDqO/f
XZ2/S/kpfERNw/YcptuHkTf6JP8nKdf8ccpJ7VLRNdMZ3ex8Y/ocZcLnIAj7hqyiWKN9MHswOQYDVR0RBDIwMIISZmlsZXMuZXhhbXBsZS50
ZXN0ghp4bi0tYmNoZXIta3ZhLmV4YW1wbGUudGVzdDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIChDAdBgNVHQ4EFgQU6rDxUP5L
wGRZZW3Q+/bqa5X3F+0wCgYIKoZIzj0EAwIDSAAwRQIhAJ7armaBcUH06sVI8qodNvTz4WbPLW8K7VyUDbP/KmXyAiBhqtzhodBpK/vDEhCh
9z12MOKLsC0wOgRMe4xXyvqaEg==
"""
KEY = """
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgN+ZBPgZhkxlujB62ZuZizVwSEt8CdQUcLmttGYY/h1ShRANCAARD8ZgAlVWo
3bH0yQOo799dnb9L+Sl8RE3D9hym24eRN/ok/ycp1/xxykntUtE10xnd7Hxj+hxlwucgCPuGrKJY
"""


def pem(label: str, text: str) -> str:
    return f"-----BEGIN {label}-----\n{text.strip()}\n-----END {label}-----\n"


def server_tls(folder: Path) -> ssl.SSLContext:
    path = folder / "both.pem"
    path.write_text(pem("CERTIFICATE", CERTIFICATE) + pem("PRIVATE KEY", KEY))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


CLIENT_TLS = ssl.create_default_context(cadata=pem("CERTIFICATE", CERTIFICATE))

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@define
class Origin:
    """A server of files: `answers` by path; what it was asked is kept."""

    port: int = 0
    answers: dict[str, Answer] = field(factory=dict)
    asked: list[web.Request] = field(factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        answer = self.answers.get(request.path) or self.answers.get("/{any}")
        return await answer(request) if answer else web.Response(status=404, text="no such file")

    def gives(self, path: str, body: bytes, type_: str = "", status: int = 200, **headers: str) -> None:
        async def answer(_: web.Request) -> web.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(body=body, status=status, headers=named | ({"Content-Type": type_} if type_ else {}))

        self.answers[path] = answer

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def serve_origin(tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    origin = Origin()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", origin.handle)
    server = TestServer(app)
    await server.start_server(ssl=tls)
    origin.port = server.port or 0
    yield origin
    await server.close()


@define
class Proxy:
    """An HTTP proxy that brings every call to one port of this machine, whatever it was asked for."""

    port: int = 0
    leads_to: int = 0
    heads: list[str] = field(factory=list)
    refuses: set[str] = field(factory=set)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        method, target, _ = head.split(" ", 2)
        if target in self.refuses:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        else:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                far_writer.write(head.replace(target, path, 1).encode())
            await asyncio.gather(self.pass_on(reader, far_writer), self.pass_on(far_reader, writer))
        writer.close()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(2**16):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def serve_proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()


@asynccontextmanager
async def raw_server(answer: bytes, *, stays: bool = False) -> AsyncIterator[str]:
    """Answer every call with these bytes and close, or stay silent; gives the server's address."""
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if stays:
            await left.wait()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        left.set()
        server.close()


class Names:
    """A resolver with one answer for each question, the last one for all that follow."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]
