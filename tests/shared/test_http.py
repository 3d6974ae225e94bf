"""What every client may do to a service: answers in OpenAI's envelope, with CORS, and never a 500."""

import asyncio
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from shared.terms import Credential
from tests.shared.toy import Toy, ask, asks, toy
from tests.shared.toysite import HELLO, Scene, refuses

CHAT = "/v1/chat/completions"
KEYS = {"API_KEYS": "key-one,key-two", "ACCOUNTS": "t1,t2"}


async def call(house: Any, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
    """Give status, headers and body (JSON where it is)."""
    async with house.client.request(method, house.url + path, **more) as response:
        body = await response.read()
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return response.status, response.headers, json.loads(body) if is_json else body


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", CHAT, b"{}", 401, "invalid_api_key"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("GET", "/v1/models/none", None, 404, "model_not_found"),
        ("GET", CHAT, None, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", None, 405, "method_not_allowed"),
    ],
)
async def test_errors_without_a_token(method: str, path: str, body: bytes | None, status: int, code: str) -> None:
    async with toy() as (_, house):
        told = await call(house, method, path, data=body, headers={"Origin": "https://app.test"})
        assert (told[0], told[2]["error"]["code"], set(told[2]["error"])) == (
            status,
            code,
            {"message", "type", "param", "code"},
        )
        assert told[1]["Access-Control-Allow-Origin"] == "https://app.test"
        assert told[1]["X-Request-Id"]
        if status == 405:
            assert "," in told[1]["Allow"] or told[1]["Allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'"x"',
        b"[" * 100_000,
        b'{"messages": []}',
        b'{"messages": 1}',
        b'{"messages": [{"role": "user", "content": {}}]}',
        b'{"messages": [{"role": "user", "content": "a"}], "stream": "yes"}',
        b'{"messages": [{"role": "user", "content": "a"}], "conversation_id": 1}',
    ],
)
async def test_what_cannot_be_read_is_400(body: bytes) -> None:
    async with toy() as (world, house):
        told = await call(house, "POST", CHAT, data=body, headers={"Authorization": "Bearer t1"})
        assert (told[0], told[2]["error"]["type"]) == (400, "invalid_request_error")
        assert world.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
        {"Expect": "a miracle"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "text/plain; charset=nonsense"},
    ],
)
async def test_odd_headers_are_no_500(headers: dict[str, str]) -> None:
    async with toy() as (_, house):
        body = json.dumps(asks()).encode()
        status, answered, _ = await call(
            house, "POST", CHAT, data=body, headers={"Authorization": "Bearer t1", **headers}
        )
        assert status in (200, 400, 417)
        assert answered["Access-Control-Allow-Origin"] == "*" or status == 417


