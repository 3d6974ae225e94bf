"""The files of a request: a client's http(s) or `data:` URL -> name, type, bytes.

Whoever may use the service makes it call any URL. Against what, and how:

* reaching our own network, also by redirect, by a name that resolves to it or resolves anew, or by an odd way
  to write an address: every hop's host is checked by `shared.addresses`, and the connection goes to a checked
  address, directly as through `OUTBOUND_PROXY`, while TLS still verifies the name;
* other schemes, credentials in a URL, endless redirects: refused; at most five redirects are followed, here;
* too much data, announced or not, compressed or not: counted while it is read, and inflated only as far as it
  is read; a few files at once, and a bound for all files of one request;
* a server that is slow for ever: time-outs for the connection and for the whole;
* a file name or type that would end up in a header or a path: `shared.filetypes`;
* learning something from an error: it names the attachment by place and host, never by path, query or address
  found.
"""

import asyncio
import ssl
import string
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit

import aiohttp
from attrs import field, frozen
from yarl import URL

from shared.addresses import Address, AddressRefused, Resolve, checked_addresses, read_host, resolve_name
from shared.dataurls import SLICE, Loaded, read_data_url, too_large
from shared.errors import AttachmentRefused, AttachmentTooLarge
from shared.filetypes import disposition_name, safe_name, type_of
from shared.openai.messages import FilePart
from shared.settings import Settings

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
TOTAL_TIMEOUT = 60.0
"""Seconds to a connection, and for a whole file with its redirects."""
MAX_URL = 16 * 1024
"""Characters of an http URL; servers take about half."""
MAX_REDIRECTS = 5
MAX_ADDRESSES = 4
"""Addresses of one name that are tried, one after the other."""
AT_ONCE = 4
"""Files of one request that are fetched, or uploaded, at the same time."""
REQUEST_FACTOR = 4
"""The files of one request may have this many times the size of the largest one allowed, together."""

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"User-Agent": "chat-services", "Accept": "*/*", "Accept-Encoding": "identity"}
_NEXT_ADDRESS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "its server did not answer in time"),
    (aiohttp.ClientConnectorCertificateError, "the certificate of its server is not valid for this host"),
    (aiohttp.ClientHttpProxyError, "the proxy could not reach its server"),
    (aiohttp.ClientProxyConnectionError, "the proxy could not be reached"),
    (aiohttp.ClientConnectionError, "its server could not be reached, or broke off"),
    (aiohttp.ClientError, "its server broke off, or answered with something else than proper HTTP"),
    (OSError, "its server could not be reached"),
)
"""What went wrong, in the order in which the classes are to be tried."""


@frozen
class Attachment:
    """A fetched file. `name` is safe in a header and as a path's last part, `type` is a media type."""

    name: str
    type: str
    data: bytes = field(repr=False)


@frozen
class Target:
    """An http(s) URL taken apart. `path` is everything behind the host, percent-encoded."""

    scheme: str
    host: Address | str
    port: int
    path: str = field(repr=False)

    @classmethod
    def read(cls, url: str) -> "Target":
        """Read a URL.

        Raise `AttachmentRefused`, or `AddressRefused` because of the host, when it may not be called.
        """
        if len(url) > MAX_URL:
            raise AttachmentRefused("its URL is too long")
        try:
            parts, parsed = urlsplit(url), URL(url)
            scheme, host, port = parsed.scheme, parsed.raw_host, parsed.port
            path = quote(parts.path or "/", safe=string.punctuation, errors="surrogateescape")
            if parts.query:
                path += "?" + quote(parts.query, safe=string.punctuation, errors="surrogateescape")
        except ValueError:
            raise AttachmentRefused("its URL cannot be read") from None
        if scheme not in _PORTS:
            raise AttachmentRefused("only http, https and data URLs are taken, and redirects to http and https")
        if "@" in parts.netloc:
            raise AttachmentRefused("a URL with a user name or password is not taken")
        if not host or not port:
            raise AttachmentRefused("its URL names no host")
        return cls(scheme, read_host(host), port, path)

    @property
    def name(self) -> str:
        """The last segment of the path, percent-escapes decoded."""
        return unquote(self.path.partition("?")[0].rpartition("/")[2])

    def at(self, host: Address | str) -> str:
        """Write the URL up to the path, with this host; the port only where it is not the scheme's own."""
        text = f"[{host}]" if not isinstance(host, str) and host.version == 6 else str(host)
        return f"{self.scheme}://{text}" + (f":{self.port}" if self.port != _PORTS[self.scheme] else "")


