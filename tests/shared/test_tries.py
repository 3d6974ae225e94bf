"""Every row of the table of errors: what it does to the account, to the request, and what the client hears."""

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from shared import slots as slots_module
from shared import tries
from shared.errors import AddressLimited
from tests.house import House
from tests.shared.toy import Told, ask, asks, toy
from tests.shared.toysite import HELLO, Scene, World, fails, refuses

FAST = {"ACCOUNT_WAIT": "0.3", "RETRIES": "2"}
FINAL = "final"
"""No other account is asked."""


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "BUSY_PAUSE", 0.02)


def heard(told: Told) -> tuple[int, str, str | None]:
    return told.status, told.code, told.headers.get("Retry-After")


ROWS: list[tuple[Scene, int, tuple[int, str, str | None]]] = [
    # the refusal, calls of one account until the client hears of it, what the client hears
    (refuses("SessionRefused"), 2, (401, "invalid_api_key", None)),
    (refuses("AccountExpired"), 1, (401, "invalid_api_key", None)),
    (refuses("AccountLimited", retry_after=33), 1, (429, "rate_limit_exceeded", "33")),
    (refuses("AccountLimited"), 1, (429, "rate_limit_exceeded", "10")),
    (refuses("AccountBarred", retry_after=3600), 1, (403, "account_barred", "3600")),
    (refuses("AccountBarred"), 1, (403, "account_barred", None)),
    (refuses("AddressLimited", retry_after=7), 1, (429, "rate_limit_exceeded", "7")),
    (refuses("ContentBlocked", "words"), 1, (400, "content_filter", None)),
    (refuses("RequestRefused", "words"), 1, (400, "request_refused", None)),
    (refuses("AttachmentRefused", "words"), 1, (400, "invalid_attachment", None)),
    (refuses("AttachmentTooLarge", "words"), 1, (413, "attachment_too_large", None)),
    (refuses("ConversationUnknown"), 1, (404, "conversation_not_found", None)),
    (refuses("UpstreamUnavailable"), 3, (502, "upstream_unavailable", None)),
    (refuses("UpstreamTimeout"), 3, (504, "upstream_timeout", None)),
    (refuses("UpstreamChanged"), 1, (502, "upstream_changed", None)),
    (Scene(body=b"<html>", content_type="text/html"), 3, (502, "upstream_unavailable", None)),
    (Scene(body=b"<html>"), 3, (502, "upstream_unavailable", None)),
    (Scene(body=b" \n<html>", status=503, content_type="text/html"), 3, (502, "upstream_unavailable", None)),
    (Scene(body=b'\xef\xbb\xbf\n{"odd": 1}'), 1, (502, "upstream_changed", None)),
    (Scene(body=b'{"odd": 1}'), 1, (502, "upstream_changed", None)),
    (Scene(body=b""), 3, (502, "upstream_unavailable", None)),
    (Scene(HELLO[3:]), 3, (502, "upstream_unavailable", None)),
    (Scene(({"finish": "content_filter"},)), 1, (400, "content_filter", None)),
]


