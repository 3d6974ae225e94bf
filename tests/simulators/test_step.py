"""The fake site, called by hand: it takes what its page sends, and nothing else."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import orjson
import pytest
from attrs import define
from yarl import URL

from tests.simulators import Gateway
from tests.simulators.step import StepSite
from tests.simulators.step_checks import CONSTANT_HEADERS, question_of
from tests.simulators.step_scenes import framed

BASE = "https://yuewen.cn"
REGISTER = "/passport/proto.api.passport.v1.PassportService/RegisterDevice"
CREATE = "/api/proto.chat.v1.ChatService/CreateChat"
SEND = "/api/proto.chat.v1.ChatMessageService/SendMessageStream"
DELETE = "/api/proto.chat.v1.ChatService/DelChat"
CONSTANT = {name: value.format(base=BASE) for name, value in CONSTANT_HEADERS.items()}


@define
class Browser:
    """A raw client of the site, through the gateway, logged in as `ann`."""

    gateway: Gateway
    session: aiohttp.ClientSession
    pair: str = ""

    @property
    def site(self) -> StepSite:
        return self.gateway.site(StepSite)

    @property
    def device(self) -> str:
        return self.site.accounts["ann"].device

    def headers(self, page: str = "/chats/new", content_type: str = "application/json") -> dict[str, str]:
        return {
            "Accept": "*/*",
            "Content-Type": content_type,
            "Cookie": f"Oasis-Token={self.pair}; Oasis-Webid={self.device}",
            "Oasis-Webid": self.device,
            "Referer": BASE + page,
            **CONSTANT,
        }

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        url = URL(f"{self.gateway.url}/https/yuewen.cn{path}", encoded=True)
        skipped = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
        async with self.session.post(url, data=body, headers=headers, skip_auto_headers=skipped) as response:
            return response.status, await response.read()

    async def register(self) -> dict[str, Any]:
        headers = {**self.headers(), "Cookie": f"Oasis-Token={self.pair}"}
        headers["Oasis-Webid"] = headers.pop("Oasis-Webid")
        told = orjson.loads((await self.post(REGISTER, headers, b"{}"))[1])
        return dict(told)

    async def create(self, **changed: str) -> tuple[int, Any]:
        status, told = await self.post(CREATE, {**self.headers(), **changed}, '{"chatName":"新会话"}'.encode())
        return status, orjson.loads(told)

    async def send(self, chat: str, message: Any, **changed: str) -> tuple[int, bytes]:
        headers = self.headers(f"/chats/{chat}", "application/connect+json")
        return await self.post(SEND, {**headers, **changed}, framed(orjson.dumps(message)))

    async def delete(self, chat: str) -> tuple[int, bytes]:
        return await self.post(DELETE, self.headers(f"/chats/{chat}"), orjson.dumps({"chatIds": [chat]}))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with Gateway.start(StepSite()) as gateway, aiohttp.ClientSession() as session:
        token = gateway.site(StepSite).account("ann")
        yield Browser(gateway, session, token.partition("@")[2])


def asked(chat: str, text: str = "user:hi\nassistant:", **more: Any) -> dict[str, Any]:
    return {"chatId": chat, "messageInfo": {"text": text, **more}}


async def test_a_chat_from_beginning_to_end(browser: Browser) -> None:
    told = await browser.register()
    browser.pair = f"{told['accessToken']['raw']}...{told['refreshToken']['raw']}"
    status, created = await browser.create()
    assert status == 200
    status, body = await browser.send(created["chatId"], asked(created["chatId"]))
    assert status == 200
    assert body.endswith(b'\x00\x00\x00\x00\x10{"doneEvent":{}}\x02\x00\x00\x00\x02{}')
    assert await browser.delete(created["chatId"]) == (200, b"{}")
    assert browser.gateway.violations == []


@pytest.mark.parametrize(
    "changed",
    [
        {"Oasis-Mode": "1"},
        {"Referer": f"{BASE}/chats/1"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"X-More": "1"},
        {"User-Agent": "python"},
        {"Connect-Protocol-Version": "2"},
    ],
)
async def test_other_headers(browser: Browser, changed: dict[str, str]) -> None:
    status, _ = await browser.create(**changed)
    assert status == 400
    assert browser.gateway.violations


async def test_headers_in_another_order(browser: Browser) -> None:
    headers = dict(reversed(browser.headers().items()))
    await browser.post(CREATE, headers, '{"chatName":"新会话"}'.encode())
    assert "order" in browser.gateway.violations[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"Cookie": "Oasis-Token=A...R; Oasis-Webid=D"}, "missing"),
        ({"Cookie": "Oasis-Token=A; Oasis-Webid=D"}, "illegal"),
        ({"Oasis-Webid": "D"}, "embezzled"),
    ],
)
async def test_other_tokens(browser: Browser, changed: dict[str, str], words: str) -> None:
    status, told = await browser.create(**changed)
    assert (status, told["code"]) == (401, "unauthenticated")
    assert words in told["message"]


@pytest.mark.parametrize(
    "message",
    [
        {"chatId": "$", "messageInfo": {}},
        {"messageInfo": {"text": "x"}, "chatId": "$"},
        asked("$", attachments=[]),
        asked("$", attachments=[{"attachmentId": "1"}]),
        {**asked("$"), "modelId": 2},
        {**asked("$"), "messageMode": "SEND_MESSAGE", "modelId": 2},
        {**asked("$", author={"role": "user"}), "messageMode": "SEND_MESSAGE", "modelId": 99},
    ],
)
async def test_other_messages(browser: Browser, message: dict[str, Any]) -> None:
    _, created = await browser.create()
    chat = created["chatId"]
    status, _ = await browser.send(chat, {**message, "chatId": chat} if "chatId" in message else message)
    assert status == 400
    assert browser.gateway.violations


@pytest.mark.parametrize("body", [b"", b"{}", framed(b"{}") * 2, framed(b"{}")[:-1], framed(b"{}", 1)])
async def test_what_is_not_one_frame(browser: Browser, body: bytes) -> None:
    status, _ = await browser.post(SEND, browser.headers("/chats/1", "application/connect+json"), body)
    assert status == 400
    assert browser.gateway.violations


async def test_deleted_twice(browser: Browser) -> None:
    _, created = await browser.create()
    for status in (200, 400):
        assert (await browser.delete(created["chatId"]))[0] == status
    assert "second time" in browser.gateway.violations[0]


async def test_a_chat_of_another_account(browser: Browser) -> None:
    _, created = await browser.create()
    browser.site.account("bob")
    browser.site.chats[created["chatId"]].owner = browser.site.accounts["bob"]
    _, told = await browser.send(created["chatId"], asked(created["chatId"]))
    assert orjson.loads(told)["code"] == "not_found"
    assert "used by ann" in browser.gateway.violations[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("user:a\nassistant:b\nsystem:以上为历史消息，关注以下用户消息\nuser:c\nd\nassistant:", "c\nd"),
        ("system:以上为历史消息，关注以下用户发送的文件和消息\nuser:c\nuser:d\nassistant:", "c\nd"),
        ("c", "c"),
    ],
)
def test_what_the_user_said_last(text: str, wanted: str) -> None:
    assert question_of(text) == wanted
