"""Chat from end to end: the calls of the protocol in their order, accounts, conversations, files, every refusal."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from tests.services.hailuo.world import GIF, World, question, with_file
from tests.simulators import ContentType, Cut, Fault, Reply, Split, Stall, Together, html, server_error
from tests.simulators.hailuo import BUSY, CHAT_UNKNOWN, EXPIRED, refused
from tests.simulators.hailuo_scenes import OK, Events, Says


async def test_answers_both_ways(world: World) -> None:
    told = await world.both("reply exactly PONG")
    assert "PONG" in told.content
    assert told.content.endswith("😀")
    await world.settled()
    assert world.kinds() == ["register", "chat", "delete", "chat", "delete"] or world.kinds().count("register") == 1
    assert world.fields()[0] == {
        "characterID": "1",
        "msgContent": "reply exactly PONG\n",
        "chatID": "0",
        "searchMode": "0",
    }


async def test_recorded_calls(world: World) -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": with_file("图里有什么？")}]
    told = await world.chat(said)
    assert "1 个文件" in told.content
    await world.settled()
    assert world.kinds() == ["register", "policy", "store", "callback", "chat", "delete"]
    register, policy, store, callback, chat, delete = world.site.calls
    trace = register.headers["Sentry-Trace"]
    assert orjson.loads(register.body)["uuid"][19:].replace("-", "") == trace[33:49]
    assert {call.headers["Sentry-Trace"][33:] for call in (policy, callback, chat, delete)} == {trace[33:]}
    assert store.body == GIF
    assert store.headers["Content-Type"] == "image/gif"
    name = orjson.loads(callback.body)["fileName"]
    assert store.path.endswith(f"/{name}")
    assert name.endswith(".gif")
    assert world.fields()[0]["msgContent"] == (
        "system:Be brief.\nsystem:关注用户最新发送文件和消息\nuser:图里有什么？\nassistant:"
    )
    assert policy.body == delete.body == b"{}"


async def test_stream_is_passed_on_as_it_comes(world: World) -> None:
    go_on = asyncio.Event()
    world.site.script("chat", Stall(after=-900, until=go_on))
    body = {**question("hi"), "stream": True}
    async with world.house.post("/v1/chat/completions", body, world.tokens()) as response:
        read = b""
        while "你好！你".encode() not in read:
            read += await asyncio.wait_for(response.content.readany(), 5)
        assert b"[DONE]" not in read
        go_on.set()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_history(world: World) -> None:
    said = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "b"},
    ]
    await world.both(said)
    assert {form["msgContent"] for form in world.fields()} == {"user:a\nassistant:\nuser:b\nassistant:"}


async def test_sources(world: World) -> None:
    told = await world.both("今天有什么新闻？")
    assert "1. 中央气象台 - http://www.nmc.cn/" in told.content
    assert [note["title"] for note in told.citations] == ["中央气象台", "新华网"]


async def test_sources_hidden() -> None:
    async with World.start(REFERENCES="hidden") as world:
        told = await world.both("今天有什么新闻？")
        assert "搜索结果" not in told.content
        assert len(told.citations) == 2


async def test_without_search(world: World) -> None:
    told = await world.both("今天有什么新闻？", model="hailuo-nosearch")
    assert told.citations == []
    assert {form["searchMode"] for form in world.fields()} == {"1"}


async def test_continued_conversation(world: World) -> None:
    first = (await world.whole("one", conversation_id="new")).value
    chat = first["conversation_id"]
    assert first["id"] == chat
    for said in ("two", "three"):
        told = await world.chat(said, conversation_id=chat)
        assert told.chunks[-1]["conversation_id"] == chat
    assert [(form["chatID"], form["msgContent"]) for form in world.fields()] == [
        ("0", "one\n"),
        (chat, "two\n"),
        (chat, "three\n"),
    ]
    assert world.site.calls_of("chat")[1].headers["Referer"] == f"https://hailuoai.com/?chat={chat}"
    assert world.site.outcomes("delete") == {}
    world.kept = 1


async def test_a_conversation_stays_with_its_account(world: World) -> None:
    chat = (await world.whole("one", "ben", conversation_id="new")).value["conversation_id"]
    assert (await world.whole("two", "ann", "ben", conversation_id=chat)).status == 200
    assert (await world.whole("two", "ann", conversation_id=chat)).code == "conversation_not_found"
    world.kept = 1


@pytest.mark.parametrize("name", ["abc-123", "c-286712345678901234", "1", "２" * 18])
async def test_an_id_that_is_none_is_no_id(world: World, name: str) -> None:
    await world.whole("a", conversation_id=name)
    assert world.fields()[0]["chatID"] == "0"


async def test_an_unknown_conversation(world: World) -> None:
    told = await world.whole("a", conversation_id="286712345678901234")
    assert (told.status, told.code) == (404, "conversation_not_found")


async def test_an_unknown_conversation_in_the_stream(world: World) -> None:
    chat = (await world.whole("one", conversation_id="new")).value["conversation_id"]
    world.site.script("chat", Events((("send_result", {"type": 1, "statusInfo": CHAT_UNKNOWN["statusInfo"]}),)))
    told = await world.whole("two", conversation_id=chat)
    assert (told.status, told.code) == (404, "conversation_not_found")
    world.kept = 1


async def test_device_is_registered_once_and_for_three_hours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.gather(*(world.whole("a", "ann", "ben") for _ in range(4)))
    assert len(world.site.calls_of("register")) == 2
    await world.settled()
    later = time.time() + 10801
    monkeypatch.setattr(time, "time", lambda: later)
    # The site's clock is the same: only the registration is old.
    await world.whole("a")
    assert len(world.site.calls_of("register")) == 3
    first, *_, last = (orjson.loads(call.body)["uuid"] for call in world.site.calls_of("register"))
    assert first != last


async def test_a_failed_registration_is_shared_and_never_kept(world: World) -> None:
    world.site.script("register", html(200), html(200), html(200), server_error())
    answers = await asyncio.gather(*(world.whole("a") for _ in range(2)))
    assert {told.status for told in answers} <= {200, 502}
    assert (await world.whole("a")).status == 200


async def test_a_registration_without_its_text_uses_the_token(world: World) -> None:
    world.site.account("ann")
    world.site.script("register", Reply({"statusInfo": OK, "data": {"deviceID": 290000000000000100}}))
    told = await world.whole("a")
    # The simulator knows no device of this account: that the call was made with the token's own is what counts.
    assert "device_id=242935159979966466" in world.site.calls_of("chat")[0].query
    assert told.status == 502
    world.site.violations.clear()


@pytest.mark.parametrize("told", [{"deviceIDStr": "7"}, {"data": {"deviceIDStr": "7"}}])
async def test_a_registration_without_a_status(world: World, told: dict[str, Any]) -> None:
    world.site.script("register", Reply(told))
    await world.whole("a")
    assert "device_id=7&" in world.site.calls_of("chat")[0].query
    world.site.violations.clear()


async def test_registration_without_any_device() -> None:
    async with World.start() as world:
        world.site.script("register", Reply({"statusInfo": OK, "data": {}}))
        body = {"messages": [{"role": "user", "content": "a"}]}
        account = world.site.accounts
        world.tokens("ann")
        account["ann"].token = "no.jwt"
        async with world.house.post("/v1/chat/completions", body, "no.jwt") as response:
            assert response.status == 502
            assert (await response.json())["error"]["code"] == "upstream_changed"
        world.errors = ["upstream_changed"]


async def test_fail_over(world: World) -> None:
    world.tokens("ann", "ben")
    world.site.expire("ann")
    for _ in range(2):
        assert (await world.whole("a", "ann", "ben")).status == 200
    assert world.site.outcomes("register") == {"expired": 1, "ok": 1}


async def test_tokens_are_trimmed(world: World) -> None:
    body = question("a")
    headers = {"Authorization": f"bearer  {world.tokens('ann')} ,, {world.tokens('ben')} ,"}
    url = f"{world.house.url}/v1/chat/completions"
    async with world.house.client.post(url, json=body, headers=headers) as response:
        assert response.status == 200


async def test_one_answer_at_a_time_for_an_account(world: World) -> None:
    answers = await asyncio.gather(*(world.whole("a") for _ in range(5)))
    assert {told.status for told in answers} == {200}
    assert world.site.outcomes("chat") == {"ok": 5}


HICCUPS = (Reply({"code": 502, "message": "Bad Gateway"}, 502), refused(1000500, "系统异常"), refused(1, "签名错误"))


STREAM_REFUSALS: dict[str, tuple[Fault, int, str]] = {
    "an expired login": (Reply(EXPIRED), 401, "invalid_api_key"),
    "an expired login in the stream": (
        Events((("send_result", {"type": 1, "statusInfo": EXPIRED["statusInfo"]}),)),
        401,
        "invalid_api_key",
    ),
    "HTTP 401": (Reply({}, 401), 401, "invalid_api_key"),
    "a blocked text": (refused(1, "内容涉及敏感信息"), 400, "content_filter"),
    "a quota": (refused(1, "今日次数已达上限"), 429, "rate_limit_exceeded"),
    "a ban": (refused(1, "账号已被封禁"), 403, "account_barred"),
    "a conversation nobody named": (Reply(CHAT_UNKNOWN), 502, "upstream_unavailable"),
    "too long": (refused(1, "内容过长，超过token上限"), 400, "request_refused"),
    "a session that has ended": (
        Events((("send_result", {"type": 1, "statusInfo": {"code": 7, "message": "会话无效，请重新登录"}}),)),
        401,
        "invalid_api_key",
    ),
    "the retired endpoint": (refused(1, "抱歉，服务器开小差了，请稍等一会儿再试。"), 502, "upstream_unavailable"),
    "too many calls": (html(429), 429, "rate_limit_exceeded"),
    "a page": (html(200), 502, "upstream_unavailable"),
    "a gateway's page": (server_error(502), 502, "upstream_unavailable"),
    "nothing": (Events(()), 502, "upstream_unavailable"),
    "an end without text": (Events((("close_chunk", {"type": 8}),)), 502, "upstream_unavailable"),
    "a broken connection": (Cut(after=30), 502, "upstream_unavailable"),
    "no head": (Cut(after=None, reset=True), 502, "upstream_unavailable"),
}


@pytest.mark.parametrize(("fault", "status", "code"), STREAM_REFUSALS.values(), ids=STREAM_REFUSALS)
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals(fault: Fault, status: int, code: str, stream: bool) -> None:
    async with World.start(RETRIES="0", ACCOUNT_WAIT="0") as world:
        world.site.script("chat", fault)
        told = await (world.chat("a") if stream else world.whole("a"))
        assert (told.status, told.code) == (status, code)
        await world.settled()


async def test_an_account_is_limited_as_long_as_the_site_says(world: World) -> None:
    world.site.script("chat", Reply({}, 429, headers=(("Retry-After", "7"),)))
    first, second = await world.whole("a"), await world.whole("b")
    assert (first.status, first.headers["Retry-After"]) == (429, "7")
    assert second.status == 429
    assert len(world.site.calls_of("chat")) == 1


@pytest.mark.parametrize("hiccup", HICCUPS)
async def test_a_hiccup_at_registration_is_no_dead_token(world: World, hiccup: Reply) -> None:
    world.site.script("register", hiccup)
    assert (await world.whole("a")).status == 200
    assert world.site.outcomes("register") == {"scripted": 1, "ok": 1}


async def test_a_busy_account_is_waited_for() -> None:
    async with World.start(ACCOUNT_WAIT="0") as world:
        world.site.script("chat", Reply(BUSY))
        told = await world.whole("a")
        assert (told.status, told.code) == (429, "rate_limit_exceeded")


async def test_retries(world: World) -> None:
    world.site.script("chat", server_error(), Cut(after=700))
    assert (await world.whole(with_file("a"))).status == 200
    assert world.site.outcomes("store") == {"ok": 1}
    await world.settled()


async def test_a_break_after_text_is_an_error_frame(world: World) -> None:
    world.site.script("chat", Cut(after=1500))
    told = await world.chat("a")
    assert not told.done
    assert told.code == "upstream_unavailable"
    assert told.content
    await world.settled()


async def test_a_refusal_after_text_is_an_error_frame(world: World) -> None:
    text = {"chatID": "$CHAT", "msgID": "$MESSAGE", "isEnd": 1, "content": "一"}
    events = (
        ("message_result", {"type": 2, "data": {"messageResult": text}, "statusInfo": OK}),
        ("x", {"type": 2, "statusInfo": {"code": 1, "message": "内容涉及敏感信息"}}),
    )
    world.site.script("chat", Events(events))
    told = await world.chat("a")
    assert (told.content, told.code) == ("一", "content_filter")
    await world.settled()


async def test_any_split(world: World) -> None:
    wanted = (await world.whole("a")).content
    for size in (1, 7):
        world.site.script("chat", Split(size=size, gap=0))
        assert (await world.chat("a")).content == wanted


async def test_another_content_type(world: World) -> None:
    world.site.script("chat", ContentType("application/octet-stream"))
    assert (await world.whole("a")).status == 200


async def test_unknown_events_are_counted(world: World) -> None:
    text = {"chatID": "$CHAT", "isEnd": 0, "content": "一"}
    events: tuple[tuple[str, Any], ...] = (
        ("brand_new", {"type": 11}),
        ("message_result", {"type": 2, "data": {"messageResult": text}, "statusInfo": OK}),
    )
    world.site.script("chat", Events(events))
    assert (await world.whole("a")).content == "一"
    async with world.house.client.get(f"{world.house.url}/metrics") as response:
        assert "brand_new" in await response.text()


async def test_a_client_that_leaves(world: World) -> None:
    stall = Stall(after=-200)
    world.site.script("chat", stall)
    async with world.house.post("/v1/chat/completions", {**question("a"), "stream": True}, world.tokens()) as response:
        await asyncio.wait_for(response.content.readany(), 5)
        await asyncio.wait_for(stall.reached.wait(), 5)
        response.close()
    await world.settled()
    assert world.site.calls_of("chat")[0].closed.is_set()
    assert (await world.whole("b")).status == 200


async def test_a_deletion_is_tried_again_only_when_it_failed(world: World) -> None:
    world.site.script("delete", Reply(CHAT_UNKNOWN))
    await world.whole("a")
    await world.house.service.cleanup.drain(5)
    assert world.site.outcomes("delete") == {"scripted": 1}
    world.kept = 1


async def test_a_picture_without_words(world: World) -> None:
    told = await world.whole(with_file("")[1:])
    assert "1 个文件" in told.content
    assert not any("msgContent" in form for form in world.fields())


async def test_documents(world: World) -> None:
    pdf = b"%PDF-1.4\n%..."
    told = await world.whole(with_file("读", pdf, "application/pdf", "file") + with_file("看"))
    assert "2 个文件" in told.content
    types = [orjson.loads(call.body)["mimeType"] for call in world.site.calls_of("callback")]
    assert sorted(types) == ["application/pdf", "image/gif"]


async def test_a_file_of_unknown_type(world: World) -> None:
    data = bytes(range(1, 256))
    told = await world.whole(with_file("读", data, "application/x-unheard-of", "file"))
    assert told.status == 200
    unknown = with_file("读", data, "", "file")
    assert (await world.whole(unknown)).status == 200
    bodies = [orjson.loads(call.body) for call in world.site.calls_of("callback")]
    assert bodies[1]["mimeType"] is None
    assert "Content-Type" not in world.site.calls_of("store")[1].headers


async def test_files_of_earlier_messages_are_left_out(world: World) -> None:
    said = [{"role": "user", "content": with_file("a")}, {"role": "user", "content": "b"}]
    assert (await world.whole(said)).status == 200
    assert world.site.calls_of("policy") == []


@pytest.mark.parametrize("kind", ["policy", "store", "callback"])
async def test_a_failed_upload_is_tried_again(world: World, kind: str) -> None:
    world.site.script(kind, server_error())
    assert (await world.whole(with_file("a"))).status == 200


async def test_a_bad_file_costs_no_account(world: World) -> None:
    told = await world.whole([{"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}])
    assert (told.status, told.code) == (400, "invalid_attachment")
    assert world.site.calls == []


CHECKS: dict[str, tuple[str, Fault, bool, int]] = {
    "live": ("user", Fault(), True, 1),
    "refused": ("user", refused(5, "参数错误"), False, 2),
    "no user": ("user", Reply({"statusInfo": OK, "data": {}}), False, 2),
    "no status": ("user", Reply({"data": {"userInfo": {}}}), False, 2),
    "nothing": ("user", Reply(b""), False, 2),
    "a page": ("user", html(200), False, 1),
    "a text": ("user", Reply(b"oops", content_type="text/plain"), False, 1),
    "refused at registration": ("register", refused(5, "参数错误"), False, 2),
}


@pytest.mark.parametrize(("kind", "fault", "live", "devices"), CHECKS.values(), ids=CHECKS)
async def test_check(world: World, kind: str, fault: Fault, live: bool, devices: int) -> None:
    world.site.script(kind, fault)
    told = await world.request("/token/check", {"token": world.tokens()})
    assert (told.value, told.status) == ({"live": live}, 200)
    again = await world.request("/token/check", {"token": world.tokens()})
    assert again.value == {"live": True}
    assert len(world.site.calls_of("register")) == devices


@pytest.mark.parametrize("kind", ["register", "user"])
@pytest.mark.parametrize("fault", [html(502), *HICCUPS, Cut(after=None)])
async def test_check_of_a_site_that_is_away(world: World, kind: str, fault: Fault) -> None:
    world.site.script(kind, fault)
    told = await world.request("/token/check", {"token": world.tokens()})
    assert told.status == 502


@pytest.mark.parametrize("token", ["a b", "\u4f60"])
async def test_check_of_a_malformed_token(world: World, token: str) -> None:
    assert (await world.request("/token/check", {"token": token})).value == {"live": False}
    assert world.site.calls == []


async def test_models(world: World) -> None:
    async with world.house.client.get(f"{world.house.url}/v1/models") as response:
        told = await response.json()
    names = {model["id"] for model in told["data"]}
    assert {
        "hailuo",
        "hailuo-nosearch",
        "abab6-chat",
        "abab5.5s-chat",
        "abab5.5-chat",
        "abab-v1",
        "abab-v1-vision",
    } <= names
    assert {"MiniMax-Text-01", "MiniMax-VL-01", "tts-1", "tts-1-hd", "whisper-1"} <= names


async def test_a_moved_site() -> None:
    settings = {"HAILUO_APP_ID": "3002", "HAILUO_VERSION_CODE": "22201", "HAILUO_SIGN_SECRET": "other"}
    async with World.start(RETRIES="0", **settings) as world:
        await world.whole("a")
        assert "app_id=3002&version_code=22201&uuid=" in world.site.calls[0].query
        assert any("Yy is wrong" in text or "query" in text for text in world.site.violations)
        world.site.violations.clear()


async def test_nothing_secret_is_told(world: World) -> None:
    world.site.script("chat", Together(Says("x"), Cut(after=10)), server_error(), server_error(), server_error())
    told = await world.whole("a very private question")
    assert world.tokens() not in told.body.decode()
    assert "private" not in told.body.decode()