def in_stream(scene: Scene) -> Scene:
    assert scene.refuse is not None
    return fails(scene.refuse["refuse"], {"conversation": "*"}, retry_after=scene.refuse["retry_after"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("scene", "calls", "wanted"), [*ROWS, *((in_stream(row[0]), *row[1:]) for row in ROWS if row[0].refuse)]
)
async def test_what_the_client_hears(
    scene: Scene, calls: int, wanted: tuple[int, str, str | None], stream: bool
) -> None:
    async with toy(**FAST) as (world, house):
        world.play(*[scene] * calls)
        told = await ask(house, asks(stream))
        assert heard(told) == wanted
        assert len(world.tokens()) == calls
        assert told.headers["Access-Control-Allow-Origin"] == "*"
        if scene.refuse and scene.refuse["message"]:
            assert told.json["error"]["message"] == "words"
        await world.until(lambda: not world.conversations)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "tokens"),
    [
        ("SessionRefused", ["t1", "t1"]),
        ("AccountExpired", ["t1", "t2"]),
        ("AccountBusy", ["t1", "t2"]),
        ("AccountLimited", ["t1", "t2"]),
        ("AccountBarred", ["t1", "t2"]),
        ("ConversationUnknown", ["t1", "t2"]),
        ("UpstreamUnavailable", ["t1", "t2"]),
        ("AddressLimited", FINAL),
        ("ContentBlocked", FINAL),
        ("RequestRefused", FINAL),
        ("AttachmentRefused", FINAL),
        ("UpstreamChanged", FINAL),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_who_is_asked_next(kind: str, tokens: Any, stream: bool, late: bool) -> None:
    async with toy(**FAST) as (world, house):
        world.play(fails(kind, {"conversation": "*"}) if late else refuses(kind))
        told = await ask(house, asks(stream), "t1,t2")
        if tokens == FINAL:
            assert (told.status != 200, world.tokens()) == (True, ["t1"])
        else:
            assert (told.text, world.tokens()) == ("Hello world", tokens)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("SessionRefused", 401),
        ("AccountExpired", 401),
        ("AccountBusy", 429),
        ("AccountLimited", 429),
        ("AccountBarred", 403),
        ("ConversationUnknown", 404),
        ("UpstreamUnavailable", 502),
    ],
)
async def test_what_was_committed_is_refused_for_good(kind: str, status: int) -> None:
    async with toy(**FAST) as (world, house):
        # Whatever the account before has met.
        world.scenes["t1"].append(refuses("AccountLimited"))
        world.scenes["look"].append(refuses(kind))
        told = await ask(house, {"prompt": "p"}, "t1,t2", "/v1/videos/generations")
        assert (told.status, world.tokens("film")) == (status, ["t1", "t2"])


async def test_a_try_that_had_begun_is_forgotten_before_the_next() -> None:
    async with toy(**FAST) as (world, house):
        world.play(fails("AccountLimited", {"conversation": "*"}))
        await ask(house, token="t1,t2")
        paths = [(path, token) for path, token, _ in world.asked if path in ("chat", "forget")]
        assert paths[:3] == [("chat", "t1"), ("forget", "t1"), ("chat", "t2")]


@pytest.mark.parametrize(
    ("scene", "next_tokens"),
    [
        (refuses("AccountExpired"), ["t2", "t2"]),
        (refuses("AccountLimited", retry_after=60), ["t2", "t2"]),
        (refuses("AccountLimited"), ["t1", "t2"]),
        (refuses("AccountBarred", retry_after=60), ["t2", "t2"]),
        (refuses("AccountBarred"), ["t2", "t2"]),
    ],
)
async def test_what_it_does_to_the_account(scene: Scene, next_tokens: list[str]) -> None:
    async with toy(**FAST) as (world, house):
        world.play(scene)
        await ask(house, token="t1,t2")
        for _ in range(2):
            assert (await ask(house, token="t1,t2")).status == 200
        assert world.tokens()[2:] == next_tokens


async def test_a_refusal_after_text_does_the_same_to_the_account() -> None:
    async with toy(**FAST) as (world, house):
        world.play(fails("AccountLimited", {"conversation": "*"}, {"text": "a"}, retry_after=60))
        told = await ask(house, asks(stream=True), "t1,t2")
        assert (told.status, told.code, told.text) == (200, "rate_limit_exceeded", "a")
        assert (await ask(house, token="t1,t2")).status == 200
        assert (await ask(house, token="t1,t2")).status == 200
        assert world.tokens() == ["t1", "t2", "t2"]


async def test_a_session_refused_is_exchanged_once_more_and_then_the_account_is_expired() -> None:
    async with toy(**FAST) as (world, house):
        world.play(*[refuses("SessionRefused")] * 2, token="t1")
        told = await ask(house)
        assert "log in at the site again" in told.json["error"]["message"]
        assert world.tokens("session") == ["t1", "t1"]
        assert heard(await ask(house))[:2] == (401, "invalid_api_key")
        assert world.tokens() == ["t1", "t1"]


async def test_a_session_that_ended_costs_nothing() -> None:
    async with toy(**FAST) as (world, house):
        await ask(house)
        world.sessions.clear()
        assert (await ask(house)).status == 200
        assert world.tokens("session") == ["t1", "t1"]


