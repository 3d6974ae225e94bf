"""The service over the fake site: what is sent, what is read, what is left behind."""

import asyncio
import base64
from typing import Any
from urllib.parse import quote

import pytest

from tests.services.emohaa.test_prompt import COUNSEL
from tests.services.emohaa.test_reply import HELLO, HELLO_TEXT
from tests.services.emohaa.world import World
from tests.simulators import ContentType, Cut, Fault, Pass, Reply, SlowHead, Split, Stall, Together, html, server_error
from tests.simulators.emohaa import EmohaaSite, Events, Says, problem, refused

UNKNOWN = "f73f02e6-6b43-4a46-ac24-3a9ea8d15145"
PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()

REFUSALS = [
    (refused(401, "Unauthorized", "token invalid"), 401, "invalid_api_key", 1),
    (refused(401, "Unauthorized", "token invalid", 200), 401, "invalid_api_key", 1),
    (refused(403, "Forbidden", "banned", 200), 403, "account_barred", 1),
    (refused(429, "Too Many Requests"), 429, "rate_limit_exceeded", 1),
    (refused(400, "Bad Request"), 400, "request_refused", 1),
    (refused(500, "Internal Server Error", "", 200), 502, "upstream_unavailable", 3),
    (html(), 502, "upstream_unavailable", 3),
    (Reply(b""), 502, "upstream_unavailable", 3),
    (server_error(), 502, "upstream_unavailable", 3),
    (Cut(None), 502, "upstream_unavailable", 3),
]
each_refusal = pytest.mark.parametrize(("fault", "status", "code", "tries"), REFUSALS)
each_way = pytest.mark.parametrize("stream", [False, True])


@each_way
async def test_the_transcript(world: World, stream: bool) -> None:
    world.site.script("chat", Events(*HELLO.encode().splitlines(keepends=True)))
    told = await world.ask("你好", stream=stream)
    assert (told.content, told.finish) == (HELLO_TEXT, "stop")
    if stream:
        assert told.pieces == ["你好啊！", "我是Emohaa，", "想和我聊点什么吗？😊", "How are you?"]
    await world.deleted()
    opened, chat, deleted = world.site.calls
    assert (opened.method, opened.path, opened.query) == ("GET", "/echo-prod/generate/id", "create=true")
    token = quote(world.site.account("ann"), safe="")
    xss = [chat.headers[f"X-Xss-{name}"] for name in ("Ts", "Id", "Real")]
    assert (chat.method, chat.path) == ("GET", "/echo-prod/chat")
    assert chat.query == (
        f"token={token}&cid={told.id}&prompt=user%3A%E4%BD%A0%E5%A5%BD%0A&role=echo"
        "&xts={}&xid={}&xreal={}".format(*xss)
    )
    assert (deleted.method, deleted.path, deleted.query) == ("DELETE", "/echo-prod/conv", f"cid={told.id}")
    for call in world.site.calls:
        assert call.headers["Authorization"] == f"Bearer {world.site.account('ann')}"
        assert "Content-Type" not in call.headers
        assert call.body == b""


async def test_an_answer_and_a_history(world: World) -> None:
    told = await world.both("reply exactly PONG")
    assert "PONG" in told.content
    history = [{"role": role, "content": content} for role, content in COUNSEL]
    await world.both(history)
    assert world.site.prompts()[-1] == (
        "system:你是一位心理咨询师。\nBe warm.\nuser:我有点难过\nemohaa:怎么了？\nuser:考试没考好 😢\n"
        "emohaa:抱抱你\nuser:assistant 是什么意思？\n"
    )
    await world.deleted()


@pytest.mark.parametrize("form", ["text", "json", "object"])
async def test_every_form_of_a_new_id(world: World, form: str) -> None:
    world.site.id_form = form
    told = await world.both("hi")
    assert told.id in world.site.conversations
    await world.deleted()


async def test_the_prompt_s_style_is_a_setting() -> None:
    async with World.start(EMOHAA_PROMPT="last") as world:
        await world.both([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])
        assert world.site.prompts() == ["user:U\n"] * 2
        await world.deleted()


