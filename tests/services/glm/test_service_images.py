"""`POST /v1/images/generations`."""

import base64
from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image

from services.glm import images
from shared import slots
from tests.services.glm.frames import item, part
from tests.services.glm.world import AGENT, DRAWING, World, headers_of
from tests.simulators import Cut, Fault, Pass, Reply, Split, Stall, Together, html, server_error
from tests.simulators.chatglm import Filter, Frames, access_refused, busy
from tests.simulators.chatglm_checks import CONSTANT_HEADERS

PATH = "/v1/images/generations"
CAT = {"model": "cogview-3", "prompt": "一只可爱的猫"}


def drawn(*urls: str, name: str = "3") -> dict[str, Any]:
    return {"parts": [part(name, item("image", list(urls)), status="finish")]}


def said(text: str) -> dict[str, Any]:
    return {"parts": [part("4", item("text", text), status="finish")]}


END = {"status": "finish"}
AT = "https://sfile.chatglm.cn/testpath/"
EMPTY = Reply(b"", content_type="text/event-stream")
UNENDED = Frames(said("好的"))


async def test_the_transcript_of_a_drawing(world: World) -> None:
    told = await world.request(PATH, CAT)
    await world.deleted()
    refresh, stream, delete = world.site.calls
    (conversation,) = world.site.conversations
    assert list(told.value) == ["created", "data"]
    ((name, url),) = told.value["data"][0].items()
    assert name == "url"
    assert url.startswith("https://sfile.chatglm.cn/testpath/")
    assert refresh.kind == "refresh"
    assert (
        stream.body
        == (
            b'{"assistant_id":"65a232c082ff90a2ad2f15e2","conversation_id":"","messages":[{"role":"user","content":'
            b'[{"type":"text","text":"%b\\n"}]}],"meta_data":{"channel":"","draft_id":"","if_plus_model":true,'
            b'"input_question_type":"xxxx","is_test":false,"platform":"pc","quote_log_id":""}}'
        )
        % "请画：一只可爱的猫".encode()
    )
    (access,) = world.site.access_tokens
    assert headers_of(stream) == {
        **{name.lower(): value for name, value in CONSTANT_HEADERS.items()},
        "accept-encoding": "gzip, deflate, br",
        "authorization": f"Bearer {access}",
        "content-type": "application/json",
        "referer": f"https://chatglm.cn/main/gdetail/{DRAWING}",
    }
    assert orjson.loads(delete.body) == {"assistant_id": DRAWING, "conversation_id": conversation}
    assert delete.headers["Referer"] == "https://chatglm.cn/main/alltoolsdetail"


@pytest.mark.parametrize(
    ("body", "assistant", "prompt"),
    [
        ({"prompt": "猫"}, DRAWING, "请画：猫\n"),
        (
            {"prompt": "画一只猫", "model": "dall-e-3", "size": "1024x1024", "style": "vivid", "quality": "hd"},
            DRAWING,
            "画一只猫\n",
        ),
        ({"prompt": "画猫", "model": AGENT}, AGENT, "画猫\n"),
    ],
)
async def test_what_is_asked(world: World, body: Any, assistant: str, prompt: str) -> None:
    assert (await world.request(PATH, body)).status == 200
    assert world.prompts() == [prompt]
    await world.deleted()
    assert [one["assistant_id"] for one in (*world.asked(), *world.asked("delete"))] == [assistant] * 2


async def test_as_base64(world: World) -> None:
    told = await world.request(PATH, {**CAT, "response_format": "b64_json"})
    ((name, text),) = told.value["data"][0].items()
    assert name == "b64_json"
    with Image.open(BytesIO(base64.b64decode(text, validate=True))) as picture:
        assert (picture.format, picture.size) == ("PNG", (1024, 1024))
    (call,) = world.site.calls_of("file")
    assert not {"Authorization", "Cookie", "X-Sign"} & set(call.headers)


@pytest.mark.parametrize("fault", [server_error(), Cut(None), Cut(100), Reply(b"", content_type="image/png")])
async def test_a_picture_that_cannot_be_fetched(world: World, fault: Fault) -> None:
    world.site.script("file", fault)
    told = await world.request(PATH, {**CAT, "response_format": "b64_json"})
    assert (told.status, told.error["code"]) == (502, "upstream_unavailable")


@pytest.mark.parametrize("wanted", [1, 2, 3])
async def test_as_many_as_asked_for(world: World, wanted: int) -> None:
    told = await world.request(PATH, {**CAT, "n": wanted}, "ann", "bob")
    assert len(told.value["data"]) == wanted
    assert len(world.site.calls_of("stream")) == wanted
    await world.deleted()


@pytest.mark.parametrize("size", [None, 50])
async def test_a_reply_with_several_pictures_counts_as_several(world: World, size: int | None) -> None:
    one, two, three, four = (f"https://sfile.chatglm.cn/testpath/{n}.png" for n in range(4))
    frames = Frames(drawn(one, two, "", "ftp://x/y.png"), said(f"看 ![a]({three})![b]({four}) 和 ({one})"), END)
    world.site.script("stream", Together(frames, Split(size=size)))
    told = await world.request(PATH, {**CAT, "n": 2})
    assert [picture["url"] for picture in told.value["data"]] == [one, two, three, four]
    assert len(world.site.calls_of("stream")) == 1


