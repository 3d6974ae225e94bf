"""Structured logs, and the one redaction step that everything logged goes through.

Redaction prefers to hide too much. It knows secrets in three ways: by value (`protect`), by the name they are
given (`token=...`, `Cookie: ...`, keys of mappings) and by their looks (JWTs, long random runs, queries of URLs).
"""

import json as standard_json
import logging
import re
import sys
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, TextIO, cast
from urllib.parse import quote, unquote, urlsplit

_rich_missing = "rich" not in sys.modules
if _rich_missing:
    # structlog loads rich where it is installed (development tools bring it): 4 MB and 0.1 s, unused here.
    sys.modules["rich"] = cast("Any", None)

import structlog  # noqa: E402
from structlog.typing import EventDict, FilteringBoundLogger, Processor  # noqa: E402

if _rich_missing:
    del sys.modules["rich"]

from shared.settings import Settings  # noqa: E402
from shared.upstream import json  # noqa: E402

MASK = "[redacted]"
TEXT_LIMIT = 16 * 1024
"""Characters of one logged text; what is longer is cut at a space, so that no half secret stays."""

ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
"""What every line says of the request it is written for."""

_SECRETS_LIMIT = 10_000
_SECRETS_SIZE = 4 * 1024 * 1024
"""Secrets remembered by value: their number, and their characters in all (a JWT has about a thousand)."""

_SECRET_LENGTH = 8 * 1024
_TAIL = 6
"""Characters a secret is looked up by, hence of the shortest: hiding shorter ones would hide all else."""

_PIECE = range(16, 40)
"""Lengths of a secret's parts that are secrets too (`uid-sid`); longer ones are seen by their looks."""

_ITEMS_LIMIT = 100
_DEPTH_LIMIT = 6
_FRAMES_LIMIT = 20
"""Items of a logged list or mapping, levels of nesting, frames of a traceback."""


class _Secrets:
    """The texts that must never be logged. Finding them costs the same for ten and for ten thousand."""

    def __init__(self) -> None:
        self._forms: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._by_tail: dict[str, list[str]] = {}
        self._size = 0

    def add(self, secret: str) -> None:
        secret = secret[:_SECRET_LENGTH]
        if secret in self._forms:
            self._forms.move_to_end(secret)
            return
        forms = self._forms[secret] = tuple(_forms(secret))
        for form in forms:
            self._by_tail.setdefault(form[-_TAIL:], []).append(form)
        self._size += sum(map(len, forms))
        while len(self._forms) > _SECRETS_LIMIT or self._size > _SECRETS_SIZE:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, forms = self._forms.popitem(last=False)
        for form in forms:
            same_tail = self._by_tail[form[-_TAIL:]]
            same_tail.remove(form)
            if not same_tail:
                del self._by_tail[form[-_TAIL:]]
        self._size -= sum(map(len, forms))

    def mask(self, text: str) -> str:
        # Other threads log too: what is iterated here is never the dictionary that `add` changes.
        if len(self._by_tail) < len(text):
            tails = [tail for tail in list(self._by_tail) if tail in text]
        else:
            tails = [text[i : i + _TAIL] for i in range(len(text) - _TAIL + 1)]
        found = {form for tail in tails for form in self._by_tail.get(tail, ()) if form in text}
        return _without(text, found) if found else text


def _forms(secret: str) -> Iterator[str]:
    """Give a secret as it can come up: as it is, escaped, quoted, and the parts it is glued together from."""
    parts = (part for part in re.split(r"[^A-Za-z0-9]+", secret) if len(part) in _PIECE)
    escaped = (
        quote(secret, safe="", errors="replace"),
        repr(secret)[1:-1],
        standard_json.dumps(secret)[1:-1],
    )
    yield from (form for form in dict.fromkeys((secret, *escaped, *parts)) if len(form) >= _TAIL)


def _without(text: str, found: set[str]) -> str:
    """Mask every occurrence of these texts, overlapping ones as one."""
    spans = sorted(span for form in found for span in _occurrences(text, form))
    pieces, end = [], 0
    for start, stop in spans:
        if start >= end:
            pieces += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*pieces, text[end:]])