@pytest.mark.parametrize(
    "fault",
    [
        Split(at=(6, 7, 8, 9, 20, 21, 40)),
        ContentType("text/plain"),
        ContentType("application/json"),
        Together(ContentType("text/html"), Split(at=(1,))),
    ],
)
async def test_however_a_stream_arrives(world: World, fault: Fault) -> None:
    body = Events(HELLO.replace("\n", "\r\n").encode())
    world.site.script("chat", *[Together(body, fault)] * 2)
    assert (await world.both("hi")).outcome == (200, HELLO_TEXT, "stop", None)


async def test_spaces_and_marks_come_through(world: World) -> None:
    pieces = (" 你好", " ", "\n", "<br>", "\\n", "{", "a  b ")
    world.site.script("chat", *[Says(*pieces)] * 2)
    assert (await world.both("hi")).content == "".join(pieces)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"data:a\n\n", (200, "a", "length", None)),
        (b"data:a\n\ndata:[DONE]", (200, "a", "stop", None)),
        (b"data:a\n\ndata:[DONE] x\n\ndata:b\n\ndata:[DONE]\n\n", (200, "a", "stop", None)),
    ],
)
async def test_endings(world: World, body: bytes, outcome: Any) -> None:
    world.site.script("chat", *[Events(body)] * 2)
    assert (await world.both("hi")).outcome == outcome
    await world.deleted()


@each_way
async def test_an_event_cut_off_is_a_break(world: World, stream: bool) -> None:
    world.site.script("chat", *[Events(b"data:a\n\ndata:b")] * 3)
    told = await world.ask("hi", stream=stream)
    assert told.outcome == ((200, "a", None) if stream else (502, "", None)) + ("upstream_unavailable",)
    await world.deleted()


@pytest.mark.parametrize("body", [b"", b"data:[DONE]\n\n", b"data:\n\ndata:[DONE]\n\n", b"data: only half"])
async def test_an_empty_answer_is_an_error(world: World, body: bytes) -> None:
    world.site.script("chat", *[Events(body)] * 6)
    assert (await world.both("hi")).outcome == (502, "", None, "upstream_unavailable")
    await world.deleted()


@each_refusal
@pytest.mark.parametrize("place", ["open", "chat"])
@each_way
async def test_refusals(fault: Fault, status: int, code: str, tries: int, place: str, stream: bool) -> None:
    async with World.start() as world:
        world.site.script(place, *[fault] * tries)
        told = await world.ask("hi", stream=stream)
        assert told.outcome == (status, "", None, code)
        assert world.site.account("ann") not in told.error["message"]
        assert len(world.site.calls_of(place)) == tries
        await world.site.wait_for(lambda: len(world.site.calls_of("delete")) == len(world.chats()))
        if place == "chat":
            await world.deleted()


@pytest.mark.parametrize("reply", [Reply({"answer": "hi"}), refused(404, "Not Found")])
@pytest.mark.parametrize("place", ["open", "chat"])
async def test_something_unknown_is_told_as_such(place: str, reply: Reply) -> None:
    async with World.start() as world:
        world.errors = ["upstream_changed"]
        world.site.script(place, reply)
        assert (await world.ask("hi")).outcome == (502, "", None, "upstream_changed")


@each_way
@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (429, "rate_limit_exceeded")])
async def test_a_refusal_inside_the_stream(world: World, stream: bool, status: int, code: str) -> None:
    event = b'data:{"status":%d,"title":"no"}\n\n' % status
    world.site.script("chat", Events(event))
    assert (await world.ask("hi", "ann", stream=stream)).outcome == (status, "", None, code)
    world.site.script("chat", Events(b"data:a\n\n", event))
    told = await world.ask("hi", "bob", stream=stream)
    assert told.outcome == ((200, "a", None, code) if stream else (status, "", None, code))
    await world.deleted()


