"""Chats, from the client's request to the bytes the site gets, and back."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from services.step.site import StepSite as StepSettings
from shared.redaction import MASK, mask
from tests.answers import data_url
from tests.services.step.world import World, headers_of
from tests.simulators import ContentType, Cut, Fault, Pass, Reply, Split, Stall, Together, html, server_error
from tests.simulators.step import Compressed, Frames, end, failure
from tests.simulators.step_checks import CONSTANT_HEADERS, lowered
from tests.simulators.step_scenes import framed

PDF = b"%PDF-1.4 a report of forty-five bytes.......\n"
HINT = "system:以上为历史消息，关注以下用户消息\n"
FILES_HINT = "system:以上为历史消息，关注以下用户发送的文件和消息\n"
BASE = "https://yuewen.cn"
DONE: dict[str, Any] = {"doneEvent": {}}
SHANGHAI = "https://www.weather.example.cn/shanghai"
FORECAST = "https://weather.example.com/sh?d=7"
HUMIDITY = "https://humidity.example.cn/sh"
ROUND = ["create", "send", "delete"]


def said(text: str, **more: str) -> dict[str, Any]:
    return {"textEvent": {"text": text, **more}}


async def test_the_transcript_of_a_stream(world: World) -> None:
    token = world.site.account("ann")
    device, _, first = token.partition("@")
    texts = ("你好！", "我是跃问 StepChat 😊\n", "How can I help you today?")
    world.site.script("send", Frames({"startEvent": {"messageId": "1"}}, *map(said, texts), DONE, end()))
    told = await world.chat("你是谁？")
    await world.deleted()
    register, create, send, delete = world.site.calls
    chat = next(iter(world.site.chats))
    pair = world.site.accounts["ann"].pairs[1]
    constant = [(name, value.format(base=BASE)) for name, value in CONSTANT_HEADERS.items()]

    def wanted(page: str, content_type: str = "application/json") -> list[tuple[str, str]]:
        own = {
            "Accept": "*/*",
            "Content-Type": content_type,
            "Cookie": f"Oasis-Token={pair}; Oasis-Webid={device}",
            "Oasis-Webid": device,
            "Referer": BASE + page,
        }
        return lowered([*own.items(), *constant])

    assert (register.path, register.body) == ("/passport/proto.api.passport.v1.PassportService/RegisterDevice", b"{}")
    assert headers_of(register) == lowered([
        ("Accept", "*/*"),
        ("Content-Type", "application/json"),
        ("Cookie", f"Oasis-Token={first}"),
        ("Referer", f"{BASE}/chats/new"),
        *constant,
        ("Oasis-Webid", device),
    ])  # fmt: skip
    assert create.path == "/api/proto.chat.v1.ChatService/CreateChat"
    assert create.body == '{"chatName":"新会话"}'.encode()
    assert headers_of(create) == wanted("/chats/new")
    assert send.path == "/api/proto.chat.v1.ChatMessageService/SendMessageStream"
    assert len(send.body) == 148
    assert (
        send.body
        == bytes.fromhex("000000008f")
        + (
            f'{{"chatId":"{chat}","messageInfo":{{"text":"system:以上为历史消息，关注以下用户消息\\nuser:你是谁？\\nassistant:"}}}}'
        ).encode()
    )
    assert headers_of(send) == wanted(f"/chats/{chat}", "application/connect+json")
    assert delete.path == "/api/proto.chat.v1.ChatService/DelChat"
    assert delete.body == f'{{"chatIds":["{chat}"]}}'.encode()
    assert headers_of(delete) == wanted(f"/chats/{chat}")

    assert told.content == "".join(texts)
    assert [chunk["choices"][0]["delta"] for chunk in told.chunks] == [
        {"role": "assistant", "content": ""},
        *({"content": text} for text in texts),
        {},
    ]
    last = told.chunks[-1]
    assert (told.finish, told.done, told.conversation_id) == ("stop", True, chat)
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    assert {(chunk["id"], chunk["model"]) for chunk in told.chunks} == {(chat, "step")}


async def test_exactly_pong(world: World) -> None:
    told = await world.both("reply exactly PONG")
    assert "PONG" in told.content
    assert told.finish == "stop"


async def test_one_login_in_two_spellings_is_one_account(world: World) -> None:
    accounts = world.house.service.accounts
    (account,) = accounts.caller('Bearer "Spelt" @ A0...R0,Spelt@A0...R0@more').accounts
    assert account.digest == accounts.account("Spelt@A0...R0").digest


async def test_a_login_is_kept_out_of_the_log_as_it_is_read(world: World) -> None:
    account = world.house.service.accounts.account('"Quoted" @ A0...R0')
    assert mask(account.own.token) == MASK


async def test_the_pair_is_kept_for_the_next_request(world: World) -> None:
    for _ in range(2):
        await world.whole("hi")
    await world.deleted()
    assert sorted(world.kinds()) == sorted(["register", *ROUND, *ROUND])


SEARCHED = [
    {
        "pipelineEvent": {
            "eventSearch": {
                "query": "上海 天气",
                "results": [
                    {"title": "上海天气预报_今日天气", "url": SHANGHAI, "snippet": "..."},
                    {"title": "Shanghai weather – 7 day forecast", "url": FORECAST, "snippet": "..."},
                ],
            }
        }
    },
    said("上海今天多云<web_1>，"),
    said("22~28℃<url_a1B2>。"),
    said("详见来源<unknown_9>。"),
    DONE,
]
SOURCES = (
    f"\n\n搜索结果来自：\n1. 上海天气预报_今日天气 - {SHANGHAI}\n2. Shanghai weather – 7 day forecast - {FORECAST}"
)


async def test_tags_become_links_and_sources_follow(world: World) -> None:
    world.site.script("send", *[Frames(*SEARCHED)] * 2)
    told = await world.both("上海天气")
    assert told.content == f"上海今天多云[1]({SHANGHAI})，22~28℃。详见来源。{SOURCES}"
    assert [note["url"] for note in told.citations] == [SHANGHAI, FORECAST]


async def test_references_hidden() -> None:
    async with World.start(REFERENCES="hidden") as world:
        world.site.script("send", *[Frames(*SEARCHED)] * 2)
        told = await world.both("上海天气")
        assert told.content == "上海今天多云，22~28℃。详见来源。"
        assert [note["url"] for note in told.citations] == [SHANGHAI, FORECAST]


async def test_all_searches_count(world: World) -> None:
    told = await world.both("上海天气怎么样")
    assert told.content.startswith(f"关于「上海天气怎么样」：上海今天多云[1]({SHANGHAI})，22~28℃[2]({FORECAST})，")
    assert f"湿度 70%[3]({HUMIDITY})。" in told.content
    assert "<" not in told.content


@pytest.mark.parametrize(("model", "number"), [("step-2", 2), ("step-r-mini", 4), ("step-2-literary", 5)])
async def test_a_chosen_model_has_the_newer_body(world: World, model: str, number: int) -> None:
    told = await world.both("hi", model=model)
    body = world.messages()[0]
    assert list(body) == ["chatId", "messageInfo", "messageMode", "modelId"]
    assert body["messageInfo"] == {"text": f"{HINT}user:hi\nassistant:", "author": {"role": "user"}}
    assert (body["messageMode"], body["modelId"]) == ("SEND_MESSAGE", number)
    assert bool(told.reasoning) is (number == 4)
    assert {chunk["model"] for chunk in told.chunks} == {model}


async def test_thinking(world: World) -> None:
    told = await world.both("为什么", model="deepseek-r1")
    assert told.reasoning == "用户说「为什么」，我先想一想。"
    assert "为什么" in told.content


async def test_thinking_in_the_text() -> None:
    async with World.start(THINKING="inline") as world:
        told = await world.both("为什么", model="deepseek-r1")
        assert told.content.startswith("<think>\n用户说「为什么」，我先想一想。</think>\n\n你好！")


@pytest.mark.parametrize("model", ["step", "step-v1", "gpt-4o", None])
async def test_other_names_have_the_old_body(world: World, model: str | None) -> None:
    told = await world.whole("hi", model=model, use_search=False, temperature=0.5, tools=[])
    assert list(world.messages()[0]) == ["chatId", "messageInfo"]
    assert "switch" not in world.kinds()
    assert told.value["model"] == (model or "step")


async def test_the_search_is_switched_by_the_model_name(world: World) -> None:
    off = await world.both("天气", model="step-nosearch")
    on = await world.both("天气", model="step-2-search")
    assert SHANGHAI not in off.content
    assert SHANGHAI in on.content
    assert [call.params["way"] for call in world.site.calls_of("switch")] == ["Disable", "Disable", "Enable", "Enable"]
    assert [call.body for call in world.site.calls_of("switch")] == [b"{}"] * 4
    assert [body.get("modelId") for body in world.messages()] == [None, None, 2, 2]


async def test_switches_wait_for_each_other(world: World) -> None:
    models = ["step-search", "step-nosearch"] * 3
    told = await asyncio.gather(*(world.whole("天气", model=model) for model in models))
    assert [SHANGHAI in one.content for one in told] == [True, False] * 3


async def test_a_switch_the_site_refuses(world: World) -> None:
    world.site.script("switch", Reply({"result": "RESULT_CODE_FAILED"}))
    told = await world.whole("hi", model="step-search")
    assert (told.status, told.code) == (400, "request_refused")


async def test_a_conversation_goes_on(world: World) -> None:
    first = await world.chat("一", conversation_id="new")
    chat = first.conversation_id
    again = [
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "二"},
    ]
    second = await world.both(again, conversation_id=chat)
    assert second.conversation_id == chat
    assert world.kinds() == ["register", "create", "send", "send", "send"]
    assert world.site.chats[str(chat)].turns == [f"{HINT}user:一\nassistant:", "二", "二"]
    world.kept = 1


async def test_a_conversation_of_another_account(world: World) -> None:
    chat = (await world.whole("一", conversation_id="new")).conversation_id
    told = await world.whole("二", "bob", conversation_id=chat)
    assert (told.status, told.code) == (404, "conversation_not_found")
    world.kept = 1


async def test_a_conversation_nobody_knows(world: World) -> None:
    told = await world.whole("二", "ann", "bob", conversation_id="154303117894709999")
    assert (told.status, told.code) == (404, "conversation_not_found")
    assert world.kinds() == ["register", "send"] * 2


@pytest.mark.parametrize("name", ["12345", "1" * 64, "c-abc", "F73F02E6-6b43-4a46-ac24-3a9ea8d15145", "a_b-c"])
@pytest.mark.parametrize("dialect", ["yuewen", "stepfun"])
async def test_every_name_the_site_gives_a_chat_can_be_continued(dialect: str, name: str) -> None:
    async with World.start(STEP_DIALECT=dialect) as world:
        world.site.new_chat = lambda: name[dialect == "stepfun" :]
        chat = (await world.whole("一", conversation_id="new")).conversation_id
        assert (await world.whole("二", conversation_id=chat)).conversation_id == chat
        assert world.site.chats[str(chat)].turns[1:] == ["二"]
        world.kept = 1


@pytest.mark.parametrize("name", ["../12345", "1" * 65, "a b c d", "12345\n"])
async def test_what_cannot_be_the_name_of_a_chat_is_refused(world: World, name: str) -> None:
    world.site.new_chat = lambda: name
    world.errors = ["upstream_changed"]
    assert (await world.whole("一", conversation_id="new")).outcome == (502, "", None, "upstream_changed")
    world.kept = 1


@pytest.mark.parametrize("name", ["", "c-1234", "a/1234", "12 345", "12345\n", "1" * 65, "1" * 300, "\ud800"])
async def test_what_is_no_name_opens_a_chat(world: World, name: str) -> None:
    await world.whole("hi", conversation_id=name)
    assert world.kinds().count("create") == 1
    await world.deleted()


async def test_conversations_kept() -> None:
    async with World.start(KEEP_CONVERSATIONS="1") as world:
        await world.both("一")
        world.kept = 2


# --- files -----------------------------------------------------------------------------------------------------------


async def test_a_file_is_stored_read_and_named(world: World) -> None:
    part = {"type": "file", "file": {"filename": "report.pdf", "file_data": data_url(PDF, "application/pdf")}}
    told = await world.chat([part, {"type": "text", "text": "文档里说了什么？"}])
    await world.deleted()
    assert world.kinds() == ["register", "storage", *["file_status"] * 3, *ROUND]
    storage = world.site.calls_of("storage")[0]
    assert storage.query == "file_name=report.pdf"
    assert headers_of(storage)[1] == ("content-type", "application/pdf")
    assert [pair for pair in headers_of(storage) if pair[0].startswith("stepchat")] == [
        ("stepchat-meta-width", "undefined"),
        ("stepchat-meta-height", "undefined"),
        ("stepchat-meta-size", "45"),
    ]
    (name,) = world.site.files
    assert world.site.calls_of("file_status")[0].body == f'{{"id":"{name}"}}'.encode()
    send = world.site.calls_of("send")[0]
    assert send.body[:5] == bytes.fromhex("000000014f")
    chat = next(iter(world.site.chats))
    assert send.body[5:].decode() == (
        f'{{"chatId":"{chat}","messageInfo":{{"text":"system:以上为历史消息，关注以下用户发送的文件和消息\\n'
        'user:文档里说了什么？\\nassistant:","attachments":[{"attachmentType":"application/pdf",'
        f'"attachmentId":"{name}","name":"report.pdf","width":"undefined","height":"undefined","size":"45"}}]}}}}'
    )
    assert "report.pdf" in told.content


async def test_files_and_images_in_order_with_any_name(world: World) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    parts = [
        {"type": "file", "file": {"filename": "报告 1&2#!.pdf", "file_data": data_url(PDF, "application/pdf")}},
        {"type": "image_url", "image_url": {"url": data_url(png, "image/png")}},
        {"type": "text", "text": "看"},
    ]
    await world.whole(parts, model="step-2")
    info = world.messages()[0]["messageInfo"]
    assert list(info) == ["text", "author", "attachments"]
    assert [one["attachmentType"] for one in info["attachments"]] == ["application/pdf", "image/png"]
    assert info["attachments"][0]["name"] == "报告 1&2#!.pdf"
    queries = {call.query for call in world.site.calls_of("storage")}
    assert f"file_name={quote('报告 1&2#!.pdf', safe='')}" in queries


async def test_old_files_are_not_sent_again(world: World) -> None:
    part = {"type": "file", "file_url": {"url": data_url(PDF, "application/pdf")}}
    messages = [
        {"role": "user", "content": [part, {"type": "text", "text": "看这个"}]},
        {"role": "assistant", "content": "看完了"},
        {"role": "user", "content": "总结一下"},
    ]
    await world.whole(messages)
    assert "storage" not in world.kinds()
    assert "attachments" not in world.messages()[0]["messageInfo"]


ATTACHED = [{"type": "file", "file_url": {"url": data_url(PDF, "application/pdf")}}, {"type": "text", "text": "看"}]


@pytest.mark.parametrize("status", [12, 22, 59, 404])
async def test_a_file_the_site_cannot_read(world: World, status: int) -> None:
    world.site.file_statuses = ((1, True), (status, True))
    told = await world.whole(ATTACHED)
    assert (told.status, told.code) == (400, "invalid_attachment")
    assert "create" not in world.kinds()


async def test_a_file_the_site_does_not_get_done() -> None:
    async with World.start(STEP_FILE_LIMIT="0") as world:
        world.site.file_statuses = ((1, True),)
        told = await world.whole(ATTACHED)
        assert (told.status, told.code) == (400, "invalid_attachment")
        assert world.kinds() == ["register", "storage", "file_status"]


@pytest.mark.parametrize("fault", [server_error(500), Cut(None), Reply({"code": "unauthenticated"}, 401)])
async def test_a_look_at_a_file_that_fails_does_not_store_it_again(world: World, fault: Fault) -> None:
    world.site.script("file_status", Pass(), fault)
    assert (await world.whole(ATTACHED)).status == 200
    assert len(world.site.calls_of("storage")) == 1


async def test_files_that_were_read_are_not_waited_for_again(world: World) -> None:
    world.site.script("create", server_error(), server_error())
    assert (await world.whole([*ATTACHED, *ATTACHED])).status == 200
    assert len(world.site.calls_of("storage")) == 2
    assert len(world.site.calls_of("file_status")) == 6


async def test_a_file_is_uploaded_once_for_each_account(world: World) -> None:
    world.site.script("create", Reply({"code": "resource_exhausted", "message": "slow down"}, 429))
    assert (await world.whole(ATTACHED, "ann", "bob")).status == 200
    assert len(world.site.calls_of("storage")) == 2
    world.site.script("send", server_error())
    assert (await world.whole(ATTACHED, "ann")).status == 200
    assert len(world.site.calls_of("storage")) == 3


# --- what goes wrong -------------------------------------------------------------------------------------------------

UNAUTHENTICATED = Reply({"code": "unauthenticated", "message": "token is missing"}, 401)


@pytest.mark.parametrize("where", ["create", "send"])
async def test_a_session_that_ran_out_is_renewed_once(world: World, where: str) -> None:
    await world.whole("hi")
    world.site.expire_access("ann")
    told = await world.both("again")
    assert told.status == 200
    world.site.script(where, UNAUTHENTICATED)
    assert (await world.whole("once more")).status == 200
    registered = [call.headers["Cookie"] for call in world.site.calls_of("register")]
    pairs = world.site.accounts["ann"].pairs
    # Each with the pair before it.
    assert registered == [f"Oasis-Token={pair}" for pair in pairs[:3]]


async def test_in_the_stream_too(world: World) -> None:
    world.site.script("send", Frames(failure("unauthenticated", "token is missing")))
    assert (await world.both("hi")).status == 200
    assert len(world.site.calls_of("register")) == 2


async def test_a_session_refused_twice_is_a_dead_token(world: World) -> None:
    world.site.script("create", UNAUTHENTICATED, UNAUTHENTICATED)
    told = await world.whole("hi")
    assert (told.status, told.code) == (401, "invalid_api_key")


async def test_an_old_pair_that_is_refused_falls_back_to_the_clients(world: World) -> None:
    await world.whole("hi")
    world.site.expire_access("ann")
    account = world.site.accounts["ann"]
    account.pairs.remove(account.pairs[1])
    assert (await world.whole("again")).status == 200
    cookies = [call.headers["Cookie"] for call in world.site.calls_of("register")]
    assert cookies[2] == cookies[0] == f"Oasis-Token={account.pairs[0]}"


async def test_all_who_wait_for_an_exchange_share_its_failure(world: World) -> None:
    world.site.script("register", UNAUTHENTICATED)
    told = await asyncio.gather(*(world.whole("hi") for _ in range(3)))
    assert [one.status for one in told] == [401] * 3
    assert world.kinds() == ["register"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["create", "send"])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Reply({"code": "permission_denied", "message": "need sign in"}, 403), 403, "account_barred"),
        (Reply({"code": "CODE_ACCOUNT_NEED_SIGN_IN", "message": ""}, 403), 403, "account_barred"),
        (Reply("CODE_ACCOUNT_NEED_SIGN_IN", 403, "text/plain"), 403, "account_barred"),
        (Reply({"error": {"code": "permission_denied", "message": "no"}}), 403, "account_barred"),
        (Reply(failure("permission_denied", "no"), 403, "application/connect+json"), 403, "account_barred"),
        (Reply({"code": "resource_exhausted", "message": "slow"}, headers=(("Retry-After", "7"),)), 429,
         "rate_limit_exceeded"),
        (Reply({"code": "invalid_argument", "message": "prompt exceed max len 9"}), 400, "request_refused"),
        (Reply({"code": "unauthenticated", "message": "oasis-token is embezzled"}, 401), 401, "invalid_api_key"),
        (Reply({"code": "unimplemented", "message": ""}, 404), 502, "upstream_changed"),
        (Reply({}), 502, "upstream_changed"),
        (html(502), 502, "upstream_unavailable"),
        (html(), 502, "upstream_unavailable"),
        (html(403), 502, "upstream_unavailable"),
        (Reply(b""), 502, "upstream_unavailable"),
        (Cut(None), 502, "upstream_unavailable"),
    ],
)  # fmt: skip
async def test_refusals_before_the_answer(fault: Fault, status: int, code: str, where: str, stream: bool) -> None:
    async with World.start(RETRIES="0") as world:
        world.site.script(where, fault)
        told = await (world.chat if stream else world.whole)("hi")
        assert (told.status, told.code) == (status, code)
        if code == "rate_limit_exceeded":
            assert told.headers["Retry-After"] == "7"
        world.errors = [code] * (code == "upstream_changed")
        # A chat whose creation was not answered cannot be deleted: nobody knows its id.
        world.kept = int(where == "create" and isinstance(fault, Cut))
        await world.site.wait_for(lambda: len(world.site.live_conversations()) == world.kept)
        assert len(world.site.calls_of("delete")) == (where == "send")


@pytest.mark.parametrize(
    ("where", "status", "code"),
    [
        ("register", 502, "upstream_changed"),
        ("create", 502, "upstream_changed"),
        ("switch", 502, "upstream_changed"),
        ("storage", 502, "upstream_changed"),
        ("file_status", 400, "invalid_attachment"),
        ("send", 502, "upstream_changed"),
    ],
)
async def test_what_the_site_does_not_find(world: World, where: str, status: int, code: str) -> None:
    world.site.script(where, Reply({"code": "not_found", "message": "no such thing"}, 404))
    world.errors = [code] * (code == "upstream_changed")
    told = await world.whole(ATTACHED, model="step-search")
    assert (told.status, told.code) == (status, code)
    await world.deleted()


async def test_a_page_instead_of_the_reply_is_tried_again(world: World) -> None:
    world.site.script("send", html(502))
    told = await world.both("hi")
    assert told.status == 200
    await world.deleted()
    assert len(world.site.calls_of("create")) == len(world.site.calls_of("delete")) == 3


async def test_the_next_account(world: World) -> None:
    world.site.script("create", Reply({"code": "resource_exhausted", "message": "no"}, 429))
    told = await world.chat("hi", "ann", "bob")
    assert told.status == 200
    assert sum(chat.owner.name == "bob" for chat in world.site.chats.values()) == 1


async def test_a_refusal_in_the_stream_before_any_text(world: World) -> None:
    world.site.script("send", Frames({"startEvent": {}}, failure("resource_exhausted", "request too frequent")))
    told = await world.chat("hi", "ann", "bob")
    assert (told.status, told.finish) == (200, "stop")
    assert len(world.site.chats) == 2


async def test_a_refusal_in_the_stream_after_text(world: World) -> None:
    broken = Frames(said("开头"), failure("resource_exhausted", "request too frequent, try later"))
    world.site.script("send", broken)
    told = await world.chat("hi", "ann", "bob")
    assert (told.content, told.finish, told.done) == ("开头", None, False)
    assert told.code == "rate_limit_exceeded"
    await world.deleted()
    world.site.script("send", broken)
    whole = await world.whole("hi", "ann")
    assert (whole.status, whole.code) == (429, "rate_limit_exceeded")


async def test_an_end_without_its_sign(world: World) -> None:
    world.site.script("send", *[Frames(said("开头"))] * 2)
    told = await world.both("hi")
    assert (told.content, told.finish, told.done) == ("开头", "length", True)
    await world.deleted()


@pytest.mark.parametrize("fault", [Frames(), Frames(DONE), Frames(end())])
async def test_no_content(fault: Fault) -> None:
    async with World.start(RETRIES="0") as world:
        world.site.script("send", fault)
        told = await world.chat("hi")
        assert (told.status, told.code) == (502, "upstream_unavailable")
        await world.deleted()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Cut(-12), "upstream_unavailable"),
        (Frames(said("开头"), framed(b"{}" * 5)[:-4]), "upstream_unavailable"),
        (Frames(said("开头"), framed(b"{no")), "upstream_changed"),
        (Frames(said("开头"), b"\x00\xff\xff\xff\xff"), "upstream_changed"),
        (Frames(said("开头"), framed(b"{}", 1)), "upstream_changed"),
    ],
)
async def test_a_stream_that_breaks(fault: Fault, code: str, world: World) -> None:
    world.site.script("send", fault)
    told = await world.chat("hi")
    assert told.content
    assert (told.finish, told.done, told.code) == (None, False, code)
    world.errors = [code] * (code == "upstream_changed")
    await world.deleted()


@pytest.mark.parametrize(
    "fault",
    [
        Compressed(),
        Split(gap=0),
        Split(size=1, gap=0),
        Split(size=7, gap=0),
        Together(Compressed(), Split(size=3, gap=0)),
        ContentType("application/octet-stream"),
        ContentType(""),
    ],
)
async def test_however_the_answer_comes(world: World, fault: Fault) -> None:
    plain = await world.whole("天气")
    world.site.script("send", *[fault] * 2)
    told = await world.both("天气")
    assert (told.content, told.annotations) == (plain.content, plain.annotations)


async def test_what_is_unknown_is_counted(world: World) -> None:
    world.site.script("send", Frames({"newEvent": {}}, said("a"), DONE))
    assert (await world.whole("hi")).content == "a"
    assert "newEvent" in await world.scrape()


async def test_a_client_that_leaves(world: World) -> None:
    stall = Stall(after=400)
    world.site.script("send", stall)
    async with world.post("/v1/chat/completions", {"model": "step", "stream": True, "messages": [
        {"role": "user", "content": "hi"}]}) as response:  # fmt: skip
        await response.content.readany()
    await world.deleted()
    (send,) = world.site.calls_of("send")
    await world.site.wait_for(send.ended.is_set)
    assert send.closed.is_set()


async def test_a_deletion_that_fails_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.cleanup.FORGET_PAUSES", (0.0,))
    world.site.script("delete", html(502))
    await world.whole("hi")
    await world.deleted()
    assert len(world.site.calls_of("delete")) == 2


async def test_a_deletion_that_is_answered_with_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.cleanup.FORGET_PAUSES", (0.0,))
    async with World.start() as world:
        world.site.script("delete", Reply(b""))
        await world.whole("hi")
        world.kept = 1
    assert len(world.site.calls_of("delete")) == 1


async def test_a_prompt_that_is_too_long(world: World) -> None:
    world.site.prompt_limit = 10
    told = await world.whole("hi")
    assert (told.status, told.code) == (400, "request_refused")
    assert "prompt exceed max len 10" in told.value["error"]["message"]
    await world.deleted()


async def test_no_messages_is_no_call(world: World) -> None:
    told = await world.request("/v1/chat/completions", {"model": "step", "messages": []})
    assert told.status == 400
    assert world.kinds() == []


# --- tokens and models -----------------------------------------------------------------------------------------------


async def check(world: World, token: str) -> Any:
    async with world.house.post("/token/check", {"token": token}, None) as response:
        return response.status, await response.json()


async def test_a_live_token(world: World) -> None:
    assert await check(world, world.site.account("ann")) == (200, {"live": True})
    assert world.kinds() == ["register"]


@pytest.mark.parametrize(
    "fault", [UNAUTHENTICATED, Reply({}), Reply({"accessToken": {"raw": "A"}}), Reply({"code": "unauthenticated"})]
)
async def test_a_dead_token(world: World, fault: Fault) -> None:
    world.site.script("register", fault)
    assert await check(world, world.site.account("ann")) == (200, {"live": False})


async def test_a_token_of_nobody(world: World) -> None:
    world.site.downgrade = True
    assert await check(world, world.site.account("ann")) == (200, {"live": False})
    told = await world.whole("hi")
    assert (told.status, told.code) == (401, "invalid_api_key")
    assert "nobody" in told.value["error"]["message"]


async def test_a_malformed_token_is_no_call(world: World) -> None:
    assert await check(world, "nonsense") == (200, {"live": False})
    async with world.house.post("/v1/chat/completions", {"messages": [{"content": "x"}]}, "nonsense") as response:
        assert response.status == 401
        assert "deviceId" in (await response.json())["error"]["message"]
    assert world.kinds() == []


async def test_a_token_of_another_device(world: World) -> None:
    token = "d" * 40 + "@" + world.site.account("ann").partition("@")[2]
    assert await check(world, token) == (200, {"live": False})
    async with world.house.post("/v1/chat/completions", {"messages": [{"content": "x"}]}, token) as response:
        assert response.status == 401
        assert "another device" in (await response.json())["error"]["message"]


async def test_a_token_without_its_device(world: World) -> None:
    token = world.site.account("ann").partition("@")[2]
    assert await check(world, token) == (200, {"live": True})


@pytest.mark.parametrize(("fault", "status"), [(Cut(None), 502), (html(502), 502)])
async def test_a_site_that_cannot_be_asked(world: World, fault: Fault, status: int) -> None:
    world.site.script("register", fault)
    got, told = await check(world, world.site.account("ann"))
    assert got == status
    assert "error" in told


@pytest.mark.parametrize(
    ("model", "status"),
    [("step", 200), ("step-v1-vision", 200), ("step-2-search", 200), ("deepseek-r1", 200), ("gpt-4o", 404)],
)
async def test_models(world: World, model: str, status: int) -> None:
    async with world.house.client.get(f"{world.house.url}/v1/models/{model}") as response:
        assert response.status == status


async def test_every_name_that_chooses_something_is_listed(world: World) -> None:
    async with world.house.client.get(f"{world.house.url}/v1/models") as response:
        names = {model["id"] for model in (await response.json())["data"]}
    assert names >= {"step", "step-search", "step-nosearch", *StepSettings().model_ids, *StepSettings().stepfun_models}


@pytest.mark.parametrize("setting", ["STEP_MODEL_IDS", "STEP_STEPFUN_MODELS"])
async def test_a_model_of_the_settings_is_known(setting: str) -> None:
    async with (
        World.start(**{setting: '{"step-9": "9"}'}) as world,
        world.house.client.get(f"{world.house.url}/v1/models/step-9") as response,
    ):
        assert response.status == 200


async def test_faults_can_wait(world: World) -> None:
    world.site.script("send", Pass(), html(502))
    await world.both("hi")
    assert len(world.site.calls_of("send")) == 3
