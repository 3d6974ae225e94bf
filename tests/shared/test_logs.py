import io
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.cookies import CookieError
from typing import Any

import orjson
import pytest
import structlog
from attrs import evolve

from shared import logs, redaction
from shared.errors import UpstreamUnavailable
from shared.settings import Settings

JWT = "eyJmYWtl.eyJmYWtlIjoxfQ.fake-signature"
HEX = "0123456789abcdef" * 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging is the process's: give it back as it was, and secrets of one test are none of the next."""
    monkeypatch.setattr(redaction, "_secrets", redaction._Secrets())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # `configure` closes the handlers it replaces; pytest's own are still needed.
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logs.ABOUT.set({})
    structlog.reset_defaults()


class Log:
    """A configured log and its lines."""

    def __init__(self, stream: io.StringIO | None = None, **settings: Any) -> None:
        self.stream = stream or io.StringIO()
        self.settings = evolve(Settings(), **settings)
        logs.configure(self.settings, self.stream)
        self.logger = logs.get_logger("shared.tests")

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text.splitlines()]


def test_a_line_is_json_with_time_level_logger_and_context() -> None:
    log = Log()
    logs.ABOUT.set({"request_id": "r-1", "account": "0123456789ab"})
    log.logger.info("answered", status=200, seconds=1.5, stream=True, model=None)
    (line,) = log.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "answered",
        "level": "info",
        "logger": "shared.tests",
        "request_id": "r-1",
        "account": "0123456789ab",
        "status": 200,
        "seconds": 1.5,
        "stream": True,
        "model": None,
    }


def test_a_terminal_gets_text() -> None:
    log = Log(Terminal())
    try:
        fail(UpstreamUnavailable(f"token={JWT}"))
    except UpstreamUnavailable:
        log.logger.exception("failed", token=JWT, count=3)
    assert "failed" in log.text
    assert "count" in log.text
    assert "UpstreamUnavailable" in log.text
    assert "eyJ" not in log.text


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_the_level_holds_for_both_ways_of_logging(level: str, seen: int) -> None:
    log = Log(log_level=level)
    standard = logging.getLogger("aiohttp.tests")
    for logger in (log.logger, standard):
        for method in ("debug", "info", "warning", "error"):
            getattr(logger, method)("something")
    assert [line["logger"] for line in log.lines] == ["shared.tests"] * seen + ["aiohttp.tests"] * seen


def test_a_new_set_up_holds_for_loggers_already_in_use() -> None:
    first = Log()
    first.logger.info("one")
    second = io.StringIO()
    logs.configure(Settings(), second)
    first.logger.info("two")
    assert [line["event"] for line in first.lines] == ["one"]
    assert b"two" in second.getvalue().encode()


def test_what_is_logged_can_be_captured() -> None:
    log = Log()
    log.logger.info("one")
    with structlog.testing.capture_logs() as captured:
        log.logger.error("two")
    log.logger.info("three")
    assert [line["event"] for line in captured] == ["two"]
    assert [line["event"] for line in log.lines] == ["one", "three"]


def test_the_standard_library_goes_the_same_way() -> None:
    log = Log()
    logs.ABOUT.set({"request_id": "r-1"})
    logging.getLogger("asyncio").warning("call of %s", f"https://fake.example/a?sign={HEX}")
    logging.getLogger("asyncio").warning("%d fits nothing", "a text")
    first, second = log.lines
    assert first["event"] == "call of https://fake.example/a?..."
    assert first["request_id"] == "r-1"
    assert second["event"] == "%d fits nothing"


def test_nobody_reading_is_no_error() -> None:
    Log(Broken()).logger.info("lost")
    closed = io.StringIO()
    log = Log(closed)
    closed.close()
    log.logger.info("lost")


@pytest.mark.parametrize("value", ["\ud83d", 2**70, {"\ud83d": "\udc00"}, float("nan")])
def test_what_json_cannot_hold_is_still_a_line(value: Any) -> None:
    log = Log()
    log.logger.info("odd", value=value)
    assert log.text.startswith("{")
    assert log.text.endswith("}\n")
    assert '"odd"' in log.text


@pytest.mark.parametrize(
    "wrap",
    [
        str,
        lambda s: f"before {s} after",
        lambda s: f"x{s}x",
        lambda s: f"/path/{s}/more",
        lambda s: [s],
        lambda s: {"a": {"b": (s,)}},
        lambda s: {s: 1},
        lambda s: {f"x{s}", "y"},
        lambda s: s.encode(),
        lambda s: ValueError(f"for {s}"),
        lambda s: type("Thing", (), {"__repr__": lambda _: f"Thing({s!r})"})(),
        lambda s: orjson.dumps({"x": s}).decode(),
        lambda s: {"x": {"y": f"repr {s!r}"}},
    ],
)
@pytest.mark.parametrize(
    "secret", ["fake-9", "12345-fakefakefakefake", 'fake\'s "own" \\ word', "fake;a=%b c", "fake 秘密"]
)
def test_a_protected_secret_is_found_wherever_it_is(secret: str, wrap: Callable[[str], Any]) -> None:
    redaction.protect(secret)
    log = Log()
    log.logger.info("line", value=wrap(secret))
    assert "fake" not in log.text
    assert "[redacted]" in log.text


