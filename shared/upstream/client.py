"""The only HTTP client towards the sites: their hosts, time-outs, proxy and gateway."""

import asyncio
import re
import string
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from attrs import field, frozen
from yarl import URL

from shared.addresses import AddressRefused, checked_addresses, read_host
from shared.errors import UpstreamChanged, UpstreamTimeout, UpstreamUnavailable
from shared.metrics import Metrics
from shared.settings import Settings
from shared.upstream import json
from shared.upstream.connections import Connector

CONNECT_TIMEOUT = 10.0
HEAD_TIMEOUT = 120.0
CALL_TIMEOUT = 15.0
FILE_TIMEOUT = 120.0
LEAVE_TIMEOUT = 1.0
"""Seconds: to a connection, to a stream's reply head, for a whole JSON call, for a whole file, and for the end of a
body whose answer has ended."""

ANSWER_LIMIT = 16 * 1024 * 1024
"""Bytes of a whole reply above which the site is taken to have changed."""

FILE_LIMIT = 256 * 1024 * 1024
"""Bytes of a result file above which it is not fetched."""

LARGE = 1024 * 1024
"""Bytes of a request body above which it is sent in pieces."""

ROUTES_MOST = 256
"""Addresses of calls that are remembered taken apart."""

T = TypeVar("T")

READ_SIZE = 64 * 1024
"""Bytes that aiohttp reads ahead. After so many at once others get their turn: what is unpacked is never waited for."""

HEAD_LIMIT = 64 * 1024
"""Bytes of a line of a reply's head: guards before a site set long ones."""
_SECONDS = re.compile("[0-9]{1,7}")
_CONNECT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
_AUTOMATIC_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@frozen
class Answer:
    """A whole reply. `content_type` is lower-case, without parameters."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def retry_after(self) -> float | None:
        """The `Retry-After` header, in seconds; the form with a date is not read."""
        value = self.headers.get("Retry-After", "")
        return float(value) if _SECONDS.fullmatch(value) else None

    def json(self) -> Any:
        """Read the body as JSON; raise `UpstreamUnavailable` when it is something else (a page, mostly)."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise UpstreamUnavailable(
                f"The site answered with {self.content_type or 'no content type'} (status {self.status}), not JSON."
            ) from None


class Call:
    """One streamed reply: the head is there, the body is read as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, idle: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = _content_type(response)
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._finished = False
        self._waiting_since: float | None = None
        # One watch for the whole body instead of a timer for each read: reading is the hot path.
        self._watch = self._loop.call_later(idle, self._look)

    async def read(self) -> bytes:
        """Give what has arrived of the body, at least a byte; empty at the clean end.

        Raise `UpstreamTimeout` after the idle time-out, `UpstreamUnavailable` when the connection breaks.
        """
        self._waiting_since = self._loop.time()
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            data = self._arrived()
            if not data:
                raise UpstreamUnavailable("The site broke off in the middle of its answer.") from error
        finally:
            self._waiting_since = None
        if len(data) >= READ_SIZE:
            await asyncio.sleep(0)
        return data

    async def answer(self, begun: bytes = b"") -> Answer:
        """Read the rest as a whole reply, as `Upstream.call` does; `begun` is what was read of it before."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                body = await _whole(self.read, begun, ANSWER_LIMIT)
        except TimeoutError as error:
            raise _too_slow(CALL_TIMEOUT) from error
        return Answer(self.status, self.content_type, self.headers, body)

    def _arrived(self) -> bytes:
        """Give what came before the connection broke and was not read yet: aiohttp would raise first and drop it."""
        content = self._response.content
        error: Any = content.exception()
        nothing: Any = None
        content.set_exception(nothing)
        data = content.read_nowait()
        content.set_exception(error)
        return data

    def finish(self) -> None:
        """The answer is whole, whatever of the body is still to come: `leave` may wait for its end."""
        self._finished = True

    async def leave(self) -> None:
        """End the call. A body read to its end leaves its connection to the next call; any other is cut."""
        try:
            if self._finished and not self._response.content.at_eof():
                async with asyncio.timeout(LEAVE_TIMEOUT):
                    while await self.read():
                        pass
        except (TimeoutError, UpstreamUnavailable):
            pass
        finally:
            self._watch.cancel()
            self._response.close()

    def _look(self) -> None:
        since = self._waiting_since
        left = self._idle if since is None else since + self._idle - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
            return
        self._response.content.set_exception(UpstreamTimeout(f"The site sent nothing for {self._idle:g} seconds."))