def _occurrences(text: str, form: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


_secrets = _Secrets()

_HEADER_NAMES = r"authori[sz]ation|cookie|morsel"
_NAMES = r"token|secret|passw(?:or)?d|api[-_]?key|credential|ticket|session[-_]?id|jwt"
_SECRET_NAME = re.compile(rf"{_HEADER_NAMES}|{_NAMES}", re.IGNORECASE)

_NAMED = re.compile(
    rf"""
    ((?:({_HEADER_NAMES})|{_NAMES})[\w-]{{0,40}}    # the end of a name, a header's in group 2
    (?:\\*["'])?\s{{0,4}}                           # its closing quote, perhaps escaped
    (?:[:=]|(?<=["']),)\s{{0,4}})                   # of `name: `, `name=` or `('name', `
    (?: b?(["'])(?:\\.|(?!\3)[^\\])*\3?             # a quoted value
      | b?(\\+["']).*?(?:\4|$)                      # a value whose quotes are escaped
      | (?!\[redacted\])[\[({{][^\r\n]*             # a list or mapping: the rest of the line
      | (?(2)[^\r\n]+                               # a header: the rest of the line
        | (?:\[redacted\]|[^\s,;&"'<>)\]}}])+)      # a word, perhaps masked in part
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_BEARER = re.compile(r"(bearer|basic)\s+[^\s,\"'<>]+(?:\s*,\s*[^\s,\"'<>]+)*", re.IGNORECASE)
_URL = re.compile(r"://([^\s/?#@\"'<>]*(?:@[^\s/?#@\"'<>]*)*@)?([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?")
_QUERY = re.compile(r"\?[\w.~%\[\]-]{1,80}=[^\s\"'<>]*")
_JWT = re.compile(r"eyJ[A-Za-z0-9._~+/=%-]*")
_JOINT = re.compile(r"[? \t=:,]")
_RUN_LENGTH = 40
_RUN = re.compile(rf"[A-Za-z0-9+/_=%-]{{{_RUN_LENGTH},}}")
_UNBROKEN = re.compile(r"[A-Za-z0-9]{40,}")
_DIGIT, _LOWER, _UPPER = re.compile("[0-9]"), re.compile("[a-z]"), re.compile("[A-Z]")


def protect(secret: str) -> None:
    """Never log this text (an account token, an API key): wherever it comes up, it is masked.

    To be called whenever one is seen; a known one costs a look-up. Texts under 6 characters are not masked.
    """
    _secrets.add(secret)


def redact(text: str) -> str:
    """Give a text without what is or may be secret, and no longer than `TEXT_LIMIT`."""
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT].rpartition(' ')[0]} [cut]"
    text = _secrets.mask(text)
    # Most texts of a log line are a word or two.
    plain = len(text) < _RUN_LENGTH and "eyJ" not in text and _JOINT.search(text) is None
    return text if plain else _without_looks(text)


def _without_looks(text: str) -> str:
    """Mask what looks like a secret."""
    if "eyJ" in text:
        text = _JWT.sub(MASK, text)
    if "://" in text:
        text = _URL.sub(_short_url, text)
    if "?" in text:
        text = _QUERY.sub("?...", text)
    if " " in text or "\t" in text:
        text = _BEARER.sub(rf"\1 {MASK}", text)
    if "=" in text or ":" in text or "," in text:
        text = _NAMED.sub(rf"\1\3\4{MASK}\4\3", text)
    return _RUN.sub(_mask_random, text)


def _short_url(match: re.Match[str]) -> str:
    user, place, query = match.groups()
    return f"://{MASK + '@' if user else ''}{place}{query[0] + '...' if query else ''}"


def _mask_random(match: re.Match[str]) -> str:
    """Mask base64 and hex; leave paths, identifiers and `chatcmpl-<32 hex digits>`."""
    run = match[0]
    mixed = _DIGIT.search(run) and _LOWER.search(run) and _UPPER.search(run)
    return MASK if mixed or _UNBROKEN.search(run) else run


@lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _clean(value: Any, depth: int = _DEPTH_LIMIT) -> Any:
    """Give what a log line can hold, as JSON types, without secrets."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (Mapping, list, tuple, set, frozenset)) and not depth:
        return "..."
    if isinstance(value, Mapping):
        return {redact(str(name)): _clean_named(str(name), value[name], depth - 1) for name in _first(value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth - 1) for item in _first(value)]
    if isinstance(value, BaseException):
        return redact(f"{type(value).__name__}: {value}")
    return redact(value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value))


def _clean_named(name: str, value: Any, depth: int) -> Any:
    if value is not None and not isinstance(value, bool) and _is_secret_name(name):
        return MASK
    return _clean(value, depth)


def _first(values: Iterable[Any]) -> list[Any]:
    return [value for value, _ in zip(values, range(_ITEMS_LIMIT), strict=False)]


def _redact_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Redact an event, its exception included: the processor."""
    error = _error_of(event.pop("exc_info", None))
    clean = {name: _clean_named(name, value, _DEPTH_LIMIT) for name, value in event.items()}
    if error is not None:
        clean["exception"] = _traceback(
            traceback.TracebackException.from_exception(error, limit=-_FRAMES_LIMIT, lookup_lines=False, compact=True)
        )
    return clean


def _error_of(exc_info: Any) -> BaseException | None:
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return error if isinstance(error, BaseException) else None


def _traceback(error: traceback.TracebackException) -> str:
    """Write an exception and what led to it: frames without source or values, messages redacted."""
    lines = []
    if error.__cause__ is not None:
        lines += [_traceback(error.__cause__), "", "The above exception was the direct cause of:", ""]
    elif error.__context__ is not None and not error.__suppress_context__:
        lines += [_traceback(error.__context__), "", "During the handling of which came:", ""]
    lines += [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in error.stack]
    # The name stays out of it: what follows `CookieError: ` is not a cookie.
    name, colon, message = "".join(error.format_exception_only()).rstrip().partition(": ")
    lines.append((name if " " not in name else redact(name)) + colon + redact(message))
    for inner in error.exceptions or ():
        lines += ["One of its exceptions:", _traceback(inner)]
    return "\n".join(lines)


def message_text(settings: Settings, text: str) -> str | None:
    """Give the text of a message for a log line: None unless `LOG_MESSAGES` is set."""
    return text if settings.log_messages else None


class _Output:
    """Where a logger's lines go. The logging methods are what structlog calls, by level."""

    stream: ClassVar[TextIO] = sys.stderr

    def __init__(self, name: str = "") -> None:
        self.name = name

    def write(self, line: str) -> None:
        """Write a line; that nobody can read it is no reason to fail a request."""
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = write


_processors: list[Processor] = []
"""Changed in place: loggers keep what they found at their first use."""


class _StandardHandler(logging.Handler):
    """Sends the standard library's records (aiohttp, asyncio) the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. One whose arguments do not fit its text is written as its text."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            text = str(record.msg)
        output = _Output(record.name)
        event: Any = {"event": text, "exc_info": record.exc_info}
        for processor in _processors:
            event = processor(output, record.levelname.lower(), event)
        output.write(event)


def _add_about(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {**ABOUT.get(), **event}


def _add_logger(output: _Output, _method: str, event: EventDict) -> EventDict:
    event["logger"] = output.name
    return event


def _write_json(_logger: Any, _method: str, event: EventDict) -> str:
    return json.dumps(event).decode("utf-8")


def _terminal_writer() -> Processor:
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error): JSON lines, or coloured text on a terminal.

    The level of a logger that was used before does not change.
    """
    _Output.stream = stream or sys.stderr
    for secret in (*settings.accounts, *settings.api_keys, *_passwords(settings.outbound_proxy, settings.redis_url)):
        protect(secret)
    _processors[:] = [
        _add_about,
        _redact_event,
        structlog.processors.add_log_level,
        _add_logger,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _terminal_writer() if _Output.stream.isatty() else _write_json,
    ]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=_Output,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_StandardHandler()], level=settings.log_level.upper(), force=True)


