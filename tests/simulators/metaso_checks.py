"""What metaso.cn looks at in a call, as pure functions: each gives the list of what is wrong, in words."""

import re
from typing import Any
from urllib.parse import quote, unquote_plus

from multidict import CIMultiDict

BASE = "https://metaso.cn"
MODES = ("concise", "detail", "research")
ENGINES = ("", "scholar")
SESSION_FIELDS = ("question", "mode", "engineType", "scholarSearchDomain")
SEARCH_FIELDS = (
    "sessionId",
    "question",
    "lang",
    "mode",
    "url",
    "enableMix",
    "scholarSearchDomain",
    "expectedCurrentSessionSearchCount",
    "is-mini-webview",
    "token",
)
CONSTANT_FIELDS = {
    "lang": "zh",
    "enableMix": "true",
    "scholarSearchDomain": "all",
    "expectedCurrentSessionSearchCount": "1",
    "is-mini-webview": "0",
}

CONSTANT_HEADERS = {
    "Accept": "*/*",
    "Accept-Language": "zh-CN,zh;q=0.9",
    "Origin": BASE,
    "Sec-Ch-Ua-Mobile": "?0",
    "Sec-Ch-Ua-Platform": '"Windows"',
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/127.0.0.0 Safari/537.36",
}
KIND_HEADERS: dict[str, dict[str, str]] = {
    "page": {
        "Sec-Fetch-Dest": "document",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-User": "?1",
        "Upgrade-Insecure-Requests": "1",
    },
    "open": {"Content-Type": "application/json", "Is-Mini-Webview": "0"},
    "chat": {"Accept": "text/event-stream"},
    "check": {"Is-Mini-Webview": "0"},
}
_HEAD = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Origin",
    "Sec-Ch-Ua",
    "Sec-Ch-Ua-Mobile",
    "Sec-Ch-Ua-Platform",
)
_FETCH = ("Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site")
HEADER_ORDER = {
    "page": (*_HEAD, *_FETCH, "Sec-Fetch-User", "Upgrade-Insecure-Requests", "User-Agent", "Cookie"),
    "open": (*_HEAD, *_FETCH, "User-Agent", "Content-Type", "Cookie", "Token", "Is-Mini-Webview"),
    "chat": (*_HEAD, *_FETCH, "User-Agent", "Cookie"),
    "check": (*_HEAD, *_FETCH, "User-Agent", "Cookie", "Is-Mini-Webview"),
}
TRANSPORT_HEADERS = {"host", "connection", "content-length"}
CODINGS = {"gzip", "deflate", "br", "zstd"}
_COOKIE = re.compile(r"uid=([^;\s]+); sid=([^;\s]+); ?")
_PUT_BACK = (("%3A", ":"), ("%24", "$"), ("%2C", ","), ("%5B", "["), ("%5D", "]"), ("%20", "+"))


def header_problems(kind: str, headers: CIMultiDict[str]) -> list[str]:
    """Compare a call's headers with those of its kind: names, order, values."""
    exact = {**CONSTANT_HEADERS, **KIND_HEADERS[kind]}
    names = [name.lower() for name in headers if name.lower() not in TRANSPORT_HEADERS]
    codings = set(headers.get("Accept-Encoding", "").replace(" ", "").split(","))
    brands = dict(re.findall(r'"([^"]+)";v="([0-9]+)"', headers.get("Sec-Ch-Ua", "")))
    version = re.search(r"Chrome/([0-9]+)\.", headers.get("User-Agent", ""))
    return [
        *(f"{name} is {headers.get(name)!r}" for name, value in exact.items() if headers.get(name) != value),
        *([] if names == [name.lower() for name in HEADER_ORDER[kind]] else [f"the headers are {names}"]),
        *([] if codings <= CODINGS else [f"Accept-Encoding is {codings}"]),
        *([] if version and brands.get("Google Chrome") == version[1] else ["Sec-Ch-Ua is of another browser"]),
        *([] if cookie_of(headers) else [f"Cookie is {headers.get('Cookie')!r}"]),
    ]


def cookie_of(headers: CIMultiDict[str]) -> tuple[str, str] | None:
    """Give uid and sid; None when the cookies are not these two, written as the site's page does."""
    found = _COOKIE.fullmatch(headers.get("Cookie", ""))
    return (found[1], found[2]) if found else None


def body_problems(body: Any) -> list[str]:
    """Check the body that opens a session."""
    if not isinstance(body, dict) or tuple(body) != SESSION_FIELDS:
        return [f"the body is {list(body) if isinstance(body, dict) else body!r}"]
    return [
        *([] if isinstance(body["question"], str) else ["question is no text"]),
        *([] if body["mode"] in MODES else [f"mode is {body['mode']!r}"]),
        *([] if body["engineType"] in ENGINES else [f"engineType is {body['engineType']!r}"]),
        *([] if body["scholarSearchDomain"] == "all" else ["scholarSearchDomain is not all"]),
    ]


def fields_of(query: str) -> list[tuple[str, str]]:
    """Give names and raw values of a query, in order."""
    return [(name, value) for name, _, value in (field.partition("=") for field in query.split("&"))]


def query_problems(query: str) -> list[str]:
    """Compare a raw query with what the site's page sends: names, their order, escapes, constants."""
    fields = fields_of(query)
    names = tuple(name for name, _ in fields)
    values = {name: unquote_plus(value) for name, value in fields}
    address = f"{BASE}/search/{values.get('sessionId')}?newSearch=true&q={values.get('question')}"
    return [
        *([] if names == SEARCH_FIELDS else [f"the query is {names}"]),
        *(f"{name} is escaped as {raw}" for name, raw in fields if escaped(values[name]) != raw),
        *(f"{name} is {values.get(name)!r}" for name, value in CONSTANT_FIELDS.items() if values.get(name) != value),
        *([] if values.get("url") == address else ["url is another one"]),
    ]


def escaped(value: str) -> str:
    """Escape a value as JavaScript's encodeURIComponent does, and put back what the page puts back."""
    text = quote(value, safe="-_.!~*'()")
    for code, character in _PUT_BACK:
        text = text.replace(code, character)
    return text