@pytest.mark.parametrize("expired", [False, True])
async def test_who_asks_the_same_account_again_does_so_before_those_who_wait(expired: bool) -> None:
    async with toy(ACCOUNT_WAIT="60") as (world, house):
        refused = asyncio.Event()
        world.play(Scene(refuse=refuses("SessionRefused").refuse, head=refused), token="t1")
        first = asyncio.create_task(ask(house, token="t1,t2"))
        await world.until(world.tokens)
        second = asyncio.create_task(ask(house, token="t1"))
        await world.until(house.service.accounts.slots.waiting)
        if expired:
            world.expired.add("t1")
        refused.set()
        # Where the account is found expired, the next one is free.
        assert (await first).text == "Hello world"
        assert world.tokens()[1] == ("t2" if expired else "t1")
        assert (await second).status == (401 if expired else 200)
        assert house.service.accounts.slots.states()["running"] == 0


async def between_two_tries(world: World, house: House) -> tuple[asyncio.Task[Told], asyncio.Event]:
    """Ask; the first try is refused its session, and being closed until the event lets its deletion go on."""
    gate = world.hold_forget = asyncio.Event()
    world.play(fails("SessionRefused", {"conversation": "*"}))
    task = asyncio.create_task(ask(house))
    await world.until(world.forgetting.total)
    return task, gate


async def test_an_address_limited_between_two_tries_stops_the_second() -> None:
    async with toy() as (world, house):
        task, gate = await between_two_tries(world, house)
        house.service.accounts.limit_address(AddressLimited(retry_after=60), 60)
        gate.set()
        assert heard(await task) == (429, "rate_limit_exceeded", "60")
        assert len(world.tokens()) == 1
        assert house.service.accounts.slots.states()["running"] == 0


async def test_a_client_that_leaves_between_two_tries_leaves_no_lease() -> None:
    async with toy() as (world, house):
        task, gate = await between_two_tries(world, house)
        task.cancel()
        await asyncio.wait((task,))
        assert house.service.accounts.slots.states()["running"] == 1
        gate.set()
        assert (await ask(house)).status == 200
        assert world.tokens() == ["t1", "t1"]


async def test_an_address_that_is_limited_refuses_the_whole_service() -> None:
    async with toy(**FAST) as (world, house):
        await ask(house, token="t9")
        world.play(refuses("AddressLimited", retry_after=30))
        await ask(house)
        for token in ("t1", "t2", "t9"):
            told = await ask(house, token=token)
            assert (told.status, told.headers["Retry-After"]) == (429, "30")
        assert len(world.tokens()) == 2
        assert (await ask(house, {"token": "t3"}, None, "/token/check")).status == 429


async def test_a_limit_of_the_address_is_not_shortened_by_another() -> None:
    async with toy(**FAST) as (_, house):
        accounts = house.service.accounts
        for seconds in (3600, 300):
            accounts.limit_address(AddressLimited(retry_after=seconds), seconds)
        assert (await ask(house)).headers["Retry-After"] == "3600"


async def test_after_a_limit_of_the_address_the_session_is_exchanged_anew() -> None:
    async with toy(**FAST) as (world, house):
        world.play(refuses("AddressLimited", retry_after=0))
        assert [(await ask(house)).status for _ in range(2)] == [429, 200]
        assert world.tokens("session") == ["t1", "t1"]


async def test_a_check_that_meets_a_limited_address_tells_the_whole_service() -> None:
    async with toy(**FAST) as (world, house):
        world.play(refuses("AddressLimited", retry_after=30), token="t3")
        assert (await ask(house, {"token": "t3"}, None, "/token/check")).status == 429
        assert (await ask(house)).status == 429
        assert world.tokens() == []


async def test_who_waits_hears_of_a_limited_address_too() -> None:
    async with toy(ACCOUNT_WAIT="5") as (world, house):
        gate = asyncio.Event()
        world.play(Scene(refuse=refuses("AddressLimited", retry_after=30).refuse, head=gate))
        first, second = (asyncio.create_task(ask(house)) for _ in range(2))
        await world.until(lambda: world.tokens() and house.service.accounts.slots.waiting())
        gate.set()
        assert [(await task).status for task in (first, second)] == [429, 429]
        assert len(world.tokens()) == 1
        assert house.service.accounts.slots.states()["running"] == 0


