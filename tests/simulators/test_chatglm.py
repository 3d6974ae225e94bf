"""The fake chatglm.cn, called by hand as a service would call it."""

import asyncio
import hashlib
import os
import re
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Any

import aiohttp
import orjson
import pytest
from PIL import Image
from yarl import URL

from tests.simulators import (
    ContentType,
    Cut,
    Fault,
    Gateway,
    Pass,
    SlowHead,
    Split,
    Stall,
    Together,
    discover,
    html,
    server_error,
)
from tests.simulators.chatglm import Filter, Frames, GlmSite, access_refused, busy, refresh_expired
from tests.simulators.chatglm_checks import (
    CONSTANT_HEADERS,
    DRAWING_ASSISTANT,
    MAIN_ASSISTANT,
    META_DATA,
    SECRET,
    page_of,
)

REFRESH = "https://chatglm.cn/chatglm/user-api/user/refresh"
STREAM = "https://chatglm.cn/chatglm/backend-api/assistant/stream"
DELETE = "https://chatglm.cn/chatglm/backend-api/assistant/conversation/delete"
UPLOAD = "https://chatglm.cn/chatglm/backend-api/assistant/file_upload"
VIDEO = "https://chatglm.cn/chatglm/video-api/v1"
MAIN_PAGE = "https://chatglm.cn/main/alltoolsdetail"
VIDEO_PAGE = "https://chatglm.cn/video"


def signed(stamp: str | None = None) -> dict[str, str]:
    now = stamp or str(int(time.time() * 1000))
    digit = (sum(map(int, now)) - int(now[-2])) % 10
    stamp, nonce = f"{now[:-2]}{digit}{now[-1]}", uuid.uuid4().hex
    sign = hashlib.md5(f"{stamp}-{nonce}-{SECRET}".encode()).hexdigest()
    return {"X-Timestamp": stamp, "X-Nonce": nonce, "X-Sign": sign}


def devices() -> dict[str, str]:
    return {"X-Device-Id": uuid.uuid4().hex, "X-Request-Id": uuid.uuid4().hex}


def common(token: str, referer: str = "") -> dict[str, str]:
    page = {"Referer": referer} if referer else {}
    return {**CONSTANT_HEADERS, "Accept-Encoding": "gzip, br", "Authorization": f"Bearer {token}", **page}


def json_headers(token: str, referer: str = "") -> dict[str, str]:
    return {**common(token, referer), **devices(), **signed(), "Content-Type": "application/json"}


def question(text: str, conversation: str = "", **meta: Any) -> dict[str, Any]:
    return {
        "assistant_id": MAIN_ASSISTANT,
        "conversation_id": conversation,
        "messages": [{"role": "user", "content": [{"type": "text", "text": f"{text}\n"}]}],
        "meta_data": {**META_DATA, "is_networking": True, **meta},
    }


def drawing(text: str) -> dict[str, Any]:
    return question(text) | {"assistant_id": DRAWING_ASSISTANT, "meta_data": META_DATA}


def form(name: str, content_type: str, data: bytes) -> tuple[str, bytes]:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {content_type}\r\n\r\n'
    body = b"--b0undary\r\n" + head.encode() + data + b"\r\n--b0undary--\r\n"
    return "multipart/form-data; boundary=b0undary", body


def png(width: int, height: int) -> bytes:
    target = BytesIO()
    Image.new("RGB", (width, height)).save(target, "PNG")
    return target.getvalue()


def frames(body: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(event.partition(b"data: ")[2]) for event in body.split(b"\n\n") if event]


def items(body: bytes) -> list[dict[str, Any]]:
    finished = [part for frame in frames(body)[:-1] for part in frame["parts"] if part["status"] == "finish"]
    return [item for part in finished for item in part["content"]]


