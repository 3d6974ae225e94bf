"""The same, in the dialect of stepfun.com."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.step.dialect import Ask
from services.step.models import Choice
from services.step.session import StepSession
from services.step.site import StepSite
from services.step.stepfun.calls import Stepfun
from shared.metrics import Metrics
from shared.settings import Settings
from shared.terms import Conversation
from shared.upstream.client import Upstream
from tests.answers import data_url
from tests.services.step.test_pictures import picture
from tests.services.step.world import World, headers_of
from tests.simulators import Pass, Reply
from tests.simulators.step import Frames, failure
from tests.simulators.step import StepSite as SimulatedStep
from tests.simulators.step_checks import CONSTANT_HEADERS

BASE = "https://www.stepfun.com"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SESSION = StepSession(9e9, "D", "A1...R1")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World.start(STEP_DIALECT="stepfun") as started:
        yield started


@pytest.fixture
def dialect() -> Stepfun:
    site = StepSite()
    return Stepfun(site, Upstream(site.hosts, Settings(), Metrics("step")), site.stepfun_base)


def ask(dialect: Stepfun, choice: Choice, attachments: list[Any] | None = None) -> Ask:
    conversation = Conversation("s1")
    return dialect.ask(SESSION, conversation, dialect.message(conversation, "hi", choice, attachments or []))


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (
            Choice("step"),
            '{"message":{"chatSessionId":"s1","content":{"userMessage":{"qa":{"content":"hi"}}}},'
            '"config":{"model":"step-auto","enableReasoning":true}}',
        ),
        (
            Choice("deepseek-r1", False),
            '{"message":{"chatSessionId":"s1","content":{"userMessage":{"qa":{"content":"hi"}}}},'
            '"config":{"model":"deepseek-r1","enableReasoning":true,"enableSearch":false}}',
        ),
    ],
)
def test_the_body(dialect: Stepfun, choice: Choice, wanted: str) -> None:
    call = ask(dialect, choice)
    assert call.url == f"{BASE}/api/agent/capy.agent.v1.AgentService/ChatStream"
    assert call.body == len(wanted).to_bytes(5, "big") + wanted.encode()


def test_the_headers(dialect: Stepfun) -> None:
    assert list(ask(dialect, Choice("step")).headers.items()) == [
        ("Accept", "*/*"),
        ("Content-Type", "application/connect+json"),
        ("Cookie", "Oasis-Token=A1...R1; Oasis-Webid=D"),
        ("Oasis-Webid", "D"),
        ("Referer", f"{BASE}/chats/s1"),
        ("Oasis-Language", "zh"),
        ("Canary", "false"),
        *((name, value.format(base=BASE)) for name, value in CONSTANT_HEADERS.items()),
    ]


async def test_a_chat(world: World) -> None:
    told = await world.chat("天气", model="deepseek-r1")
    await world.deleted()
    assert world.kinds() == ["refresh", "create_session", "chat_stream", "delete_session"]
    assert {call.host for call in world.site.calls} == {"www.stepfun.com"}
    device, _, pair = world.site.account("ann").partition("@")
    cookie = f"Oasis-Token={pair}; Oasis-Webid={device}"
    assert ("cookie", cookie) in headers_of(world.site.calls[0])
    assert told.reasoning.startswith("用户说「天气」")
    assert "[1](https://www.weather.example.cn/shanghai)" in told.content
    assert told.finish == "stop"
    delete = world.site.calls_of("delete_session")[0]
    assert delete.body == f'{{"chatSessionIds":["{told.conversation_id}"]}}'.encode()


async def test_a_session_is_deleted_by_either_form_of_its_name(world: World) -> None:
    world.site.session_name = "chatSessionId"
    name = (await world.whole("hi")).conversation_id
    await world.deleted()
    assert [orjson.loads(call.body) for call in world.site.calls_of("delete_session")] == [
        {"chatSessionIds": [name]},
        {"chatSessionId": name},
    ]


async def test_a_session_not_found_by_one_form_is_deleted_by_the_other(world: World) -> None:
    world.site.script("delete_session", Reply({"code": "not_found", "message": "chat session not found"}, 404))
    await world.whole("hi")
    await world.house.service.cleanup.drain(5)
    assert len(world.site.calls_of("delete_session")) == 2
    world.kept = 1


async def test_a_deletion_refused_in_both_forms_is_not_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.cleanup.FORGET_PAUSES", (0.0,))
    invalid = Reply({"code": "invalid_argument", "message": "no"})
    world.site.session_name = "chatSessionId"
    world.site.script("delete_session", Pass(), invalid)
    await world.whole("hi")
    await world.house.service.cleanup.drain(5)
    assert len(world.site.calls_of("delete_session")) == 2
    world.kept = 1


async def test_search_by_model_name(world: World) -> None:
    off, on = [await world.both("天气", model=f"step-{way}search") for way in ("no", "")]
    assert "weather.example" not in off.content
    assert "weather.example" in on.content
    assert "switch" not in world.kinds()


async def test_a_conversation_goes_on(world: World) -> None:
    first = await world.whole("一", conversation_id="new")
    second = await world.chat("二", conversation_id=first.conversation_id)
    assert second.conversation_id == first.conversation_id
    assert world.site.chats[str(first.conversation_id)].turns[1:] == ["二"]
    world.kept = 1


async def test_files_and_images(world: World) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": data_url(picture("JPEG", 4, 5), "image/jpeg")}},
        {"type": "image_url", "image_url": {"url": data_url(PNG)}},
        {"type": "file", "file": {"filename": "报告.pdf", "file_data": data_url(b"%PDF-1.4 x", "application/pdf")}},
        {"type": "text", "text": "看"},
    ]
    told = await world.whole(parts)
    image, unreadable, document = (
        one["resource"]
        for one in world.messages("chat_stream")[0]["message"]["content"]["userMessage"]["qa"]["attachments"]
    )
    assert list(image) == ["image", "rid"]
    assert list(image["image"]) == ["rid", "meta", "url", "width", "height"]
    assert image["image"]["meta"]["mimeType"] == "image/jpeg"
    assert (image["image"]["width"], image["image"]["height"]) == (4, 5)
    assert list(unreadable["image"]) == ["rid", "meta", "url"]
    assert document["doc"]["meta"] == {"filename": "报告.pdf", "mimeType": "application/pdf"}
    assert "报告.pdf" in told.content


async def test_the_sizes_of_a_picture_that_the_site_knows(world: World) -> None:
    world.site.sizes = {"width": 2, "height": 3}
    image = {"type": "image_url", "image_url": {"url": data_url(PNG)}}
    assert (await world.whole([image, {"type": "text", "text": "看"}])).status == 200


async def test_the_pair_rotates(world: World) -> None:
    await world.whole("一")
    world.site.expire_access("ann")
    world.site.retire_old = True
    assert (await world.whole("二")).status == 200
    cookies = [call.headers["Cookie"].partition(";")[0] for call in world.site.calls_of("refresh")]
    assert cookies == [f"Oasis-Token={pair}" for pair in world.site.accounts["ann"].pairs[:2]]


async def test_the_account_moves_to_another_device(world: World) -> None:
    world.site.account("ann")
    account = world.site.accounts["ann"]
    old = account.device
    world.site.moves = True
    assert (await world.whole("一")).status == 200
    await world.deleted()
    assert account.device != old
    assert [call.headers["Cookie"] for call in world.site.calls] == [
        f"Oasis-Token={account.pairs[0]}; Oasis-Webid={old}",
        *[f"Oasis-Token={account.pairs[1]}; Oasis-Webid={account.device}"] * 3,
    ]


async def test_a_moved_account_outlives_a_restart(tmp_path: Path) -> None:
    site = SimulatedStep()
    site.retire_old = site.moves = True
    for _ in range(3):
        async with World.start(site, STEP_DIALECT="stepfun", STATE_FILE=str(tmp_path / "state")) as world:
            assert (await world.whole("一")).status == 200
            await world.deleted()
    sent = [call.headers["Cookie"].partition(";")[0] for call in site.calls_of("refresh")]
    assert sent == [f"Oasis-Token={pair}" for pair in site.accounts["ann"].pairs[:3]]


async def test_refusals(world: World) -> None:
    world.site.script("create_session", Reply({"code": "permission_denied", "message": "need sign in"}, 403))
    assert (await world.whole("hi")).code == "account_barred"
    told = await world.whole("hi", "bob", conversation_id="s154303117894709999")
    assert (told.status, told.code) == (404, "conversation_not_found")
    world.site.script("chat_stream", Frames(failure("invalid_argument", "prompt exceed max len 9")))
    assert (await world.whole("hi", "bob")).status == 400


async def test_check(world: World) -> None:
    body = {"token": world.site.account("ann")}
    async with world.house.post("/token/check", body, None) as response:
        assert await response.json() == {"live": True}
    world.site.expire("ann")
    async with world.house.post("/token/check", body, None) as response:
        assert await response.json() == {"live": False}