class Fetcher:
    """Fetches attachments, each call on its own connection, always directly or through `OUTBOUND_PROXY`.

    `resolve` and `tls` stand in for the system's resolver and its certificate authorities.
    """

    def __init__(
        self, settings: Settings, *, resolve: Resolve = resolve_name, tls: ssl.SSLContext | None = None
    ) -> None:
        self.limit = settings.max_attachment_mb * 1024 * 1024
        """Bytes a file may have."""
        self._settings = settings
        self._resolve = resolve
        self._tls = tls
        self._decoding: ThreadPoolExecutor
        self._session: aiohttp.ClientSession

    async def start(self) -> None:
        """Open the session; needs the running loop."""
        self._decoding = ThreadPoolExecutor(max_workers=2, thread_name_prefix="data-url")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=self._tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
            skip_auto_headers=("Content-Type",),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection; what is being decoded is left to end by itself."""
        await self._session.close()
        self._decoding.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, part: FilePart, position: int) -> Attachment:
        """Fetch the attachment that stands at `position` (from 1) in its request.

        Raise `AttachmentRefused` or `AttachmentTooLarge`, with the position in the message.
        """
        url = part.url.strip()
        try:
            loaded = await (self._decode(url) if _is_data_url(url) else self._download(url))
        except (AttachmentRefused, AttachmentTooLarge) as error:
            raise type(error)(f"Attachment {position}{_where(url)}: {error.message}.") from None
        if not loaded.data:
            raise AttachmentRefused(f"Attachment {position}{_where(url)}: it is empty.")
        name = part.name or loaded.name
        type_ = type_of(loaded.data, loaded.type, name)
        return Attachment(safe_name(name, type_), type_, loaded.data)

    async def _decode(self, url: str) -> Loaded:
        if len(url) <= SLICE:
            return read_data_url(url, self.limit)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoding, read_data_url, url, self.limit)

    async def _download(self, url: str) -> Loaded:
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                return await self._follow(url)
        except AddressRefused as error:
            reason = str(error)
        except (aiohttp.ClientError, OSError) as error:
            reason = next(text for kind, text in _FAULTS if isinstance(error, kind))
        raise AttachmentRefused(reason)

    async def _follow(self, url: str) -> Loaded:
        begun = Target.read(url)
        target = begun
        for _ in range(MAX_REDIRECTS + 1):
            async with await self._open(target) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    return await self._receive(response, begun, target)
            try:
                url = urljoin(url, location)
            except ValueError:
                raise AttachmentRefused("its URL redirects to something else than a URL") from None
            target = Target.read(url)
        raise AttachmentRefused(f"its URL redirects more than {MAX_REDIRECTS} times")

    async def _open(self, target: Target) -> aiohttp.ClientResponse:
        addresses = await checked_addresses(
            target.host, target.port, resolve=self._resolve, allow_private=self._settings.allow_private_urls
        )
        *others, last = addresses[:MAX_ADDRESSES]
        for address in others:
            with suppress(*_NEXT_ADDRESS):
                return await self._get(target, address)
        return await self._get(target, last)

    async def _get(self, target: Target, address: Address) -> aiohttp.ClientResponse:
        # The URL holds the address: neither aiohttp nor a proxy resolves anything.
        named = isinstance(target.host, str) and target.scheme == "https"
        return await self._session.get(
            URL(target.at(address) + target.path, encoded=True),
            headers={"Host": target.at(target.host).partition("//")[2], **_HEADERS},
            server_hostname=str(target.host) if named else None,
            allow_redirects=False,
            proxy=self._settings.outbound_proxy,
        )

    async def _receive(self, response: aiohttp.ClientResponse, begun: Target, target: Target) -> Loaded:
        if not 200 <= response.status < 300:
            raise AttachmentRefused(f"its server answered with status {response.status}")
        data = await self._body(response)
        said = disposition_name(response.headers.get("Content-Disposition", ""))
        # A redirect leads to a store's own name for the file more often than to a better one.
        in_url = begun.name if "." in begun.name else target.name or begun.name
        return Loaded(data, response.headers.get("Content-Type", ""), said or in_url)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = response.content_length or 0
        if size <= self.limit:
            size = 0
            async for part in response.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > self.limit:
                    break
                # What is unpacked is there at once: nothing else would let others have their turn.
                await asyncio.sleep(0)
        if size > self.limit:
            raise too_large(self.limit)
        return b"".join(parts)


class _Fetching:
    """What the files of one request share: places to be fetched in, and room in memory."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._places = asyncio.Semaphore(AT_ONCE)
        self._limit = REQUEST_FACTOR * fetcher.limit
        self._size = 0

    async def fetch(self, part: FilePart, position: int) -> Attachment:
        async with self._places:
            file = await self._fetcher.fetch(part, position)
            self._size += len(file.data)
            if self._size > self._limit:
                raise AttachmentTooLarge(f"The attachments together: {too_large(self._limit).message}.")
        return file