@each_way
async def test_the_next_account_takes_over(world: World, stream: bool) -> None:
    world.site.script("chat", Events(b'data:{"status":401}\n\n'))
    told = await world.ask("hi", "ann", "bob", stream=stream)
    assert (told.status, told.finish) == (200, "stop")
    owners = [conversation.owner for conversation in world.site.conversations.values()]
    assert owners == ["ann", "bob"]
    await world.deleted()


async def test_an_expired_token_is_told_at_once(world: World) -> None:
    token = world.site.account("ann")
    world.site.expire("ann")
    body = {"messages": [{"role": "user", "content": "hi"}]}
    for _ in range(2):
        async with world.house.post("/v1/chat/completions", body, token) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, "invalid_api_key")
    # The second time it is not even asked.
    assert world.kinds() == ["open"]


async def test_the_site_recovers(world: World) -> None:
    world.site.script("open", server_error(), Pass())
    world.site.script("chat", Cut(20), Pass())
    assert (await world.ask("hi")).finish == "stop"
    assert world.kinds().count("chat") == 2
    await world.deleted()


async def test_a_break_after_text_is_an_error_frame(world: World) -> None:
    world.site.script("chat", Cut(60))
    told = await world.ask("hi", stream=True)
    assert told.content.startswith("你好")
    assert (told.finish, told.error["code"]) == (None, "upstream_unavailable")
    assert len(world.chats()) == 1
    await world.deleted()


@pytest.mark.parametrize(
    ("place", "fault"), [("open", SlowHead(0.1)), ("chat", SlowHead()), ("chat", Stall(0)), ("chat", Stall(60))]
)
async def test_a_client_that_leaves_leaves_nothing_behind(
    world: World, place: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is deleted is so at once, and not for want of patience.
    monkeypatch.setattr("shared.cleanup.BREAK_TIMEOUT", 3600)
    world.site.script(place, fault)
    # Asked or not, by one who has left before there was a conversation: its answer is not waited for.
    world.site.script("chat", SlowHead())
    asking = asyncio.create_task(world.ask("hi", stream=True))
    await asyncio.wait_for(fault.reached.wait(), 5)
    asking.cancel()
    await world.site.wait_for(lambda: world.site.calls_of("delete"))
    await world.deleted()


async def test_a_conversation_is_kept_and_continued(world: World) -> None:
    opened = await world.ask([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
                             conversation_id="new")  # fmt: skip
    again = await world.ask("V", stream=True, conversation_id=opened.id)
    third = await world.ask([{"role": "user", "content": "V"}, {"role": "user", "content": "W"}],
                            conversation_id=opened.id)  # fmt: skip
    assert opened.id == again.id == third.id
    assert "第 2 次" in again.content
    assert world.site.conversations[opened.id].turns == ["system:S\nuser:U\n", "user:V\n", "user:W\n"]
    assert world.kinds() == ["open", "chat", "chat", "chat"]


async def test_a_continued_conversation_outlives_a_break(world: World) -> None:
    opened = await world.ask("U", conversation_id="new")
    world.site.script("chat", Cut(60))
    assert (await world.ask("V", stream=True, conversation_id=opened.id)).finish is None
    assert (await world.ask("W", conversation_id=opened.id)).finish == "stop"
    assert "delete" not in world.kinds()


async def test_conversations_of_nobody_and_of_others(world: World) -> None:
    told = await world.both("hi", conversation_id=UNKNOWN)
    assert (told.status, told.error["code"]) == (404, "conversation_not_found")
    assert world.kinds() == ["chat", "chat"]
    opened = await world.ask("hi", conversation_id="new")
    told = await world.ask("hi", "bob", conversation_id=opened.id)
    assert (told.status, told.error["code"]) == (404, "conversation_not_found")


@pytest.mark.parametrize(
    "name", ["", "x", "680f1c2e9a4b7d3e5f60718a", UNKNOWN + "0", "a/1", UNKNOWN + "\n", "\ud800", "1" * 300]
)
async def test_what_is_no_id_opens_a_conversation_of_the_usual_kind(world: World, name: str) -> None:
    await world.both("hi", conversation_id=name)
    assert world.kinds().count("open") == 2
    await world.deleted()


@pytest.mark.parametrize("name", [UNKNOWN.upper(), UNKNOWN.replace("-", ""), "1234567", "c-7", "c_7" + "x" * 61])
async def test_every_id_the_site_gives_can_be_continued(world: World, name: str) -> None:
    world.site.new_id = lambda: name
    assert (await world.ask("U", conversation_id="new")).id == name
    assert (await world.ask("V", conversation_id=name)).id == name
    assert world.site.conversations[name].turns == ["user:U\n", "user:V\n"]


@pytest.mark.parametrize("name", ["new", "none", "1" * 65, "../1", "a b1"])
async def test_what_cannot_be_an_id_is_refused(world: World, name: str) -> None:
    world.site.new_id = lambda: name
    world.errors = ["upstream_changed"]
    assert (await world.ask("U", conversation_id="new")).outcome == (502, "", None, "upstream_changed")


async def test_a_deletion_is_tried_again_and_one_that_was_done_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.cleanup.FORGET_PAUSES", (0.01,))
    world.site.script("delete", html(), Pass(), refused(404, "Not Found"))
    await world.ask("hi")
    await world.deleted()
    assert world.site.outcomes("delete") == {"scripted": 1, "ok": 1}
    await world.ask("hi")
    await world.site.wait_for(lambda: len(world.site.calls_of("delete")) == 3)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "file", "file_url": {"url": PIXEL}},
    ],
)
async def test_attachments_are_refused(world: World, part: Any) -> None:
    told = await world.both([part, {"type": "text", "text": "hi"}])
    assert (told.status, told.error["code"]) == (400, "request_refused")
    assert world.kinds() == []


