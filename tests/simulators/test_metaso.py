"""The fake metaso.cn, called by hand: what it lets pass, and what it holds to be wrong."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import orjson
import pytest
from yarl import URL

from tests.simulators import Gateway, discover
from tests.simulators.metaso import MetasoSite, limited
from tests.simulators.metaso_checks import BASE, CONSTANT_HEADERS, HEADER_ORDER, KIND_HEADERS, escaped

BODY = {"question": "秘塔AI", "mode": "detail", "engineType": "", "scholarSearchDomain": "all"}
LINES = {"page": "GET /", "open": "POST /api/session", "check": "GET /api/my-info"}
UA = '"Chromium";v="127", "Google Chrome";v="127"'


class Browser:
    """A raw client of the site. `headers` replace its own; one that is None is left out."""

    def __init__(self, url: str, token: str, session: aiohttp.ClientSession) -> None:
        uid, _, sid = token.partition("-")
        self.cookie = f"uid={uid}; sid={sid}; "
        self.meta_token = ""
        self._url = f"{url}/https/metaso.cn"
        self._session = session

    def headers(self, kind: str, changed: Mapping[str, str | None] = {}) -> dict[str, str]:
        own = {"Accept-Encoding": "gzip", "Sec-Ch-Ua": UA, "Cookie": self.cookie, "Token": self.meta_token}
        known = {**own, **CONSTANT_HEADERS, **KIND_HEADERS[kind]}
        ordered: dict[str, str | None] = {name: known[name] for name in HEADER_ORDER[kind]}
        return {name: value for name, value in {**ordered, **changed}.items() if value is not None}

    async def call(
        self, kind: str, line: str = "", changed: Mapping[str, str | None] = {}, body: Any = None
    ) -> tuple[int, str]:
        method, _, path = (line or LINES[kind]).partition(" ")
        async with self._session.request(
            method,
            URL(self._url + path, encoded=True),
            headers=self.headers(kind, changed),
            data=None if body is None else orjson.dumps(body),
            skip_auto_headers=("Content-Type", "User-Agent"),
        ) as response:
            return response.status, await response.text()

    async def page(self) -> None:
        _, text = await self.call("page")
        self.meta_token = text.partition('content="')[2].partition('"')[0]

    async def open(self, **fields: Any) -> Any:
        return orjson.loads((await self.call("open", body={**BODY, **fields}))[1])

    def search(self, session: str, **changed: str) -> str:
        fields = {
            "sessionId": session,
            "question": "秘塔AI",
            "lang": "zh",
            "mode": "detail",
            "url": f"{BASE}/search/{session}?newSearch=true&q=秘塔AI",
            "enableMix": "true",
            "scholarSearchDomain": "all",
            "expectedCurrentSessionSearchCount": "1",
            "is-mini-webview": "0",
            "token": self.meta_token,
            **changed,
        }
        return "GET /api/searchV2?" + "&".join(f"{name}={escaped(value)}" for name, value in fields.items())


@pytest.fixture
def site() -> MetasoSite:
    return MetasoSite()


@pytest.fixture
async def browser(site: MetasoSite) -> AsyncIterator[Browser]:
    async with Gateway.start(site) as gateway, aiohttp.ClientSession() as session:
        yield Browser(gateway.url, site.account("ann"), session)


async def test_a_search(site: MetasoSite, browser: Browser) -> None:
    await browser.page()
    session = (await browser.open())["data"]["id"]
    status, body = await browser.call("chat", browser.search(session))
    assert status == 200
    assert body.startswith('data:{"type":"query"')
    assert '"type":"set-reference"' in body
    assert body.endswith("data:[DONE]\n\n")
    assert '"user":{' in (await browser.call("check"))[1]
    assert site.violations == []


async def test_who_is_not_logged_in(site: MetasoSite, browser: Browser) -> None:
    site.log_out("ann")
    await browser.page()
    assert browser.meta_token
    assert (await browser.open())["errCode"] == 401
    assert '"user":null' in (await browser.call("check"))[1]
    browser.cookie = "uid=stranger; sid=stranger; "
    await browser.page()
    assert (await browser.open())["errCode"] == 401
    assert site.violations == []


async def test_a_meta_token_of_another_or_an_old_one(site: MetasoSite, browser: Browser) -> None:
    await browser.page()
    session = (await browser.open())["data"]["id"]
    site.forget_pages("ann")
    assert (await browser.open())["errCode"] == 401
    assert "请先登录" in (await browser.call("chat", browser.search(session)))[1]
    assert site.violations == []


async def test_the_weather_without_the_magic_words(browser: Browser) -> None:
    await browser.page()
    session = (await browser.open(question="天气"))["data"]["id"]
    address = f"{BASE}/search/{session}?newSearch=true&q=天气"
    _, body = await browser.call("chat", browser.search(session, question="天气", url=address))
    assert "append-text" not in body


async def test_a_limit(site: MetasoSite, browser: Browser) -> None:
    await browser.page()
    session = (await browser.open())["data"]["id"]
    site.script("chat", limited())
    assert "[TOO_MANY_REQUESTS]" in (await browser.call("chat", browser.search(session)))[1]
    assert (await browser.call("chat", browser.search(session)))[1].startswith('data:{"type"')


@pytest.mark.parametrize("kind", ["page", "open", "check"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/json"},
        {"Origin": None},
        {"X-More": "1"},
        {"Accept-Encoding": "snappy"},
        {"Cookie": None},
        {"Cookie": "uid=1; sid=2; more=3"},
        {"Sec-Ch-Ua": UA.replace("127", "122")},
        {"User-Agent": CONSTANT_HEADERS["User-Agent"].replace("127", "122")},
        {"Sec-Fetch-Mode": "no-cors"},
    ],
)
async def test_wrong_headers(site: MetasoSite, browser: Browser, kind: str, headers: Mapping[str, str | None]) -> None:
    await browser.call(kind, changed=headers, body=BODY if kind == "open" else None)
    assert site.violations
    assert site.sessions == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {**BODY, "more": 1},
        dict(reversed(BODY.items())),
        {**BODY, "question": ["x"]},
        {**BODY, "mode": "gpt"},
        {**BODY, "engineType": "4o"},
        {**BODY, "scholarSearchDomain": ""},
    ],
)
async def test_wrong_bodies(site: MetasoSite, browser: Browser, body: Any) -> None:
    await browser.page()
    await browser.call("open", body=body)
    assert site.violations
    assert site.sessions == {}


async def test_wrong_searches(site: MetasoSite, browser: Browser) -> None:
    await browser.page()
    session = (await browser.open())["data"]["id"]
    right = browser.search(session)
    for line in (
        right.replace("&lang=zh", ""),
        right.replace("&lang=zh", "") + "&lang=zh",
        right.replace("https:", "https%3A"),
        right.replace("question=%E7%A7%98", "question=%e7%a7%98"),
        right + "&engineType=",
        browser.search(session, lang="en"),
        browser.search(session, mode="concise"),
        browser.search(session, question="x"),
        browser.search(session, url=f"{BASE}/search/{session}"),
        browser.search("1", url=f"{BASE}/search/1?newSearch=true&q=秘塔AI"),
    ):
        before = len(site.violations)
        await browser.call("chat", line)
        assert len(site.violations) > before, line
    assert site.sessions[session].searches == 0
    await browser.call("chat", right)
    before = len(site.violations)
    await browser.call("chat", right)
    assert "second time" in site.violations[before]


async def test_another_s_session(site: MetasoSite, browser: Browser) -> None:
    await browser.page()
    session = (await browser.open())["data"]["id"]
    uid, _, sid = site.account("bob").partition("-")
    browser.cookie = f"uid={uid}; sid={sid}; "
    await browser.page()
    await browser.call("chat", browser.search(session))
    assert site.violations == ["chat: the session of ann used by bob"]


def test_it_is_found() -> None:
    assert MetasoSite in discover()