def test_the_servers_own_secrets_are_protected() -> None:
    log = Log(accounts=("fake-acc",), api_keys=("fake-key",), outbound_proxy="http://me:fake%40word@h:1")
    log.logger.info("fake-acc fake-key fake%40word fake@word")
    assert log.lines[0]["event"] == " ".join(["[redacted]"] * 4)


@pytest.mark.parametrize(
    "name", ["token", "Authorization", "set_cookie", "refresh_token", "password", "client_secret", "api_key", "apiKey"]
)
def test_values_are_hidden_by_their_names(name: str) -> None:
    log = Log()
    log.logger.info("line", **{name: "fake"}, headers={name: ["fake"]}, pairs=[{name: 5}])
    line = log.lines[0]
    assert (line[name], line["headers"], line["pairs"]) == ("[redacted]", {name: "[redacted]"}, [{name: "[redacted]"}])


def test_that_there_is_no_token_may_be_said() -> None:
    log = Log()
    log.logger.info("line", token=None, cookie=False)
    assert (log.lines[0]["token"], log.lines[0]["cookie"]) == (None, False)


def test_large_and_deep_values_are_bounded() -> None:
    deep: Any = "end"
    for _ in range(50):
        deep = [deep]
    log = Log()
    log.logger.info("line", deep=deep, wide=list(range(10_000)))
    assert len(log.text) < 1500


def fail(error: Exception, cause: Exception | None = None) -> None:
    raise error from cause


def raise_group(secret: str) -> None:
    error = ValueError(f"first token={secret}")
    error.add_note(f"note {secret}")
    raise ExceptionGroup(f"group {secret}", [error])


def raise_chain(secret: str) -> None:
    try:
        fail(ValueError(f"second {secret}"), KeyError(f"first {secret}"))
    except ValueError:
        raise UpstreamUnavailable(f"third {secret}")  # noqa: B904 - a context without a cause


@pytest.mark.parametrize(
    ("raiser", "parts"),
    [
        (raise_group, ["group [redacted]", "One of its", "ValueError: first token=[redacted]", "note [redacted]"]),
        (raise_chain, ["KeyError: 'first", "direct cause", "ValueError: second", "handling", "Unavailable: third"]),
    ],
)
def test_exceptions_are_whole_and_redacted(raiser: Callable[[str], None], parts: list[str]) -> None:
    redaction.protect("fake-word")
    log = Log()
    try:
        raiser("fake-word")
    except Exception:
        log.logger.exception("failed")
    written = log.lines[0]["exception"]
    places = [written.index(part) for part in parts]
    assert places == sorted(places)
    assert "fake-word" not in log.text
    assert f'File "{__file__}", line ' in written
    assert f"in {raiser.__name__}" in written


def test_the_name_of_an_exception_is_no_secret() -> None:
    log = Log()
    log.logger.error("failed", exc_info=CookieError("Illegal key"))
    log.logger.error("failed", exc_info=SyntaxError("bad", ("<text>", 1, 1, "token = 'fake'")))
    assert log.lines[0]["exception"] == "http.cookies.CookieError: Illegal key"
    assert "fake" not in log.text


@pytest.mark.parametrize("as_tuple", [False, True])
def test_an_exception_can_be_given(as_tuple: bool) -> None:
    log = Log()
    error = UpstreamUnavailable(f"Bearer {HEX}")
    log.logger.error("failed", exc_info=(type(error), error, None) if as_tuple else error)
    assert log.lines[0]["exception"] == "shared.errors.UpstreamUnavailable: Bearer [redacted]"


def test_no_exception_is_none() -> None:
    log = Log()
    log.logger.error("failed", exc_info=True)
    log.logger.error("failed", exc_info=None)
    assert all("exception" not in line and "exc_info" not in line for line in log.lines)


def test_endless_recursion_is_a_short_line() -> None:
    def endless() -> None:
        endless()

    log = Log()
    try:
        endless()
    except RecursionError:
        log.logger.exception("failed")
    assert len(log.text) < 5000


def test_uncaught_exceptions_are_logged() -> None:
    log = Log()
    logs.log_uncaught()
    error = ValueError(f"token={JWT}")
    sys.excepthook(ValueError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    class Fails:
        def __del__(self) -> None:
            raise error

    Fails()
    assert [line["exception"].splitlines()[-1] for line in log.lines] == ["ValueError: token=[redacted]"] * 2


def test_the_log_loads_nothing_large() -> None:
    code = "import sys, shared.logs; print([name for name in ('rich', 'twisted') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
