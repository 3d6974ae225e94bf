"""Structured logs, and the one step in which everything logged is redacted."""

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, TextIO, cast
from urllib.parse import unquote, urlsplit

_rich_missing = "rich" not in sys.modules
if _rich_missing:
    # structlog loads rich where it is installed (development tools bring it): 4 MB and 0.1 s, unused here.
    sys.modules["rich"] = cast("Any", None)

import structlog  # noqa: E402
from structlog.typing import EventDict, FilteringBoundLogger, Processor  # noqa: E402

if _rich_missing:
    del sys.modules["rich"]

from shared.redaction import MASK, TEXT_LIMIT, is_secret_name, protect, redact  # noqa: E402
from shared.settings import Settings  # noqa: E402
from shared.upstream import json  # noqa: E402

ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
"""What every line says of the request it is written for."""

_ITEMS_LIMIT = 100
_DEPTH_LIMIT = 6
_FRAMES_LIMIT = 20
"""Items of a logged list or mapping, levels of nesting, frames of a traceback."""


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
    if value is not None and not isinstance(value, bool) and is_secret_name(name):
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
    plain = _NAME.fullmatch(text) and sum(map(str.isdigit, text)) < 4 and redact(text) == text
    return text if plain else "*"
