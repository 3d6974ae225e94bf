"""Every environment variable, as data: one line for each, read and checked once, at the start."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, urlsplit

import attrs
import orjson
from attrs import field, frozen

from shared.terms import Site

SiteT = TypeVar("SiteT", bound=Site)


class SettingsError(Exception):
    """An environment variable has a value it does not take.

    The message names the variable and what it takes, never the value, which may be a token gone astray.
    """


@frozen
class _Kind:
    """A kind of value: `takes` for people, `parse` from trimmed text, raising `ValueError` or `KeyError`."""

    takes: str
    parse: Callable[[str], Any]


def _number(takes: str, low: float, high: float, read: Callable[[str], float]) -> _Kind:
    def parse(text: str) -> float:
        value = read(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return _Kind(f"{takes} from {low:g} to {high:g}", parse)


def _whole(low: int, high: int) -> _Kind:
    return _number("a whole number", low, high, int)


def _seconds(low: float, high: float) -> _Kind:
    return _number("seconds", low, high, float)


def _choice(*words: str) -> _Kind:
    def parse(text: str) -> str:
        return words[words.index(text.lower())]

    return _Kind("one of " + ", ".join(words), parse)


def _address(*schemes: str) -> _Kind:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        # `.port` raises ValueError when it is no port.
        whole = parts.scheme in schemes and parts.hostname and parts.port != 0
        if not whole or parts.query or parts.fragment or any(map(str.isspace, text)):
            raise ValueError
        return text.rstrip("/")

    return _Kind("an address such as " + " or ".join(f"{s}://host:port" for s in schemes), parse)


_DATABASE = re.compile("/?(?:[0-9]{1,5})?/?")
_DB = {"db": re.compile("[0-9]{1,5}")}
_TLS = {
    **dict.fromkeys(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), re.compile(".+")),
    "ssl_cert_reqs": re.compile("none|optional|required"),
    "ssl_check_hostname": re.compile("true|false", re.IGNORECASE),
}
_REDIS_OPTIONS: Mapping[str, Mapping[str, re.Pattern[str]]] = {"redis": _DB, "unix": _DB, "rediss": {**_DB, **_TLS}}
"""By scheme, the options that the address may have, and their values."""


def _parse_redis(text: str) -> str:
    parts = urlsplit(text)
    place = parts.path if parts.scheme == "unix" else parts.hostname
    taken = _REDIS_OPTIONS[parts.scheme]
    options = parse_qs(parts.query, strict_parsing=bool(parts.query))
    known = all(name in taken and taken[name].fullmatch(value) for name, (value,) in options.items())
    database = parts.scheme == "unix" or _DATABASE.fullmatch(parts.path)
    if not place or not known or not database or parts.port == 0 or " " in text:
        raise ValueError
    return text


def _parse_list(text: str) -> tuple[str, ...]:
    items = (item.strip() for item in text.replace("\n", ",").split(","))
    return tuple(dict.fromkeys(item for item in items if item))


def _parse_object(text: str) -> dict[str, Any]:
    value = orjson.loads(text)
    if not isinstance(value, dict):
        raise ValueError  # noqa: TRY004 - the text is wrong, as a number out of range is
    return value


def _parse_mapping(text: str) -> dict[str, str]:
    value = _parse_object(text)
    # Most are headers, or fields of an address: no line may end in them.
    if not all(isinstance(item, str) and item.isprintable() for pair in value.items() for item in pair):
        raise ValueError
    return value


_FLAGS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


_TEXT = _Kind("text", str)
_FLAG = _Kind("1 or 0", lambda text: _FLAGS[text.lower()])
_REDIS = _Kind("an address such as redis://host:6379/0, rediss://host:6379/0 or unix:///path", _parse_redis)
_LIST = _Kind("a list, separated by commas", _parse_list)
_MAPPING = _Kind("a JSON object whose values are strings of one line", _parse_mapping)
_OBJECT = _Kind("a JSON object", _parse_object)


def _setting(default: Any, kind: _Kind, help: str, *, secret: bool = False) -> Any:  # noqa: A002 - it is one
    """Declare a field of `Settings`. A secret stays out of `repr` and can be read from a file."""
    metadata = {"kind": kind, "help": help, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@frozen
class Settings:
    """What the environment sets. A field's variable is its name in capitals.

    With the provider's name before it (`GLM_PORT`) it is for that service alone, and wins. Secrets can also be
    read from a file (`API_KEYS_FILE`).
    """

    host: str = _setting("0.0.0.0", _TEXT, "Address to listen on.")  # noqa: S104 - made for a container
    port: int = _setting(8000, _whole(0, 65535), "Port to listen on; 0 takes a free one.")
    accounts: tuple[str, ...] = _setting(
        (),
        _LIST,
        "Account tokens of the server, separated by commas, used for clients with one of `API_KEYS`.",
        secret=True,
    )
    api_keys: tuple[str, ...] = _setting(
        (), _LIST, "Keys clients must send instead of account tokens, separated by commas.", secret=True
    )
    account_wait: float = _setting(
        60.0, _seconds(0, 3600), "Seconds a request waits, in all, for a free account before it gets a 429."
    )
    expired_cooldown: float = _setting(
        600.0, _seconds(0, 86400), "Seconds an account is left alone after the site refused its token."
    )
    slots: int | None = _setting(None, _whole(1, 100), "Outputs at once per account; empty: what the site allows.")
    retries: int = _setting(2, _whole(0, 10), "How often a request is tried again when the site cannot be reached.")
    retry_backoff: float = _setting(
        1.0, _seconds(0, 60), "Seconds before the first of those tries; they grow, with jitter."
    )
    head_wait: float = _setting(
        10.0, _seconds(0, 600), "Seconds after which a stream's head is sent although no text has come yet."
    )
    upstream_gateway: str | None = _setting(
        None,
        _address("http", "https"),
        "Your own reverse proxy for calls to the site, reached as `<gateway>/<scheme>/<host>/<path>`.",
    )
    outbound_proxy: str | None = _setting(
        None,
        _address("http"),
        "HTTP proxy for calls to the site, e.g. `http://user:password@host:3128`.",
        secret=True,
    )
    upstream_idle_timeout: float = _setting(
        120.0, _seconds(0.01, 3600), "Seconds without a byte from the site after which a stream is given up."
    )
    max_body_mb: int = _setting(140, _whole(1, 4096), "Largest request body, in MiB.")
    max_attachment_mb: int = _setting(100, _whole(1, 4096), "Largest file or image in a request, in MiB.")
    allow_private_urls: bool = _setting(
        False,
        _FLAG,
        "1: files may be fetched from private addresses too (a risk when others use the service).",
    )
    thinking: Literal["reasoning", "inline", "hidden"] = _setting(
        "reasoning",
        _choice("reasoning", "inline", "hidden"),
        "Reasoning: in `reasoning_content` (`reasoning`), in the text as `<think>` (`inline`), or `hidden`.",
    )
    references: Literal["shown", "hidden"] = _setting(
        "shown",
        _choice("shown", "hidden"),
        "`hidden`: no citation marks and no list of sources in the text; `annotations` stay.",
    )
    keep_conversations: bool = _setting(False, _FLAG, "1: conversations are not deleted at the site after the answer.")
    state_file: str | None = _setting(
        None,
        _TEXT,
        "File (mode 0600) that keeps renewed account tokens over a restart; empty: they are lost.",
    )
    redis_url: str | None = _setting(
        None,
        _REDIS,
        "Valkey or Redis (7 or newer) that replicas of the service share, e.g. `redis://:password@host:6379/0`; it"
        " holds renewed account tokens and sessions as they are. Empty: all is in memory.",
        secret=True,
    )
    drain_timeout: float = _setting(
        60.0, _seconds(0, 3600), "Seconds running answers may go on after SIGTERM before they are ended."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", _choice("debug", "info", "warning", "error"), "Least important level that is logged."
    )
    log_messages: bool = _setting(False, _FLAG, "1: the text of requests is logged too, at level `info`.")
    event_loop: Literal["uvloop", "asyncio"] = _setting(
        "uvloop", _choice("uvloop", "asyncio"), "Event loop; `asyncio` is Python's own, slower one."
    )

    @classmethod
    def read(cls, environ: Mapping[str, str], provider: str) -> Self:
        """Read what `environ` sets for this provider. Raise `SettingsError`."""
        values = {}
        for item in attrs.fields(cls):
            name = item.name.upper()
            found = _find(environ, (f"{_prefix(provider)}{name}", name), secret=item.metadata["secret"])
            if found is not None:
                values[item.name] = _parse(*found, item.metadata["kind"])
        settings = cls(**values)
        if settings.accounts and not settings.api_keys:
            raise SettingsError("ACCOUNTS needs API_KEYS: without them nobody could be let in to use the accounts.")
        return settings


def read_site(site_type: type[SiteT], environ: Mapping[str, str], provider: str) -> SiteT:
    """Make a provider's `Site`: its defaults, each field replaced by `<PROVIDER>_<FIELD>` where that is set.

    A field whose metadata has `variable` is read from that one too: a name its users have always set. Lists are
    separated by commas, mappings are JSON objects. Raise `SettingsError`.
    """
    hints = get_type_hints(site_type)
    values = {}
    for item in attrs.fields(site_type):
        kind = _kind_of(hints[item.name], _ends(item.name))
        names = (f"{_prefix(provider)}{item.name.upper()}", item.metadata.get("variable", ""))
        found = _find(environ, names, secret=False)
        if found is not None:
            values[item.name] = _parse(*found, kind)
    try:
        site = site_type(**values)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    for item in attrs.fields(site_type):
        if _ends(item.name) is _BASE and urlsplit(getattr(site, item.name)).hostname not in site.hosts:
            name = f"{_prefix(provider)}{item.name.upper()}"
            raise SettingsError(f"{name} takes an address of one of {_prefix(provider)}HOSTS.")
    return site


def describe() -> list[tuple[str, str, str]]:
    """Give every variable's name, default (empty: none) and help, in the order of the README's table."""
    return [(item.name.upper(), _show(item.default), item.metadata["help"]) for item in attrs.fields(Settings)]


def _parse_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError
    return text


def _parse_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError
    return _parse_line(text)


_LINE = _Kind("text of one line", _parse_line)
_PATH = _Kind("a path that begins with /", _parse_path)
_BASE = _address("https", "http")


def _ends(name: str) -> _Kind:
    """Tell by the end of its name what the text of a site's field is."""
    return _PATH if name.endswith("_path") else _BASE if name.endswith("base") else _LINE


