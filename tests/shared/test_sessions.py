"""Exchanged sessions and newest credentials."""

import asyncio
import time
from math import inf
from typing import Any

import orjson
import pytest
from attrs import field, frozen

from shared import sessions as sessions_module
from shared.common.contract import Alone, Kind
from shared.errors import AccountExpired, SessionRefused, UpstreamUnavailable
from shared.redaction import redact
from shared.sessions import Sessions
from shared.state import CredentialFile
from shared.terms import Credential, Session, TokenSession
from tests.shared.clock import settle

OWN = Credential("own")


class Exchange:
    """Stands in for a provider: gives what `outcomes` says for a token, when `gate` is open."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.outcomes: dict[str, Any] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.seconds = 60.0

    def credential(self, token: str) -> Credential:
        if token.startswith("!"):
            raise AccountExpired
        return Credential(token)

    async def exchange(self, credential: Credential) -> tuple[Session, Credential]:
        self.asked.append(credential.token)
        await self.gate.wait()
        outcome = self.outcomes.get(credential.token, credential.token)
        if isinstance(outcome, Exception):
            raise outcome
        return Session(time.time() + self.seconds), Credential(outcome)


def make() -> tuple[Exchange, Sessions, CredentialFile]:
    exchange: Any = Exchange()
    newest = CredentialFile(None, "toy")
    return exchange, Sessions(exchange.exchange, exchange.credential, newest), newest


async def test_one_flight_for_all_and_its_session_is_kept() -> None:
    exchange, sessions, _ = make()
    first, *others = await asyncio.gather(*(sessions.get("d", OWN) for _ in range(5)))
    assert all(other is first for other in others)
    assert await sessions.get("d", OWN) is first
    assert exchange.asked == ["own"]
    await sessions.get("e", OWN)
    assert exchange.asked == ["own", "own"]


async def test_what_an_exchange_gives_is_kept_out_of_the_log() -> None:
    # None of it is hidden for its looks.
    access, newest = "a plain access word", "a plain newest word"

    async def exchange(_: Credential) -> tuple[TokenSession, Credential]:
        return TokenSession(time.time() + 60, access), Credential(newest)

    assert redact(f"{access}, {newest}") == f"{access}, {newest}"
    await Sessions(exchange, Credential, CredentialFile(None, "toy")).get("d", OWN)
    assert "plain" not in redact(f"{access}, {newest}")


async def test_a_session_is_used_until_it_expires() -> None:
    exchange, sessions, _ = make()
    exchange.seconds = -1
    await sessions.get("d", OWN)
    await sessions.get("d", OWN)
    assert exchange.asked == ["own", "own"]


async def test_one_who_leaves_cancels_nothing() -> None:
    exchange, sessions, _ = make()
    exchange.gate.clear()
    first, second = (asyncio.create_task(sessions.get("d", OWN)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    exchange.gate.set()
    assert await second is await sessions.get("d", OWN)
    assert exchange.asked == ["own"]


async def test_when_all_have_left_the_exchange_comes_home_and_its_failure_is_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange, sessions, _ = make()
    exchange.gate.clear()
    exchange.outcomes["own"] = UpstreamUnavailable()
    only = asyncio.create_task(sessions.get("d", OWN))
    await settle()
    only.cancel()
    await settle()
    exchange.gate.set()
    await sessions.close()
    await settle()
    assert caplog.records == []


async def test_a_failure_goes_to_all_and_is_never_kept() -> None:
    exchange, sessions, _ = make()
    exchange.outcomes["own"] = UpstreamUnavailable()
    failures = await asyncio.gather(*(sessions.get("d", OWN) for _ in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [UpstreamUnavailable] * 3
    assert exchange.asked == ["own"]
    exchange.outcomes.clear()
    assert await sessions.get("d", OWN)
    assert exchange.asked == ["own", "own"]


async def test_the_newest_credential_is_kept_and_used() -> None:
    exchange, sessions, newest = make()
    exchange.outcomes |= {"own": "newer", "newer": "newest"}
    session = await sessions.get("d", OWN)
    assert newest.get("d") == "newer"
    sessions.drop("d", session)
    await sessions.get("d", OWN)
    assert exchange.asked == ["own", "newer"]
    assert sessions.credential("d", OWN) == Credential("newest")
    assert sessions.credential("e", OWN) == OWN


@pytest.mark.parametrize("refusal", [AccountExpired, SessionRefused])
async def test_a_refused_newest_credential_falls_back_once(refusal: type[Exception]) -> None:
    exchange, sessions, newest = make()
    await newest.put("d", "newer")
    exchange.outcomes["newer"] = refusal()
    assert await sessions.get("d", OWN)
    assert exchange.asked == ["newer", "own"]
    assert newest.get("d") is None


async def test_both_refused_is_the_refusal_of_the_clients_token() -> None:
    exchange, sessions, newest = make()
    await newest.put("d", "newer")
    exchange.outcomes |= {"newer": AccountExpired("newer"), "own": AccountExpired("own")}
    with pytest.raises(AccountExpired, match="own"):
        await sessions.get("d", OWN)
    assert exchange.asked == ["newer", "own"]
    # The site may be unwell, and take the newest again.
    assert newest.get("d") == "newer"


async def test_a_renewal_that_fails_costs_no_session() -> None:
    exchange, sessions, _ = make()
    session = await sessions.get("d", OWN)
    exchange.outcomes["own"] = UpstreamUnavailable()
    with pytest.raises(UpstreamUnavailable):
        await sessions.renew("d", OWN, exchange.exchange)
    assert await sessions.get("d", OWN) is session


async def test_a_site_that_is_away_costs_no_newest_credential() -> None:
    exchange, sessions, newest = make()
    await newest.put("d", "newer")
    exchange.outcomes["newer"] = UpstreamUnavailable()
    with pytest.raises(UpstreamUnavailable):
        await sessions.get("d", OWN)
    assert (exchange.asked, newest.get("d")) == (["newer"], "newer")


async def test_a_kept_token_that_cannot_be_read_is_as_none() -> None:
    exchange, sessions, newest = make()
    await newest.put("d", "!old form")
    assert await sessions.get("d", OWN)
    assert exchange.asked == ["own"]


async def test_only_the_session_that_was_refused_is_dropped() -> None:
    _, sessions, _ = make()
    old = await sessions.get("d", OWN)
    sessions.drop("d", old)
    new = await sessions.get("d", OWN)
    sessions.drop("d", old)
    assert await sessions.get("d", OWN) is new
    sessions.drop("d", None)
    assert await sessions.get("d", OWN) is not new


@frozen
class KeySession(Session):
    key: str = field(repr=False)


class Shared(Alone):
    """What another replica has left."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Kind, str], bytes] = {}

    async def fetch(self, kind: Kind, name: str) -> bytes | None:
        return self.kept.get((kind, name))

    async def store(self, kind: Kind, name: str, value: bytes, seconds: float | None) -> None:
        self.kept[kind, name] = value


