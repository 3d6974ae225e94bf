"""The fake Emohaa, called by hand: what it lets pass, and what it holds to be wrong."""

import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from tests.simulators import Gateway, discover
from tests.simulators.emohaa import CONSTANT_HEADERS, EmohaaSite

_nonces = itertools.count(1)
NEW = "GET generate/id?create=true"


class Browser:
    """A raw client of the site. `headers` replace its own; one that is None is left out."""

    def __init__(self, url: str, token: str, session: aiohttp.ClientSession) -> None:
        self.token = token
        self._url = f"{url}/https/ai-role.cn/echo-prod/"
        self._session = session
        self.xss = self._sign()

    def _sign(self) -> dict[str, str]:
        now, nonce = str(int(time.time() * 1000)), f"0.5{next(_nonces)}"
        real = hashlib.md5(f"{now}-_-{nonce}".encode()).hexdigest()
        return {"X-Xss-Id": nonce, "X-Xss-Ts": now, "X-Xss-Real": real}

    async def call(self, line: str, headers: Mapping[str, str | None] = {}, body: bytes = b"") -> tuple[int, str]:
        method, _, path = line.partition(" ")
        first, *rest = CONSTANT_HEADERS.items()
        own = dict([first, ("Authorization", f"Bearer {self.token}"), ("Accept-Encoding", "gzip"), *rest])
        sent = {name: value for name, value in {**own, **self.xss, **headers}.items() if value is not None}
        url = URL(self._url + path, encoded=True)
        async with self._session.request(
            method, url, headers=sent, data=body or None, skip_auto_headers=("Content-Type", "User-Agent")
        ) as response:
            self.xss = self._sign()
            return response.status, await response.text()

    def chat(
        self, conversation: str, prompt: str = "user%3Ahi%0A", token: str | None = None, role: str = "echo"
    ) -> str:
        nonce, now, real = self.xss.values()
        own = quote(self.token, safe="") if token is None else token
        asked = f"token={own}&cid={conversation}&prompt={prompt}&role={role}"
        return f"GET chat?{asked}&xts={now}&xid={nonce}&xreal={real}"


@pytest.fixture
def site() -> EmohaaSite:
    return EmohaaSite()


@pytest.fixture
async def browser(site: EmohaaSite) -> AsyncIterator[Browser]:
    async with Gateway.start(site) as gateway, aiohttp.ClientSession() as session:
        yield Browser(gateway.url, site.account("ann"), session)


async def test_a_conversation(site: EmohaaSite, browser: Browser) -> None:
    _, name = await browser.call(NEW)
    for turn in (1, 2):
        status, body = await browser.call(browser.chat(name))
        assert status == 200
        assert body.endswith("data:[DONE]\n\n")
        assert ("第 2 次" in body.replace("\n\ndata: ", "")) == (turn == 2)
    assert site.conversations[name].turns == ["user:hi\n"] * 2
    assert name in (await browser.call("GET convs?role=echo"))[1]
    assert (await browser.call(f"DELETE conv?cid={name}"))[0] == 200
    assert site.live_conversations() == []
    assert (await browser.call(browser.chat(name)))[0] == 404
    assert site.violations == []


async def test_an_unknown_token(site: EmohaaSite, browser: Browser) -> None:
    browser.token = "eyJ.none"
    assert (await browser.call(NEW))[0] == 401
    assert site.violations == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "*/*"},
        {"Origin": None},
        {"X-More": "1"},
        {"Content-Type": "application/json"},
        {"Accept-Encoding": "snappy"},
        {"Authorization": "eyJ"},
        {"X-Xss-Id": "5e-05"},
        {"X-Xss-Ts": "1795241371"},
        {"X-Xss-Ts": "1795241371907"},
        {"X-Xss-Real": "8e1786ce3d11ac88f42e08f8c6956ffb"},
    ],
)
async def test_wrong_headers(site: EmohaaSite, browser: Browser, headers: Mapping[str, str | None]) -> None:
    assert (await browser.call(NEW, headers))[0] == 400
    assert site.violations


async def test_a_signature_used_twice(site: EmohaaSite, browser: Browser) -> None:
    used = dict(browser.xss)
    await browser.call(NEW)
    assert (await browser.call(NEW, used))[0] == 400
    (problem,) = site.violations
    assert "used before" in problem


@pytest.mark.parametrize(
    "line",
    [
        "GET generate/id",
        "GET generate/id?create=1",
        "GET generate/id?create=true&x=1",
        "GET convs?role=other",
        "GET nowhere",
        "POST chat",
    ],
)
async def test_wrong_calls(site: EmohaaSite, browser: Browser, line: str) -> None:
    assert (await browser.call(line))[0] in (400, 404)
    assert site.violations


async def test_wrong_questions(site: EmohaaSite, browser: Browser) -> None:
    _, name = await browser.call(NEW)
    other = site.account("bob")
    for line, headers in (
        (browser.chat(name, prompt="user:hi"), {}),
        (browser.chat(name, prompt="user%3ahi"), {}),
        (browser.chat(name, prompt="it%27s+me"), {}),
        (browser.chat(name, token=quote(other, safe="")), {}),
        (browser.chat(name, role="other"), {}),
        (browser.chat(name), browser._sign()),
        (browser.chat(name).replace("&role=echo", "") + "&role=echo", {}),
    ):
        before = len(site.violations)
        assert (await browser.call(line, headers))[0] == 400
        assert len(site.violations) > before, line
    assert site.conversations[name].turns == []


async def test_a_body_and_another_s_conversation(site: EmohaaSite, browser: Browser) -> None:
    _, name = await browser.call(NEW)
    assert (await browser.call(NEW, body=b"{}"))[0] == 400
    browser.token = site.account("bob")
    assert (await browser.call(f"DELETE conv?cid={name}"))[0] == 400
    assert len(site.violations) == 2


def test_it_is_found() -> None:
    assert EmohaaSite in discover()