_KINDS: Mapping[Any, _Kind] = {
    int: _whole(0, 10**9),
    float: _number("a number", 0, 1e9, float),
    bool: _FLAG,
    tuple: _LIST,
    frozenset: _Kind(_LIST.takes, lambda text: frozenset(_parse_list(text))),
    dict: _MAPPING,
    Mapping: _MAPPING,
}


def _kind_of(hint: Any, text: _Kind) -> _Kind:
    """Tell how a field of this type, or of this kind of text, is read."""
    origin = get_origin(hint)
    if hint is str:
        return text
    if origin is Literal:
        return _choice(*get_args(hint))
    if origin in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
        return _kind_of(hint, text)
    if origin in (dict, Mapping) and get_args(hint)[1] is Any:
        return _OBJECT
    return _KINDS[origin or hint]


def _prefix(provider: str) -> str:
    return provider.upper().replace("-", "_") + "_"


def _find(environ: Mapping[str, str], names: tuple[str, ...], *, secret: bool) -> tuple[str, str] | None:
    """Give the first of these variables that is set, and its trimmed text; an empty one is not set."""
    for name in names:
        if text := environ.get(name, "").strip():
            return name, text
        if secret and (text := _read_file(name + "_FILE", environ)):
            return name + "_FILE", text
    return None


def _read_file(name: str, environ: Mapping[str, str]) -> str:
    path = environ.get(name, "").strip()
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name} takes the path of a readable text file ({type(error).__name__}).") from None


def _parse(name: str, text: str, kind: _Kind) -> Any:
    try:
        return kind.parse(text)
    except (ValueError, KeyError):
        raise SettingsError(f"{name} takes {kind.takes}.") from None


def _show(default: Any) -> str:
    if default is None or default == ():
        return ""
    return f"{default:g}" if isinstance(default, (bool, float)) else str(default)