def make_shared() -> tuple[Exchange, Sessions, Shared]:
    exchange: Any = Exchange()
    shared = Shared()
    sessions = Sessions(exchange.exchange, exchange.credential, CredentialFile(None, "toy"), shared, KeySession)
    return exchange, sessions, shared


async def test_what_another_replica_has_is_taken_over_and_kept_out_of_the_log() -> None:
    exchange, sessions, shared = make_shared()
    kept = KeySession(time.time() + 60, "the-shared-key")
    shared.kept["session", "d"] = orjson.dumps({"expires_at": kept.expires_at, "key": kept.key})
    shared.kept["credential", "d"] = b"the-newest-token"
    assert await sessions.get("d", OWN) == kept
    assert await sessions.get("d", OWN) is await sessions.get("d", OWN)
    assert sessions.credential("d", OWN) == Credential("the-newest-token")
    assert exchange.asked == []
    assert "the-" not in redact("the-shared-key the-newest-token")


async def test_a_token_that_another_replica_has_renewed_takes_the_place_of_ours() -> None:
    exchange, sessions, shared = make_shared()
    exchange.outcomes = {"own": "first"}
    exchange.seconds = -1
    await sessions.get("d", OWN)
    shared.kept["credential", "d"] = b"second"
    shared.kept["session", "d"] = orjson.dumps({"expires_at": time.time() + 60, "key": "k"})
    await sessions.get("d", OWN)
    assert sessions.credential("d", OWN) == Credential("second")
    assert exchange.asked == ["own"]


async def test_the_first_token_that_is_taken_is_the_newest_whoever_knows_it() -> None:
    exchange, sessions, shared = make_shared()
    exchange.outcomes = {"shared": AccountExpired(), "own": "first"}
    await sessions.get("d", OWN)
    assert (shared.kept["credential", "d"], sessions.credential("d", OWN)) == (b"first", Credential("first"))
    # As from a backup: older than what is known here.
    shared.kept = {("credential", "d"): b"shared"}
    await sessions.renew("d", OWN, exchange.exchange)
    assert exchange.asked == ["own", "shared", "first"]
    assert sessions.credential("d", OWN) == Credential("first")
    # Of none that the site refuses anything is left.
    exchange.outcomes = {"first": SessionRefused()}
    await sessions.renew("d", OWN, exchange.exchange)
    assert exchange.asked[3:] == ["first", "own"]
    assert sessions.credential("d", OWN) == OWN


@pytest.mark.parametrize(
    "kept",
    [
        {"expires_at": 1.0, "key": "over"},
        {"expires_at": 1e12},
        {"expires_at": 1e12, "key": "k", "new": 1},
        {"expires_at": "never", "key": "k"},
        [],
        None,
    ],
)
async def test_what_is_over_or_of_another_version_is_exchanged(kept: Any) -> None:
    exchange, sessions, shared = make_shared()
    shared.kept["session", "d"] = orjson.dumps(kept)
    await sessions.get("d", OWN)
    assert exchange.asked == ["own"]


async def test_a_renewal_takes_nothing_over_but_the_newest_credential() -> None:
    exchange, sessions, shared = make_shared()
    shared.kept["session", "d"] = orjson.dumps({"expires_at": 1e12, "key": "k"})
    shared.kept["credential", "d"] = b"newest"
    await sessions.renew("d", OWN, exchange.exchange)
    assert exchange.asked == ["newest"]
    assert orjson.loads(shared.kept["session", "d"])["expires_at"] < 1e12


async def test_a_session_without_an_end_is_not_handed_on() -> None:
    exchange, sessions, shared = make_shared()
    exchange.seconds = inf
    await sessions.get("d", OWN)
    assert shared.kept == {}


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "SESSIONS_MOST", 2)
    exchange, sessions, _ = make()
    for digest, seconds in (("a", 50), ("b", 60), ("c", 70)):
        exchange.seconds = seconds
        await sessions.get(digest, OWN)
    assert len(exchange.asked) == 3
    await sessions.get("b", OWN)
    await sessions.get("c", OWN)
    assert len(exchange.asked) == 3
    await sessions.get("a", OWN)
    assert len(exchange.asked) == 4