def _passwords(*addresses: str | None) -> Iterator[str]:
    for address in addresses:
        password = urlsplit(address or "").password
        if password:
            yield from (password, unquote(password))


def log_uncaught() -> None:
    """Send exceptions that nothing catches, for the whole process, to the log instead of standard error."""
    sys.excepthook = _log_uncaught
    sys.unraisablehook = lambda item: _log_uncaught(item.exc_type, item.exc_value, item.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    get_logger(__name__).error("uncaught exception", exc_info=error)


def get_logger(name: str) -> FilteringBoundLogger:
    """Give the logger of a module; the name is the line's `logger`."""
    return cast("FilteringBoundLogger", structlog.get_logger(name))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_SHAPE_LIMIT = 600
_SHAPE_KEYS = 16
_SHAPE_DEPTH = 4


def shape(value: Any) -> str:
    """Sketch a JSON value for the log: keys and types, `{code int, data {parts [2 {text str}]}}`.

    Of a list its length and first item; a key that is no plain name, and may be data, is `*`.
    """
    return _sketch(value, _SHAPE_DEPTH)[:_SHAPE_LIMIT]


def _sketch(value: Any, depth: int) -> str:
    if not isinstance(value, (Mapping, list)):
        return "null" if value is None else type(value).__name__
    if not value or not depth:
        return f"{{{len(value)}}}" if isinstance(value, Mapping) else f"[{len(value)}]"
    if isinstance(value, list):
        return f"[{len(value)} {_sketch(value[0], depth - 1)}]"
    parts = [f"{_safe_name(name)} {_sketch(value[name], depth - 1)}" for name in _first(value)[:_SHAPE_KEYS]]
    return "{" + ", ".join(parts) + (", ..." if len(value) > _SHAPE_KEYS else "") + "}"


def _safe_name(name: Any) -> str:
    text = str(name)[:TEXT_LIMIT]
    plain = _NAME.fullmatch(text) and len(_DIGIT.findall(text)) < 4 and redact(text) == text
    return text if plain else "*"