class Browser:
    """A raw client of the site, through the gateway."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.site = gateway.site(GlmSite)
        self.session = session

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> aiohttp.client._RequestContextManager:
        address = URL(f"{self.gateway.url}/{url.replace('://', '/', 1)}", encoded=True)
        return self.session.request(method, address, headers=headers, data=body)

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: Any = None) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        async with self.ask(method, url, headers, data) as response:
            return response.status, await response.read()

    async def refresh(self, token: str) -> tuple[int, dict[str, Any]]:
        status, body = await self.fetch("POST", REFRESH, json_headers(token), b"{}")
        return status, orjson.loads(body)

    async def access(self, name: str = "ann") -> str:
        _, reply = await self.refresh(self.site.account(name))
        return str(reply["result"]["access_token"])

    def stream(self, access: str, body: dict[str, Any]) -> aiohttp.client._RequestContextManager:
        headers = json_headers(access, page_of(body.get("assistant_id")))
        return self.ask("POST", STREAM, headers, orjson.dumps(body))

    async def chat(self, access: str, body: dict[str, Any]) -> tuple[int, bytes]:
        async with self.stream(access, body) as response:
            return response.status, await response.read()

    async def delete(self, access: str, conversation: str, assistant: str = MAIN_ASSISTANT) -> dict[str, Any]:
        body = {"assistant_id": assistant, "conversation_id": conversation}
        _, reply = await self.fetch("POST", DELETE, json_headers(access, MAIN_PAGE), body)
        return dict(orjson.loads(reply))

    async def upload(self, access: str, url: str, page: str, name: str, kind: str, data: bytes) -> dict[str, Any]:
        content_type, body = form(name, kind, data)
        headers = {**common(access, page), "Content-Type": content_type}
        _, reply = await self.fetch("POST", url, headers, body)
        return dict(orjson.loads(reply))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    quiet = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
    async with (
        Gateway.start(GlmSite()) as gateway,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=quiet) as session,
    ):
        yield Browser(gateway, session)


async def test_a_conversation_from_the_first_question_to_its_deletion(browser: Browser) -> None:
    access = await browser.access()
    status, body = await browser.chat(access, question("你叫什么？"))
    conversation = frames(body)[0]["conversation_id"]
    assert status == 200
    assert [frame["status"] for frame in frames(body)][-2:] == ["init", "finish"]
    assert {frame["conversation_id"] for frame in frames(body)} == {conversation}
    assert "你叫什么？" in items(body)[0]["text"]
    await browser.chat(access, question("再说一遍", conversation))
    assert browser.site.conversations[conversation].turns == ["你叫什么？", "再说一遍"]
    assert await browser.delete(access, conversation) == {"message": "success", "result": {}, "status": 0}
    assert browser.site.live_conversations() == []
    assert browser.gateway.violations == []
    await browser.delete(access, conversation)
    assert browser.gateway.violations == ["glm: delete: deleted for the second time"]


async def test_a_frame_has_the_shape_of_the_site(browser: Browser) -> None:
    _, body = await browser.chat(await browser.access(), question("hi"))
    assert body.startswith(b"event:message\ndata: {")
    assert list(frames(body)[0]) == [
        *("id", "conversation_id", "assistant_id", "parts", "created_at", "meta_data", "status", "last_error")
    ]
    assert list(frames(body)[0]["parts"][0]) == [
        *("id", "logic_id", "role", "content", "model", "recipient", "created_at", "meta_data", "status")
    ]


@pytest.mark.parametrize(
    ("text", "meta", "kinds"),
    [
        ("hi", {}, ["text"]),
        ("hi", {"chat_mode": "zero"}, ["think", "text"]),
        ("北京天气", {}, ["tool_calls", "browser_result", "quote_result", "text"]),
        ("画一只猫", {}, ["text", "tool_calls", "image", "text"]),
        ("use Python", {}, ["text", "code", "execution_output", "text"]),
        ("<|user|>\n画一只猫\n<|assistant|>\n好\n<|user|>\nhi\n<|assistant|>", {}, ["text"]),
    ],
)
async def test_the_question_chooses_what_is_answered(
    browser: Browser, text: str, meta: dict[str, str], kinds: list[str]
) -> None:
    _, body = await browser.chat(await browser.access(), question(text, **meta))
    assert [item["type"] for item in items(body)] == kinds
    assert browser.gateway.violations == []


async def test_a_drawn_picture_can_be_fetched(browser: Browser) -> None:
    _, body = await browser.chat(await browser.access(), drawing("请画：猫"))
    url = next(item for item in items(body) if item["type"] == "image")["image"][0]["image_url"]
    status, data = await browser.fetch("GET", url, {})
    assert (status, Image.open(BytesIO(data)).size) == (200, (1024, 1024))
    assert browser.gateway.violations == []
    await browser.fetch("GET", url, {"Authorization": "Bearer x"})
    assert browser.gateway.violations == ["glm: file: Authorization was sent to a file host"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"X-Sign": "0" * 32}, "X-Sign is wrong"),
        (signed("1700000000000"), "is not now"),
        ({"X-Timestamp": str(int(time.time())) + "0" * 3}, "X-Sign is wrong"),
        ({"X-Nonce": "xyz"}, "X-Nonce is not 32 hex digits"),
        ({"X-Request-Id": str(uuid.uuid4())}, "X-Request-Id is not 32 hex digits"),
        ({"User-Agent": "python"}, "User-Agent is 'python'"),
        ({"Accept-Encoding": "identity"}, "Accept-Encoding is"),
        ({"Content-Type": "application/json; charset=utf-8"}, "Content-Type is"),
        ({"Cookie": "a=b"}, "Cookie does not belong here"),
        ({"Referer": "https://chatglm.cn/"}, "Referer is"),
    ],
)
async def test_a_wrong_header_is_a_violation(browser: Browser, change: dict[str, str], problem: str) -> None:
    access = await browser.access()
    headers = {**json_headers(access, MAIN_PAGE), **change}
    status, body = await browser.fetch("POST", STREAM, headers, question("hi"))
    assert (status, orjson.loads(body)["message"]) == (400, "bad request")
    assert any(problem in text for text in browser.gateway.violations)


@pytest.mark.parametrize("name", sorted({*CONSTANT_HEADERS, "Referer", "X-Device-Id", "X-Timestamp", "X-Nonce"}))
async def test_a_missing_header_is_a_violation(browser: Browser, name: str) -> None:
    headers = json_headers(await browser.access(), MAIN_PAGE)
    del headers[name]
    await browser.fetch("POST", STREAM, headers, question("hi"))
    assert any(name in text for text in browser.gateway.violations)


async def test_a_nonce_is_good_for_one_call(browser: Browser) -> None:
    headers = json_headers(await browser.access(), MAIN_PAGE)
    await browser.fetch("POST", STREAM, headers, question("hi"))
    assert browser.gateway.violations == []
    await browser.fetch("POST", STREAM, headers, question("hi"))
    assert "was used before" in browser.gateway.violations[0]


@pytest.mark.parametrize("digit", range(10))
async def test_only_one_check_digit_is_right(browser: Browser, digit: int) -> None:
    headers = json_headers(await browser.access(), MAIN_PAGE)
    right = headers["X-Timestamp"]
    stamp = f"{right[:-2]}{digit}{right[-1]}"
    sign = hashlib.md5(f"{stamp}-{headers['X-Nonce']}-{SECRET}".encode()).hexdigest()
    await browser.fetch("POST", STREAM, {**headers, "X-Timestamp": stamp, "X-Sign": sign}, question("hi"))
    assert bool(browser.gateway.violations) == (stamp != right)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (question("hi") | {"project_id": ""}, "body.project_id is unknown"),
        (question("hi", extra=1), "meta_data.extra is unknown"),
        (question("hi", chat_mode="fast"), "chat_mode is 'fast'"),
        (question("hi", is_test=0), "meta_data.is_test is 0"),
        (question("hi") | {"meta_data": META_DATA}, "is_networking is missing"),
        (question("hi") | {"messages": []}, "messages is not one user message"),
        (question("hi") | {"messages": [{"role": "system", "content": []}]}, "messages is not one user message"),
    ],
)
async def test_a_wrong_body_is_a_violation(browser: Browser, body: dict[str, Any], problem: str) -> None:
    status, _ = await browser.chat(await browser.access(), body)
    assert status == 400
    assert problem in browser.gateway.violations[0]


async def test_a_missing_field_is_named_in_the_site_s_way(browser: Browser) -> None:
    body = question("hi")
    del body["conversation_id"]
    _, reply = await browser.chat(await browser.access(), body)
    assert orjson.loads(reply)["validation_error"]["body_params"][0]["loc"] == ["conversation_id"]


async def test_tokens_are_refused_as_the_site_refuses_them(browser: Browser) -> None:
    assert (await browser.refresh("nonsense"))[1]["message"] == "bad request"
    token, access = browser.site.account("ann"), await browser.access("ann")
    browser.site.expire_access("ann")
    status, body = await browser.chat(access, question("hi"))
    assert (status, orjson.loads(body)["status"]) == (401, 401)
    browser.site.expire_refresh("ann")
    status, reply = await browser.refresh(token)
    assert status == 401
    assert "40102" in reply["message"]
    assert browser.site.outcomes("refresh") == {"malformed": 1, "ok": 1, "expired": 1}
    assert browser.gateway.violations == []


async def test_refresh_tokens_rotate_when_told(browser: Browser) -> None:
    old = browser.site.account("ann")
    assert (await browser.refresh(old))[1]["result"]["refresh_token"] == old
    browser.site.rotate = True
    new = (await browser.refresh(old))[1]["result"]["refresh_token"]
    assert new not in (old, None)
    assert (await browser.refresh(old))[0] == 200
    browser.site.retire_old = True
    await browser.refresh(new)
    assert (await browser.refresh(new))[1]["message"] == "bad request"


async def test_a_token_can_be_checked_without_a_body(browser: Browser) -> None:
    headers = json_headers(browser.site.account("ann"), MAIN_PAGE)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    status, body = await browser.fetch("POST", REFRESH, headers, b"")
    assert (status, orjson.loads(body)["status"], browser.gateway.violations) == (200, 0, [])


async def test_an_account_has_one_output_at_a_time(browser: Browser) -> None:
    access, site = await browser.access(), browser.site
    stall = Stall(after=-10)
    site.script("stream", stall)
    async with browser.stream(access, question("one")):
        await stall.reached.wait()
        assert not site.running  # the end sign has begun to leave
    site.script("stream", stall := Stall(after=100))
    async with browser.stream(access, question("two")):
        await stall.reached.wait()
        _, body = await browser.chat(access, question("three"))
        assert orjson.loads(body) == {"message": "当前还有其他请求正在进行", "result": [], "status": 10006}
        assert (await browser.chat(await browser.access("bob"), question("four")))[0] == 200
    await site.wait_for(lambda: not site.running)
    assert (await browser.chat(access, question("five")))[1].startswith(b"event:")
    assert site.outcomes("stream") == {"ok": 4, "busy": 1}
    assert browser.gateway.violations == []


async def test_the_account_is_free_when_the_end_was_read(browser: Browser) -> None:
    access = await browser.access()
    for _ in range(20):
        async with browser.stream(access, question("hi")) as response:
            while b'"status":"finish","last_error"' not in await response.content.readany():
                pass
    assert browser.site.outcomes("stream") == {"ok": 20}


async def test_what_belongs_to_another_account_is_a_violation(browser: Browser) -> None:
    ann, bob = await browser.access("ann"), await browser.access("bob")
    _, body = await browser.chat(ann, question("secret"))
    conversation = frames(body)[0]["conversation_id"]
    _, reply = await browser.chat(bob, question("and?", conversation))
    assert orjson.loads(reply)["message"] == "对话不存在"
    await browser.delete(bob, conversation)
    assert browser.gateway.violations == [
        "glm: stream: conversation of ann used by bob",
        "glm: delete: conversation of ann used by bob",
    ]
    assert len(browser.site.live_conversations("ann")) == 1


async def test_an_unknown_conversation_is_refused(browser: Browser) -> None:
    _, reply = await browser.chat(await browser.access(), question("hi", "0" * 24))
    assert orjson.loads(reply)["message"] == "对话不存在"
    assert browser.site.outcomes("stream") == {"conversation unknown": 1}


async def test_files_and_pictures_are_uploaded_and_referred_to(browser: Browser) -> None:
    access = await browser.access()
    page = "https://chatglm.cn/"
    text = (await browser.upload(access, UPLOAD, page, "报告.pdf", "application/pdf", b"%PDF\r\n--"))["result"]
    image = (await browser.upload(access, UPLOAD, page, "a.png", "image/png", png(3, 2)))["result"]
    assert "width" not in text
    assert (image["width"], image["height"]) == (3, 2)
    body = question("比较")
    references = [
        {"type": "file", "file": [text]},
        {"type": "image", "image": [{**image, "image_url": image["file_url"]}]},
    ]
    body["messages"][0]["content"] += references
    _, reply = await browser.chat(access, body)
    assert "报告.pdf、a.png" in items(reply)[0]["text"]
    assert (await browser.fetch("GET", text["file_url"], {}))[1] == b"%PDF\r\n--"
    assert browser.gateway.violations == []
    await browser.chat(await browser.access("bob"), body)
    assert browser.gateway.violations == ["glm: stream: file of ann used by bob"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'name="file"', b'name="image"'),
        (b"Content-Type: text/plain\r\n", b""),
        (b'; filename="a.txt"', b""),
        (b"--b0undary--", b"--b0undary"),
        (b"x\r\n--b0undary--", b'x\r\n--b0undary\r\nContent-Disposition: form-data; name="b"\r\n\r\n\r\n--b0undary--'),
    ],
)
async def test_a_wrong_form_is_a_violation(browser: Browser, old: bytes, new: bytes) -> None:
    content_type, body = form("a.txt", "text/plain", b"x")
    headers = {**common(await browser.access(), "https://chatglm.cn/"), "Content-Type": content_type}
    await browser.fetch("POST", UPLOAD, headers, body.replace(old, new))
    assert len(browser.gateway.violations) == 1


async def order_video(browser: Browser, access: str, **fields: Any) -> dict[str, Any]:
    options = {"emotional_atmosphere": "生动活泼", "mirror_mode": "水平", "video_style": "油画"}
    body = {"conversation_id": "", "prompt": "猫", "advanced_parameter_extra": options, **fields}
    _, reply = await browser.fetch("POST", f"{VIDEO}/chat", json_headers(access, VIDEO_PAGE), body)
    return dict(orjson.loads(reply))


async def poll_video(browser: Browser, access: str, identity: str) -> dict[str, Any]:
    headers = {**common(access, VIDEO_PAGE), **devices(), **signed()}
    _, reply = await browser.fetch("GET", f"{VIDEO}/chat/status/{identity}", headers)
    return dict(orjson.loads(reply)["result"])


async def test_a_video_from_its_first_picture_to_its_deletion(browser: Browser) -> None:
    access = await browser.access()
    address = f"{VIDEO}/static/upload"
    source = (await browser.upload(access, address, VIDEO_PAGE, "a.png", "image/png", png(1440, 960)))["result"]
    job = (await order_video(browser, access, source_list=[source["source_id"]]))["result"]
    polls = [await poll_video(browser, access, job["chat_id"]) for _ in range(4)]
    assert [poll["status"] for poll in polls] == ["init", "processing", "finished", "finished"]
    assert (await browser.fetch("GET", polls[-1]["video_url"], {}))[0] == 200
    sound = {"chat_id": job["chat_id"], "key": "k", "audio_id": "7"}
    await browser.fetch("POST", f"{VIDEO}/static/composite_video", json_headers(access, VIDEO_PAGE), sound)
    headers = {**common(access, VIDEO_PAGE), **devices()}
    await browser.fetch("DELETE", f"{VIDEO}/chat/{job['chat_id']}", headers)
    assert browser.site.video_jobs[job["chat_id"]].deleted
    assert browser.gateway.violations == []


async def test_a_video_can_fail(browser: Browser) -> None:
    browser.site.video_failure = "内容不合规"
    access = await browser.access()
    job = (await order_video(browser, access))["result"]
    polls = [await poll_video(browser, access, job["chat_id"]) for _ in range(3)]
    assert (polls[-1]["status"], polls[-1]["msg"]) == ("fail", "内容不合规")


async def test_a_video_is_refused_with_wrong_options_or_a_wrong_picture(browser: Browser) -> None:
    access = await browser.access()
    await order_video(browser, access, advanced_parameter_extra={"video_style": "油画"})
    address = f"{VIDEO}/static/upload"
    await browser.upload(access, address, VIDEO_PAGE, "a.png", "image/png", png(100, 100))
    assert len(browser.gateway.violations) == 3
    assert browser.site.video_jobs == {}


@pytest.mark.parametrize(
    ("fault", "status", "content_type"),
    [
        (server_error(502), 502, "text/html"),
        (html(), 200, "text/html"),
        (ContentType("application/json"), 200, "application/json"),
        (busy(), 200, "application/json"),
        (access_refused(), 401, "application/json"),
        (refresh_expired(), 401, "application/json"),
    ],
)
async def test_a_scripted_answer_comes_once(browser: Browser, fault: Fault, status: int, content_type: str) -> None:
    access = await browser.access()
    browser.site.script("stream", Pass(), fault)
    seen = []
    for _ in range(3):
        async with browser.stream(access, question("hi")) as response:
            seen.append((response.status, response.content_type))
    assert seen == [(200, "text/event-stream"), (status, content_type), (200, "text/event-stream")]


async def test_the_filter_ends_the_answer(browser: Browser) -> None:
    browser.site.script("stream", Filter(after=2))
    _, body = await browser.chat(await browser.access(), question("hi"))
    assert [frame["status"] for frame in frames(body)] == ["init", "init", "intervene"]
    assert "很抱歉" in frames(body)[-1]["last_error"]["intervene_text"]


async def test_frames_of_the_test_are_sent_as_given(browser: Browser) -> None:
    raw = b': hi\r\ndata: {"conversation_id":"$CONVERSATION_ID"}\r\n\r\n'
    browser.site.script("stream", Frames(raw, {"status": "finish"}), Frames({"conversation_id": "a" * 24}))
    access = await browser.access()
    _, body = await browser.chat(access, question("hi"))
    (conversation,) = browser.site.conversations
    assert body.startswith(raw.replace(b"$CONVERSATION_ID", conversation.encode()))
    await browser.chat(access, question("hi"))
    assert list(browser.site.conversations) == [conversation, "a" * 24]


async def reads(response: aiohttp.ClientResponse) -> list[bytes]:
    found = []
    while data := await response.content.readany():
        found.append(data)
    return found


@pytest.mark.parametrize(("split", "sizes"), [(Split(at=(5, 9, 300)), [5, 4, 291]), (Split(size=100), [100] * 3)])
async def test_a_body_is_split_where_told(browser: Browser, split: Split, sizes: list[int]) -> None:
    browser.site.script("stream", split)
    async with browser.stream(await browser.access(), question("hi")) as response:
        pieces = await reads(response)
    assert [len(piece) for piece in pieces[: len(sizes)]] == sizes
    assert frames(b"".join(pieces))[-1]["status"] == "finish"


@pytest.mark.parametrize("fault", [Cut(after=200), Cut(after=200, reset=True), Together(Split(size=50), Cut(200))])
async def test_a_body_is_cut_where_told(browser: Browser, fault: Fault) -> None:
    browser.site.script("stream", fault)
    async with browser.stream(await browser.access(), question("hi")) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    (call,) = browser.site.calls_of("stream")
    await call.ended.wait()
    assert not call.closed.is_set()
    assert not browser.site.running
    assert len(browser.site.live_conversations()) == 1


async def test_a_call_is_cut_before_its_head(browser: Browser) -> None:
    browser.site.script("refresh", Cut(after=None), Cut(after=5))
    for _ in range(2):
        with pytest.raises(aiohttp.ClientError):
            await browser.access()
    assert await browser.access()


@pytest.mark.parametrize("place", [Stall(after=0), Stall(after=200), SlowHead()])
async def test_a_caller_that_leaves_is_noticed_at_once(browser: Browser, place: Stall | SlowHead) -> None:
    browser.site.script("stream", place)
    access = await browser.access()
    asking = asyncio.create_task(browser.chat(access, question("hi")))
    await place.reached.wait()
    asking.cancel()
    (call,) = browser.site.calls_of("stream")
    await asyncio.wait_for(call.closed.wait(), 5)
    await call.ended.wait()
    assert not browser.site.running
    assert not call.answered.is_set()


async def test_a_stall_ends_when_told(browser: Browser) -> None:
    go_on = asyncio.Event()
    browser.site.script("/chatglm/backend-api/assistant/stream", stall := Stall(after=200, until=go_on))
    asking = asyncio.create_task(browser.chat(await browser.access(), question("hi")))
    await stall.reached.wait()
    assert not asking.done()
    go_on.set()
    assert frames((await asking)[1])[-1]["status"] == "finish"
    assert browser.site.calls_of("stream")[0].answered.is_set()


async def test_the_gateway_keeps_paths_and_queries_as_they_are(browser: Browser) -> None:
    await browser.fetch("GET", "https://sfile.chatglm.cn/a%2Fb%27//c.png?sig=%2B%27&x", {})
    call = browser.site.calls_of("file")[0]
    assert (call.path, call.query) == ("/a%2Fb%27//c.png", "sig=%2B%27&x")


@pytest.mark.parametrize("url", ["https://example.org/x", "http://chatglm.cn/", "https://chatglm.cn/nowhere"])
async def test_a_call_to_an_unknown_place_is_a_violation(browser: Browser, url: str) -> None:
    status, _ = await browser.fetch("GET", url, {})
    assert status in (404, 599)
    assert len(browser.gateway.violations) == 1


async def test_a_condition_that_never_holds_says_what_happened(browser: Browser) -> None:
    await browser.access()
    with pytest.raises(AssertionError, match=r"calls: \[\('refresh', 'ok', True\)\]"):
        await browser.site.wait_for(lambda: False, 0.05)


def test_every_site_is_found() -> None:
    assert GlmSite in discover()


async def test_the_command_serves_until_it_is_told_to_stop() -> None:
    command = (sys.executable, "-m", "tests.simulators", "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    assert re.fullmatch(rb"UPSTREAM_GATEWAY=http://127\.0\.0\.1:\d+\n", await process.stdout.readline())
    lines = [await process.stdout.readline() for _ in discover()]
    assert any(line.startswith(b"GLM_TOKENS=eyJ") for line in lines)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0