async def test_an_account_that_is_off_is_not_asked_again_within_10_seconds() -> None:
    async with toy(**FAST) as (world, house):
        world.expired.add("t1")
        for _ in range(3):
            told = await ask(house)
            assert (told.status, told.code) == (401, "invalid_api_key")
        assert world.tokens("session") == ["t1"]


async def test_a_malformed_token_does_not_spoil_the_others() -> None:
    async with toy(**FAST) as (_, house):
        assert (await ask(house, token="MALFORMED!,t1, ,t1")).status == 200
        for token in ("MALFORMED!", "é", "a b"):
            assert heard(await ask(house, token=token)) == (401, "invalid_api_key", None)


async def test_an_account_that_has_expired_is_exchanged_anew_the_next_time() -> None:
    async with toy(**FAST, EXPIRED_COOLDOWN="0") as (world, house):
        assert (await ask(house)).status == 200
        world.play(refuses("AccountExpired"))
        assert (await ask(house)).status == 401
        assert (await ask(house)).status == 200
        assert world.tokens("session") == ["t1", "t1"]


async def test_three_accounts_one_expired_one_busy() -> None:
    async with toy(ACCOUNT_WAIT="10") as (world, house):
        world.expired.add("t1")
        world.play(*[refuses("AccountBusy")] * 3, token="t2")
        told = await asyncio.gather(*(ask(house, asks(number % 2 == 0), "t1,t2,t3") for number in range(6)))
        assert [answer.status for answer in told] == [200] * 6
        assert max(world.most[token] for token in ("t1", "t2", "t3")) == 1
        async with house.client.get(house.url + "/metrics") as response:
            metrics = await response.text()
        assert re.search(r'account_failures_total\{provider="toy",reason="account_expired"\} [1-9]', metrics)
        assert re.search(r'account_failures_total\{provider="toy",reason="account_busy"\} [1-3]', metrics)
        assert 'chat_service_accounts{provider="toy",state="off"} 1.0' in metrics


async def test_ten_requests_on_one_account_in_order() -> None:
    async with toy() as (world, house):
        gate = asyncio.Event()
        world.play(Scene(gates={1: gate}), *[Scene(HELLO, split=7)] * 2, refuses("SessionRefused"))
        tasks: list[asyncio.Task[Told]] = []
        for number in range(10):
            body = asks(number % 2 == 0, messages=[{"role": "user", "content": str(number)}])
            tasks.append(asyncio.create_task(ask(house, body)))
            await world.until(lambda n=number: len(world.tokens()) + house.service.accounts.slots.waiting() == n + 1)  # type: ignore[misc]
        gate.set()
        assert [(await task).text for task in tasks] == ["Hello world"] * 10
        assert world.most["t1"] == 1
        asked = [body["text"][0] for path, _, body in world.asked if path == "chat"]
        assert asked == ["0", "1", "2", "3", "3", "4", "5", "6", "7", "8", "9"]


async def test_nobody_waits_longer_than_account_wait_in_all() -> None:
    async with toy(ACCOUNT_WAIT="0.3") as (world, house):
        world.play(Scene(HELLO[:2], ending="stall"))
        blocker = asyncio.create_task(ask(house, asks(stream=True)))
        await world.until(lambda: world.running["t1"])
        told = await ask(house)
        assert heard(told) == (429, "rate_limit_exceeded", "5")
        blocker.cancel()


async def test_an_account_that_stays_busy_is_429_after_account_wait() -> None:
    async with toy(ACCOUNT_WAIT="0.3") as (world, house):
        world.play(*[refuses("AccountBusy")] * 50)
        assert heard(await ask(house)) == (429, "rate_limit_exceeded", "5")
        assert 3 <= len(world.tokens()) < 20


async def test_retries_are_for_the_whole_request() -> None:
    async with toy(**FAST) as (world, house):
        world.play(*[refuses("UpstreamUnavailable")] * 3)
        assert (await ask(house, token="t1,t2,t3")).status == 502
        assert len(world.tokens()) == 3
    async with toy(RETRIES="0") as (world, house):
        world.play(refuses("UpstreamUnavailable"))
        assert (await ask(house, token="t1,t2,t3")).status == 502
        assert len(world.tokens()) == 1