class Streaming:
    """A streamed call as a context."""

    def __init__(self, request: Coroutine[Any, Any, aiohttp.ClientResponse], idle: float) -> None:
        self._request = request
        self._idle = idle
        self._call: Call

    async def __aenter__(self) -> Call:
        """Call; give the reply once its head is there."""
        self._call = Call(await self._request, self._idle)
        return self._call

    async def __aexit__(self, *_: object) -> None:
        """End the call."""
        await self._call.leave()


class Upstream:
    """Calls to a site. Hosts outside `hosts` are refused."""

    def __init__(self, hosts: frozenset[str], settings: Settings, metrics: Metrics) -> None:
        self._hosts = hosts
        self._settings = settings
        self._metrics = metrics
        # A gateway is the user's own, and near.
        self._proxy = None if settings.upstream_gateway else settings.outbound_proxy
        self._known_route = lru_cache(ROUTES_MOST)(self._find_route)
        self._session: aiohttp.ClientSession

    async def start(self) -> None:
        """Open the session; needs the running loop."""
        self._session = aiohttp.ClientSession(
            connector=Connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_CONNECT,
            skip_auto_headers=_AUTOMATIC_HEADERS,
            read_bufsize=READ_SIZE,
            max_line_size=HEAD_LIMIT,
            max_field_size=HEAD_LIMIT,
            trust_env=False,
        )
        # By itself aiohttp would send a GET again on a fresh connection: with a nonce that has been used.
        self._session._retry_connection = False

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def call(
        self,
        method: str,
        url: str,
        *,
        kind: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout: float = CALL_TIMEOUT,  # noqa: ASYNC109 - the time-out of the call, as the protocols give it
    ) -> Answer:
        """Call and read the whole reply within `timeout` seconds, whatever its status.

        `kind` labels the call in the metrics. Raise `UpstreamUnavailable` when there is no whole reply.
        """
        return await self._counted(kind, timeout, _answer(self._request(method, url, headers, body), ANSWER_LIMIT))

    async def fetch(
        self,
        url: str,
        *,
        kind: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = FILE_LIMIT,
    ) -> Answer:
        """Call an address that a site's reply named (an upload's target, a result): https, to a public address.

        `limit` is in bytes. Send no account header with it. Raise `UpstreamChanged` when the address is refused.
        """
        response = self._request_granted(method, _secure(url), headers or {}, body)
        try:
            return await self._counted(kind, FILE_TIMEOUT, _answer(response, limit))
        except AddressRefused as error:
            raise UpstreamChanged(f"The site named a file that is not fetched: {error}.") from error

    def stream(
        self, method: str, url: str, *, kind: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Streaming:
        """Call and give the reply once its head is there, whatever its status; the call ends with the context."""
        request = self._counted(kind, HEAD_TIMEOUT, self._request(method, url, headers, body))
        return Streaming(request, self._settings.upstream_idle_timeout)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        # A site may have closed the connection after its last reply: that is heard of before it is used again. One turn
        # of uvloop's is enough; asyncio's loop first runs what is ready.
        for _ in range(2):
            await asyncio.sleep(0)
        return await self._session.request(
            method,
            self._route(url),
            data=_sendable(body),
            allow_redirects=False,
            proxy=self._proxy,
            middlewares=(_carrying(headers),),
        )

    async def _request_granted(
        self, method: str, target: URL, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        host = read_host(target.raw_host or "")
        if self._settings.upstream_gateway or host in self._hosts:
            address, name = self._address(str(target)), None
        else:
            # The connection goes to the address that was checked; TLS still asks for the name.
            found = (
                await checked_addresses(host, target.port or 443, allow_private=self._settings.allow_private_urls)
            )[0]
            text = f"[{found}]" if found.version == 6 else str(found)
            address, name = URL(f"https://{text}:{target.port}{target.raw_path_qs}", encoded=True), str(host)
            headers = {"Host": target.host_port_subcomponent or "", **headers}
        return await self._session.request(
            method,
            address,
            data=_sendable(body),
            allow_redirects=False,
            server_hostname=name,
            proxy=self._proxy,
            middlewares=(_carrying(headers),),
        )

    def _route(self, url: str) -> URL:
        # An address with a query is called once, and what it asks is not ours to keep.
        return self._find_route(url) if "?" in url else self._known_route(url)

    def _find_route(self, url: str) -> URL:
        target = URL(url, encoded=True)
        if target.scheme not in ("https", "http") or target.host not in self._hosts:
            raise UpstreamChanged(f"{target.scheme}://{target.host} is not a host of this site.")
        return self._address(url)

    def _address(self, url: str) -> URL:
        gateway = self._settings.upstream_gateway
        return URL(url if gateway is None else through(gateway, url), encoded=True)

    async def _counted(self, kind: str, seconds: float, work: Awaitable[T]) -> T:
        """Do what calls the site, within so many seconds; count what came of it."""
        outcome = "failed"
        try:
            async with asyncio.timeout(seconds):
                result = await work
            outcome = "answered"
        except TimeoutError as error:
            outcome = "timeout"
            raise _too_slow(seconds) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnavailable(f"The site could not be reached ({type(error).__name__}).") from error
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._metrics.upstream(kind, outcome)
        return result


def through(gateway: str, url: str) -> str:
    """Write the address of `url` behind a gateway: `http://h:p/<scheme>/<host>/<path>?<query>`."""
    scheme, _, rest = url.partition("://")
    return f"{gateway}/{scheme}/{rest}"


def _secure(url: str) -> URL:
    """Read an address that a site named, as https whatever it says; raise `UpstreamChanged` when it is none."""
    scheme, _, rest = url.partition("://")
    try:
        # Such addresses hold file names, and not every site escapes them.
        target = URL("https://" + quote(rest, safe=string.punctuation), encoded=True)
        named = scheme.lower() in ("http", "https") and target.host and target.port and target.user is None
    except ValueError:
        named = False
    if not named:
        raise UpstreamChanged("The site named a file by something else than an https address.")
    return target


def _carrying(headers: Mapping[str, str]) -> aiohttp.ClientMiddlewareType:
    """Put the headers of a call on its request all at once: given as such, aiohttp copies each of them three times."""

    async def carry(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.method == "DELETE" and request.headers.get("Content-Length") == "0":
            # Pages do not say that they send nothing.
            del request.headers["Content-Length"]
        request.headers.update(headers)
        return await send(request)

    return carry


def _sendable(body: bytes | None) -> bytes | BytesIO | None:
    """Give a body as aiohttp should get it: a large one is sent in pieces, since one write would hold the loop up."""
    return body if body is None or len(body) <= LARGE else BytesIO(body)


def _content_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def _answer(request: Awaitable[aiohttp.ClientResponse], limit: int) -> Answer:
    response = await request
    async with response:
        body = await _whole(response.content.readany, b"", limit)
    return Answer(response.status, _content_type(response), response.headers, body)


async def _whole(read: Callable[[], Awaitable[bytes]], begun: bytes, limit: int) -> bytes:
    parts = [begun]
    size = len(begun)
    while part := await read():
        size += len(part)
        if size > limit:
            raise UpstreamChanged(f"The site answered with more than {limit // 2**20} MiB.")
        parts.append(part)
        if len(part) >= READ_SIZE:
            await asyncio.sleep(0)
    return b"".join(parts)


def _too_slow(seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(f"The site did not answer within {seconds:g} seconds.")