class Attached:
    """The files of one request: fetched once, uploaded once per account. False when there are none."""

    def __init__(self, fetcher: Fetcher | None, parts: Sequence[FilePart]) -> None:
        self._fetcher = fetcher
        self._parts = parts
        self._fetched: tuple[Attachment, ...] | None = None
        self._uploaded: dict[str, dict[int, Any]] = {}
        self._one_by_one = asyncio.Lock()

    def __bool__(self) -> bool:
        return bool(self._parts)

    async def fetch(self) -> tuple[Attachment, ...]:
        """Fetch all, a few at a time; give them in the order of the request.

        The first failure cancels the rest and is raised: `AttachmentRefused` or `AttachmentTooLarge`.
        """
        if self._fetcher is None:
            return ()
        async with self._one_by_one:
            if self._fetched is None:
                self._fetched = await self._fetch_all(_Fetching(self._fetcher))
            return self._fetched

    async def uploaded(self, account_key: str, upload: Callable[[Attachment], Awaitable[T]]) -> list[T]:
        """Upload all to one account, a few at a time; give what `upload` gave, in the order of the request.

        What succeeded is kept, so that a second try with this account uploads only the rest. After a failure
        no upload is begun, those that run end by themselves (a site may have made the file already), and the
        failure is raised. When the caller is cancelled, so are the uploads.
        """
        files = await self.fetch()
        if not files:
            return []
        async with self._one_by_one:
            done = self._uploaded.setdefault(account_key, {})
            await _upload_rest(files, done, upload)
            return [done[at] for at in range(len(files))]

    async def _fetch_all(self, shared: _Fetching) -> tuple[Attachment, ...]:
        parts = enumerate(self._parts, start=1)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(shared.fetch(part, at)) for at, part in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return tuple(task.result() for task in tasks)


NONE = Attached(None, ())
"""For requests without files."""


async def _upload_rest(
    files: Sequence[Attachment], done: dict[int, T], upload: Callable[[Attachment], Awaitable[T]]
) -> None:
    room = asyncio.Semaphore(AT_ONCE)
    failed = False

    async def run(at: int) -> None:
        nonlocal failed
        async with room:
            if failed:
                return
            try:
                done[at] = await upload(files[at])
            except BaseException:
                failed = True
                raise

    rest = (run(at) for at in range(len(files)) if at not in done)
    for outcome in await asyncio.gather(*rest, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def _where(url: str) -> str:
    if not _is_data_url(url):
        with suppress(AttachmentRefused, AddressRefused):
            return f" ({Target.read(url).host})"
    return ""