async def test_the_waits_before_retries_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    # Only as the tries see it: the site sleeps too.
    monkeypatch.setattr(tries, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    async with toy(RETRIES="3", RETRY_BACKOFF="8") as (world, house):
        world.play(*[refuses("UpstreamUnavailable")] * 3)
        assert (await ask(house)).status == 200
    shares = [wait / (8 * 2**turn) for turn, wait in enumerate(waits)]
    assert len(set(shares)) == 3
    assert all(0.5 <= share <= 1.5 for share in shares)


async def test_what_an_account_met_outweighs_one_that_is_off() -> None:
    async with toy(**FAST) as (world, house):
        world.expired.add("t2")
        assert (await ask(house, token="t2")).status == 401
        world.play(refuses("AccountLimited"), token="t1")
        assert heard(await ask(house, token="t1,t2")) == (429, "rate_limit_exceeded", "10")


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        (["AccountExpired", "AccountBarred"], 403),
        (["AccountBarred", "UpstreamUnavailable"], 502),
        (["AccountExpired", "UpstreamTimeout"], 504),
        (["AccountLimited", "UpstreamUnavailable"], 429),
        (["AccountExpired", "AccountLimited"], 429),
        (["AccountExpired", "AccountBusy"], 429),
        (["AccountExpired", "ConversationUnknown"], 401),
        (["AccountExpired", "ContentBlocked"], 400),
        (["AccountLimited", "RequestRefused"], 400),
        (["AccountLimited", "UpstreamChanged"], 502),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
async def test_accounts_that_fail_differently(kinds: list[str], status: int, turn: int) -> None:
    if turn == -1 and status == 400:
        return
    async with toy(**FAST) as (world, house):
        for token, kind in zip(("t1", "t2")[::turn], kinds, strict=True):
            world.play(*[refuses(kind)] * 50, token=token)
        told = await ask(house, token="t1,t2")
        assert told.status == (502 if "UpstreamChanged" in kinds else status)


async def test_an_unknown_conversation_is_looked_for_at_every_account_unless_the_owner_is_known() -> None:
    async with toy(**FAST) as (world, house):
        told = await ask(house, asks(conversation_id="c77"), "t1,t2")
        assert (told.status, told.code, world.tokens()) == (404, "conversation_not_found", ["t1", "t2"])
        world.conversations["c88"] = "t2"
        assert (await ask(house, asks(conversation_id="c88"), "t1,t2")).status == 200
        world.asked.clear()
        world.conversations.clear()
        assert (await ask(house, asks(conversation_id="c88"), "t1,t2")).status == 404
        assert world.tokens() == ["t2"]


async def test_a_changed_site_is_an_error_in_the_log_with_its_shape() -> None:
    async with toy(**FAST) as (world, house):
        frames = {"conversation": "*"}, {"text": "a"}
        for scene, stream in ((refuses("UpstreamChanged"), False), (fails("UpstreamChanged", *frames), True)):
            world.play(scene)
            with structlog.testing.capture_logs() as logs:
                assert (await ask(house, asks(stream))).code == "upstream_changed"
            [line] = [line for line in logs if line["log_level"] == "error"]
            assert (line["event"], line["shape"]) == ("upstream_changed", "{toy str}")


async def test_a_fault_of_our_own_is_a_500_and_costs_no_account() -> None:
    async with toy(**FAST) as (world, house):
        for frames, stream in (([{"bug": "secret"}], False), ([{"text": "a"}, {"bug": "secret"}], True)):
            world.play(Scene([{"conversation": "*"}, *frames, *HELLO[1:]], split=5))
            with structlog.testing.capture_logs() as logs:
                told = await ask(house, asks(stream))
            assert (told.status, told.code) == (200 if stream else 500, "internal_error")
            assert b"secret" not in told.body
            assert "internal_error" in [line["event"] for line in logs if line["log_level"] == "error"]
        await world.until(lambda: len(world.deleted) == 2)
        assert (await ask(house)).status == 200