CONTENTS: Sequence[Any] = [
    "",
    "\ud800 lone \udfff",
    None,
    [],
    [{"type": "text", "text": "a\ud83d"}],
    [{"type": "odd", "x": 1}, None, 5, {"type": "input_text", "text": "a"}],
    "\x00\u2028😀",
    "x" * (10 * 1024 * 1024),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
async def test_odd_contents_are_no_500(content: Any, stream: bool) -> None:
    async with toy() as (_, house):
        data = io.BytesIO(json.dumps(asks(stream, messages=[{"role": "user", "content": content}])).encode())
        status, _, _ = await call(house, "POST", CHAT, data=data, headers={"Authorization": "Bearer t1"})
        assert status in (200, 400)


async def test_many_accounts_fit_into_one_header() -> None:
    async with toy() as (_, house):
        tokens = ",".join(f"account-{number}-of-many" for number in range(1000))
        status, _, body = await call(house, "POST", CHAT, json=asks(), headers={"Authorization": f"Bearer {tokens}"})
        assert status == 200, body


async def test_too_large_is_413_with_and_without_a_length() -> None:
    async def parts() -> Any:
        for _ in range(3):
            yield b" " * 512 * 1024

    async with toy(MAX_BODY_MB="1") as (_, house):
        for data in (io.BytesIO(b" " * (1024 * 1024 + 1)), parts()):
            told = await call(house, "POST", CHAT, data=data, headers={"Authorization": "Bearer t1"})
            assert (told[0], told[2]["error"]["code"]) == (413, "request_too_large")
            assert told[1]["Access-Control-Allow-Origin"] == "*"


async def test_preflight() -> None:
    async with toy() as (_, house):
        asked = {
            "Origin": "https://app.test",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, x-stainless-os",
        }
        for path in (CHAT, "/v1/models", "/nowhere"):
            status, headers, _ = await call(house, "OPTIONS", path, headers=asked)
            assert (status, headers["Access-Control-Allow-Headers"]) == (204, "authorization, x-stainless-os")
            assert "POST" in headers["Access-Control-Allow-Methods"]
            assert headers["Access-Control-Allow-Origin"] == "https://app.test"


async def test_small_pages() -> None:
    async with toy() as (_, house):
        assert (await call(house, "GET", "/ping"))[::2] == (200, b"pong")
        assert (await call(house, "GET", "/healthz"))[::2] == (200, {"status": "ok"})
        assert (await call(house, "GET", "/readyz"))[::2] == (200, {"status": "ok"})
        assert b"POST /v1/chat/completions" in (await call(house, "GET", "/"))[2]
        status, headers, body = await call(house, "GET", "/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert b'route="/ping",status="200"} 1.0' in body
        await call(house, "GET", "/x1")
        await call(house, "GET", "/x2")
        assert b'route="unknown",status="404"} 2.0' in (await call(house, "GET", "/metrics"))[2]


async def test_models() -> None:
    async with toy() as (_, house):
        status, _, told = await call(house, "GET", "/v1/models")
        assert (status, told["object"], [model["id"] for model in told["data"]]) == (200, "list", ["toy", "toy/large"])
        for name in ("toy", "toy/large"):
            status, _, model = await call(house, "GET", f"/v1/models/{name}")
            assert (status, model["id"], model["object"], model["owned_by"]) == (200, name, "model", "toy")
            assert type(model["created"]) is int
            assert model in told["data"]


@pytest.mark.parametrize(("given", "echoed"), [("abc-1.2_3", True), ("x" * 65, False), ("a b", False), ("", False)])
async def test_request_ids(given: str, echoed: bool) -> None:
    async with toy() as (_, house):
        for path in ("/ping", "/nowhere"):
            _, headers, _ = await call(house, "GET", path, headers={"X-Request-Id": given})
            assert (headers["X-Request-Id"] == given) is echoed


async def test_token_check() -> None:
    async with toy() as (world, house):

        async def live(token: Any) -> Any:
            told = await ask(house, {"token": token}, None, "/token/check")
            return told.json.get("live", told.status)

        world.expired.add("t2")
        assert await live("t1") is True
        assert await live("t2") is False
        assert await live("MALFORMED!") is False
        assert await live("a\r\nb: c") is False
        assert await live("\ud800") is False
        assert [await live(token) for token in ("", " ", None, 5)] == [400] * 4
        world.play(refuses("SessionRefused"), token="t1")
        assert await live("t1") is False
        world.play(refuses("AccountBarred"), token="t4")
        assert await live("t4") is False
        world.play(refuses("UpstreamUnavailable"), token="t3")
        assert await live("t3") == 502


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_site_without_attachments_refuses_them_wherever_they_stand(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "attachments", False)
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages: list[dict[str, Any]] = [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]
    async with toy() as (world, house):
        messages[at]["content"] = [picture]
        told = await ask(house, {"messages": messages}, "t1")
        assert (told.status, told.code, world.asked) == (400, "request_refused", [])
        messages[at]["content"] = "hi"
        assert (await ask(house, {"messages": messages}, "t1")).status == 200


@pytest.mark.parametrize("asked", [False, True])
async def test_the_text_of_requests_is_logged_only_when_asked_for(asked: bool) -> None:
    with structlog.testing.capture_logs() as lines:
        async with toy(LOG_MESSAGES="1" if asked else "0") as (world, house):
            world.play(refuses("ContentBlocked", message="MYTEXT is forbidden"), token="t2")
            for path, body, token in (
                ("/v1/chat/completions", asks(messages=[{"role": "user", "content": "MYTEXT 1"}]), "t1"),
                ("/v1/chat/completions", asks(True, messages=[{"role": "user", "content": "MYTEXT 2"}]), "t2"),
                ("/v1/images/generations", {"prompt": "MYTEXT 3"}, "t1"),
                ("/v1/videos/generations", {"prompt": "MYTEXT 4"}, "t1"),
            ):
                await ask(house, body, token, path)
    assert [line["text"] for line in lines if "MYTEXT" in str(line)] == [f"MYTEXT {n}" for n in range(1, 5)] * asked


async def test_a_token_that_the_site_quotes_is_not_told() -> None:
    async with toy(API_KEYS="key-one", ACCOUNTS="secret-account") as (world, house):
        world.play(refuses("RequestRefused", message="The site says: bad token secret-account"))
        told = await ask(house, token="key-one")
        assert (told.status, told.json["error"]["message"]) == (400, "The site says: bad token [redacted]")


@pytest.mark.parametrize("token", ["a\r\nb: c", "\ud800", "é", "\x7f"])
async def test_a_token_that_can_be_none_is_dead_whatever_the_provider_thinks(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "credential", lambda _, token: Credential(token))
    async with toy() as (world, house):
        told = await ask(house, {"token": token}, None, "/token/check")
        assert (told.json, world.asked) == ({"live": False}, [])


async def test_who_sends_no_key_is_not_asked_for_an_account_token() -> None:
    async with toy(**KEYS) as (_, house):
        status, _, told = await call(house, "POST", CHAT, json=asks())
        assert (status, told["error"]["code"]) == (401, "invalid_api_key")
        assert "API key" in told["error"]["message"]
        assert "account" not in told["error"]["message"]


async def test_token_check_with_api_keys() -> None:
    async with toy(**KEYS) as (world, house):
        told = await ask(house, {"token": "t1"}, None, "/token/check")
        assert told.status == 401
        assert (await ask(house, {"token": "t9"}, "key-one", "/token/check")).json == {"live": True}
        world.expired.add("t2")
        told = await ask(house, {}, "key-two", "/token/check")
        keys = [house.service.accounts.account(token).key for token in ("t1", "t2")]
        assert told.json["accounts"] == [{"account": keys[0], "live": True}, {"account": keys[1], "live": False}]
        assert told.json["live"] is False
        assert b"t1" not in told.body


async def test_api_keys_use_the_servers_accounts() -> None:
    async with toy(**KEYS) as (world, house):
        for token in ("t1", "key-three", "é", None):
            told = await ask(house, token=token)
            assert (told.status, told.code) == (401, "invalid_api_key")
        for token in ("key-one", "key-two", "wrong,key-two"):
            assert (await ask(house, token=token)).status == 200
        assert world.tokens() == ["t1", "t2", "t1"]
    async with toy(API_KEYS="key-one") as (world, house):
        told = await ask(house, token="key-one")
        assert (told.status, "ACCOUNTS" in told.json["error"]["message"]) == (401, True)


async def test_pictures_as_base64_and_the_options_of_films() -> None:
    async with toy() as (world, house):
        told = await ask(house, {"prompt": "p", "response_format": "b64_json"}, path="/v1/images/generations")
        assert told.json["data"] == [{"b64_json": "cGljdHVyZQ=="}]
        [path] = [path for path, _, _ in world.asked if path.startswith("/")]
        assert path == "/https/files.test/a%27b.png?x=1+2"
        headers = next(h for (p, _, _), h in zip(world.asked, world.headers, strict=True) if p == path)
        assert "Authorization" not in headers
        told = await ask(house, {"prompt": "p", "style": "x"}, path="/v1/videos/generations")
        assert (told.status, told.code) == (400, "request_refused")
        for path in ("/v1/images/generations", "/v1/videos/generations"):
            assert (await ask(house, {}, path=path)).status == 400
            assert (await ask(house, {"prompt": "p"}, None, path)).status == 401


async def test_a_drawing_fails_over_too() -> None:
    async with toy() as (world, house):
        world.play(refuses("AccountLimited"), token="t1")
        told = await ask(house, {"prompt": "p"}, "t1,t2", "/v1/images/generations")
        assert (told.status, world.tokens("draw")) == (200, ["t1", "t2"])


async def test_users_share_nothing() -> None:
    async with toy() as (world, house):
        for number in range(20):
            world.play(
                Scene(({"conversation": "*"}, {"text": f"for u{number}"}, HELLO[3]), split=3), token=f"u{number}"
            )
        bodies = [
            asks(n % 2 == 0, messages=[{"role": "user", "content": f"of u{n}"}], conversation_id="new")
            for n in range(20)
        ]
        told = await asyncio.gather(*(ask(house, body, f"u{n}") for n, body in enumerate(bodies)))
        assert [answer.text for answer in told] == [f"for u{n}" for n in range(20)]
        asked = {token: body for path, token, body in world.asked if path == "chat"}
        assert {token: body["text"] for token, body in asked.items()} == {f"u{n}": [f"of u{n}"] for n in range(20)}
        assert len(set(world.sessions.values())) == len(world.sessions) == 20
        for n, answer in enumerate(told):
            conversation = (answer.events[-2] if n % 2 == 0 else answer.json)["conversation_id"]
            assert world.conversations[conversation] == f"u{n}"
        assert all("Cookie" not in headers for headers in world.headers)