async def test_no_messages_are_refused(world: World) -> None:
    assert (await world.both([])).status == 400
    assert world.kinds() == []


async def test_what_is_too_long_is_refused(world: World) -> None:
    told = await world.both("密" * 8000)
    assert (told.status, told.error["code"]) == (400, "request_refused")
    assert world.site.outcomes("chat") == {"too long": 2}
    told = await world.both("x" * 1_000_001)
    assert (told.status, told.error["code"]) == (400, "request_refused")
    assert world.site.outcomes("chat") == {"too long": 2}
    await world.deleted()


async def test_models(world: World) -> None:
    async with world.house.client.get(f"{world.house.url}/v1/models") as response:
        assert [model["id"] for model in (await response.json())["data"]] == ["emohaa"]
    async with world.house.client.get(f"{world.house.url}/v1/models/gpt-4") as response:
        assert response.status == 404
    assert (await world.ask("hi", model="gpt-4")).finish == "stop"


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (Pass(), 200, {"live": True}),
        (Reply([]), 200, {"live": True}),
        (Reply([{"id": UNKNOWN, "title": "你好"}]), 200, {"live": True}),
        (Reply(problem(401, "Unauthorized")), 200, {"live": False}),
        (refused(403, "Forbidden"), 200, {"live": False}),
        (html(), 502, None),
        (server_error(), 502, None),
        (Cut(None), 502, None),
    ],
)
async def test_token_check(world: World, fault: Fault, status: int, told: Any) -> None:
    world.site.script("check", fault)
    async with world.house.post("/token/check", {"token": world.site.account("ann")}, None) as response:
        assert response.status == status
        assert told in (None, await response.json())
    (call,) = world.site.calls
    assert (call.method, call.path, call.query) == ("GET", "/echo-prod/convs", "role=echo")


async def test_users_never_mix() -> None:
    site = EmohaaSite()
    async with World.start(site) as world:
        names = [f"user-{number}" for number in range(8)]
        answers = await asyncio.gather(*(world.ask(f"I am {name}", name, stream=True) for name in names))
        for name, told in zip(names, answers, strict=True):
            assert f"「I am {name}」" in told.content
            assert site.conversations[told.id].owner == name
        await world.deleted()