async def test_links_in_other_things_than_text_are_no_pictures(world: World) -> None:
    link = "(https://example.com/1.png)"
    others = [item("code", link), item("execution_output", link), item("think", link), item("hologram", {})]
    frames = [{"parts": [part(str(at), one, status="finish")]} for at, one in enumerate(others)]
    world.site.script("stream", Frames(*frames, said("看 (https://sfile.chatglm.cn/a(1).png)"), END))
    told = await world.request(PATH, CAT)
    assert told.value["data"] == [{"url": "https://sfile.chatglm.cn/a(1).png"}]
    assert (await world.metrics())['chat_service_unknown_total{kind="hologram"}'] == 1


@pytest.mark.parametrize("size", [None, 50])
async def test_a_picture_may_come_after_a_finish(world: World, size: int | None) -> None:
    picture = "https://sfile.chatglm.cn/testpath/1.png"
    world.site.script("stream", Together(Frames(said("好的，我来画"), END, drawn(picture), END), Split(size=size)))
    told = await world.request(PATH, CAT)
    assert told.value["data"] == [{"url": picture}]
    assert len(world.site.calls_of("stream")) == 1


LATE = [
    (Frames(drawn(f"{AT}1.png"), END, drawn(f"{AT}2.png", name="5")), ["1.png", "2.png"]),
    (Frames(said(f"帮助 ({AT}help)"), END, drawn(f"{AT}1.png")), ["help", "1.png"]),
    (Frames(said(f"({AT}1.png) ({AT}2"), END, said(f"({AT}1.png) ({AT}2.png)")), ["1.png", "2.png"]),
]


@pytest.mark.parametrize("size", [None, 50])
@pytest.mark.parametrize(("frames", "wanted"), LATE)
async def test_all_that_comes_before_the_close_counts(
    world: World, frames: Frames, wanted: list[str], size: int | None
) -> None:
    world.site.script("stream", Together(frames, Split(size=size)))
    told = await world.request(PATH, CAT)
    assert [one["url"].removeprefix(AT) for one in told.value["data"]] == wanted


async def test_the_filter_after_a_picture_and_a_finish(world: World) -> None:
    world.site.script("stream", Together(Frames(drawn(f"{AT}1.png"), END, {"status": "intervene"}), Split(size=50)))
    told = await world.request(PATH, CAT)
    assert (told.status, told.error["code"]) == (400, "content_filter")


@pytest.mark.parametrize(
    "fault",
    [
        Together(Frames(drawn(f"{AT}1.png"), END, {}), Cut(-3)),
        Together(Frames(drawn(f"{AT}1.png"), END, b"data: [DONE]\n\n"), Split(size=50)),
    ],
)
async def test_a_picture_and_a_finish_are_the_answer_whatever_comes_then(world: World, fault: Fault) -> None:
    world.site.script("stream", fault)
    told = await world.request(PATH, CAT)
    assert told.value["data"] == [{"url": f"{AT}1.png"}]


async def test_a_picture_and_a_finish_are_the_answer_although_the_site_does_not_hang_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "CLOSE_TIMEOUT", 0.05)
    picture = "https://sfile.chatglm.cn/testpath/1.png"
    world.site.script("stream", Together(Frames(drawn(picture), END, {}), Stall(-3)))
    told = await world.request(PATH, CAT)
    assert told.value["data"] == [{"url": picture}]
    assert len(world.site.calls_of("stream")) == 1


async def test_a_picture_in_the_frame_of_the_end(world: World) -> None:
    world.site.script("stream", Frames({**drawn("https://sfile.chatglm.cn/testpath/1.png"), "status": "finish"}))
    assert len((await world.request(PATH, CAT)).value["data"]) == 1


@pytest.mark.parametrize("fault", [Filter(), Filter(after=1), Filter(notice="")])
async def test_the_filter(world: World, fault: Fault) -> None:
    world.site.script("stream", fault)
    told = await world.request(PATH, CAT)
    assert (told.status, told.error["code"]) == (400, "content_filter")
    assert len(world.site.calls_of("stream")) == 1
    await world.deleted()


async def test_nothing_drawn(world: World) -> None:
    world.site.script("stream", Frames(said("我不会画这个。"), END))
    told = await world.request(PATH, CAT)
    assert (told.status, told.error["code"]) == (502, "upstream_error")
    await world.deleted()
    assert len(world.site.calls_of("stream")) == 1


@pytest.mark.parametrize(
    "fault", [server_error(), html(), Cut(None), Cut(-10), access_refused(), busy(), EMPTY, UNENDED, Pass()]
)
async def test_tried_again(world: World, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "BUSY_PAUSE", 0.02)
    world.site.script("stream", fault)
    assert len((await world.request(PATH, CAT)).value["data"]) == 1
    await world.deleted()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "猫", "n": 0}, "n"),
        ({"prompt": "猫", "n": 11}, "n"),
        ({"prompt": "猫", "response_format": "gif"}, "response_format"),
    ],
)
async def test_a_wrong_request_never_reaches_the_site(world: World, body: Any, param: str) -> None:
    told = await world.request(PATH, body)
    assert (told.status, told.error["param"]) == (400, param)
    assert world.site.calls == []
