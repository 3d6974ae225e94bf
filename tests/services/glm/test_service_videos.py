"""`POST /v1/videos/generations`."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image

from services.glm import videos
from services.glm.site import GlmSite as Constants
from shared import cleanup
from tests.answers import data_url
from tests.services.glm.frames import item, part
from tests.services.glm.world import DRAWING, World, headers_of, png
from tests.shared.origins import serve_origin
from tests.simulators import Cut, Fault, Reply, SlowHead, html, server_error
from tests.simulators.chatglm import Filter, Frames, access_refused, busy
from tests.simulators.chatglm_checks import CONSTANT_HEADERS

PATH = "/v1/videos/generations"
CAT = {"model": "cogvideox", "prompt": "一只可爱的猫走在花丛中"}
OPTIONS = {"video_style": "油画", "emotional_atmosphere": "生动活泼", "mirror_mode": "水平"}
PLAIN = {"emotional_atmosphere": "", "mirror_mode": "", "video_style": ""}
HOLOGRAM = {"parts": [part("1", item("hologram", {}))]}


def drawn(url: str) -> dict[str, Any]:
    return {"parts": [part("3", item("image", [url]), status="finish")]}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World.start(GLM_VIDEO_PAUSE="0") as started:
        yield started
        await records_deleted(started)


async def records_deleted(world: World) -> None:
    """Wait until the site keeps no record of a video."""
    await world.site.wait_for(lambda: all(job.deleted for job in world.site.video_jobs.values()))


async def test_the_transcript_of_a_video(world: World) -> None:
    told = await world.request(PATH, {**CAT, **OPTIONS})
    await records_deleted(world)
    (job,) = world.site.video_jobs.values()
    base = "https://sfile.chatglm.cn/testpath/video"
    assert isinstance(told.value.pop("created"), int)
    assert told.value == {
        "data": [
            {
                "url": f"{base}/{job.id}_0.mp4",
                "conversation_id": job.conversation_id,
                "cover_url": f"{base}_cover/{job.id}_cover_0.png",
                "video_url": f"{base}/{job.id}_0.mp4",
                "video_duration": "6s",
                "resolution": "1440 × 960",
            }
        ]
    }
    refresh, order, *looks, delete = world.site.calls
    assert (refresh.kind, order.method, order.path) == ("refresh", "POST", "/chatglm/video-api/v1/chat")
    assert (
        order.body
        == (
            '{"conversation_id":"","prompt":"一只可爱的猫走在花丛中","advanced_parameter_extra":'
            '{"emotional_atmosphere":"生动活泼","mirror_mode":"水平","video_style":"油画"}}'
        ).encode()
    )
    (access,) = world.site.access_tokens
    common = {name.lower(): value for name, value in CONSTANT_HEADERS.items()} | {
        "accept-encoding": "gzip, deflate, br",
        "authorization": f"Bearer {access}",
        "referer": "https://chatglm.cn/video",
    }
    assert headers_of(order) == common | {"content-type": "application/json"}
    assert [(look.method, look.path, look.body) for look in looks] == [
        ("GET", f"/chatglm/video-api/v1/chat/status/{job.id}", b"")
    ] * 3
    assert headers_of(looks[0]) == headers_of(delete) == common
    assert (delete.method, delete.path, delete.body) == ("DELETE", f"/chatglm/video-api/v1/chat/{job.id}", b"")
    assert "X-Device-Id" in delete.headers
    assert "X-Sign" not in delete.headers


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1920, 1080), (1440, 810)),
        ((1024, 1024), (1440, 960)),
        ((800, 1281), (1440, 960)),
        ((720, 540), (1440, 960)),
        ((1500, 1001), (1440, 960)),
    ],
)
async def test_the_first_frame_is_cut_as_the_site_wants_it(
    world: World, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    told = await world.request(PATH, {**CAT, "image_url": data_url(png(*size))})
    assert told.status == 200
    ((source, upload),) = world.site.uploads.items()
    with Image.open(BytesIO(upload.data)) as picture:
        assert (picture.format, picture.size) == ("PNG", wanted)
    (call,) = world.site.calls_of("video_upload")
    assert call.headers["Referer"] == "https://chatglm.cn/video"
    assert not {"X-Device-Id", "X-Sign"} & set(call.headers)
    (order,) = world.asked("video_chat")
    assert list(order) == ["conversation_id", "prompt", "source_list", "advanced_parameter_extra"]
    assert (order["source_list"], order["advanced_parameter_extra"]) == ([source], PLAIN)


async def test_the_first_frame_by_its_address(world: World) -> None:
    async with serve_origin() as origin:
        origin.gives("/a.png", png(30, 30), "image/png")
        for image in (origin.url("/a.png"), {"url": origin.url("/a.png")}):
            assert (await world.request(PATH, {**CAT, "image_url": image})).status == 200
        told = await world.request(PATH, {**CAT, "image_url": origin.url("/gone.png")})
        assert (told.status, told.error["code"]) == (400, "invalid_attachment")


@pytest.mark.parametrize("data", [b"%PDF-1.4", b"", b"GIF89a"])
async def test_a_first_frame_that_is_no_picture(world: World, data: bytes) -> None:
    told = await world.request(PATH, {**CAT, "image_url": data_url(data)})
    assert (told.status, told.error["code"]) == (400, "invalid_attachment")
    assert world.site.calls_of("video_chat") == []


async def test_pro_draws_its_first_frame(world: World) -> None:
    told = await world.request(PATH, {**CAT, "model": "cogvideox-pro", "image_url": data_url(png(30, 30))})
    assert told.status == 200
    (question,) = world.asked()
    assert question["assistant_id"] == DRAWING
    assert world.prompts() == ["请画：一只可爱的猫走在花丛中\n"]
    ((source, upload),) = world.site.uploads.items()
    with Image.open(BytesIO(upload.data)) as picture:
        assert picture.size == (1440, 960)
    assert world.asked("video_chat")[0]["source_list"] == [source]
    await world.deleted()


async def test_the_first_frame_of_pro_is_uploaded_as_what_it_is(world: World) -> None:
    target = BytesIO()
    Image.new("RGB", (30, 30)).save(target, "JPEG")
    world.site.script("stream", Frames(drawn("https://sfile.chatglm.cn/a/%E7%8C%AB.png?x=1"), {"status": "finish"}))
    world.site.script("file", Reply(target.getvalue(), content_type="image/png"))
    assert (await world.request(PATH, {**CAT, "model": "cogvideox-pro"})).status == 200
    (upload,) = world.site.uploads.values()
    assert upload.content_type == "image/jpeg"
    (call,) = world.site.calls_of("video_upload")
    assert 'filename="猫.png"'.encode() in call.body


async def test_the_conversation_of_pro_belongs_to_its_account(world: World) -> None:
    told = await world.request(PATH, {**CAT, "model": "cogvideox-pro"})
    again = {**CAT, "conversation_id": told.value["data"][0]["conversation_id"]}
    told = await world.request(PATH, again, "bob")
    assert (told.status, told.error["code"]) == (404, "conversation_not_found")
    assert (await world.request(PATH, again)).status == 200


@pytest.mark.parametrize("failure", [None, "生成失败"])
async def test_what_pro_drew_is_kept_like_all_that_is_drawn(failure: str | None) -> None:
    async with World.start(GLM_VIDEO_PAUSE="0", KEEP_CONVERSATIONS="1") as world:
        world.site.video_failure = failure
        told = await world.request(PATH, {**CAT, "model": "cogvideox-pro"})
        assert told.status == (502 if failure else 200)
        await records_deleted(world)
        world.kept = 1


async def test_what_pro_drew_is_deleted_when_the_video_cannot_be_ordered(world: World) -> None:
    first = (await world.request(PATH, CAT)).value["data"][0]["conversation_id"]
    world.site.script("video_chat", Reply({"message": "参数错误", "status": 7}))
    told = await world.request(PATH, {**CAT, "model": "cogvideox-pro", "conversation_id": first})
    assert (told.status, told.error["code"]) == (400, "request_refused")
    assert len(world.site.conversations) == 1
    await world.deleted()


async def test_what_is_unknown_in_a_drawing_of_pro_is_counted(world: World) -> None:
    world.site.script("stream", Frames(HOLOGRAM, drawn("https://sfile.chatglm.cn/1.png"), {"status": "finish"}))
    assert (await world.request(PATH, {**CAT, "model": "cogvideox-pro"})).status == 200
    assert (await world.metrics())['chat_service_unknown_total{kind="hologram"}'] == 1


async def test_with_a_sound(world: World) -> None:
    told = await world.request(PATH, {**CAT, "audio_id": "group-7-more"})
    (job,) = world.site.video_jobs.values()
    (call,) = world.site.calls_of("video_compose")
    assert orjson.loads(call.body) == {"chat_id": job.id, "key": "group", "audio_id": "7"}
    url = f"https://sfile.chatglm.cn/testpath/video/{job.id}_7.mp4"
    assert (told.value["data"][0]["url"], told.value["data"][0]["video_url"]) == (url, url)


async def test_in_a_conversation(world: World) -> None:
    first = (await world.request(PATH, CAT)).value["data"][0]["conversation_id"]
    again = (await world.request(PATH, {**CAT, "conversation_id": first})).value["data"][0]["conversation_id"]
    assert again == first
    assert [order["conversation_id"] for order in world.asked("video_chat")] == ["", first]
    told = await world.request(PATH, {**CAT, "conversation_id": first}, "bob")
    assert (told.status, told.error["code"]) == (404, "conversation_not_found")


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("video_style", "卡通3D/黑白老照片/油画/电影感"),
        ("emotional_atmosphere", "温馨和谐/生动活泼/紧张刺激/凄凉寂寞"),
        ("mirror_mode", "水平/垂直/推近/拉远"),
    ],
)
async def test_options(world: World, option: str, values: str) -> None:
    for value in [*values.split("/"), "", None]:
        assert (await world.request(PATH, {**CAT, option: value})).status == 200
    asked = [order["advanced_parameter_extra"] for order in world.asked("video_chat")]
    assert asked == [PLAIN | {option: value} for value in [*values.split("/"), "", ""]]
    told = await world.request(PATH, {**CAT, option: "其他"})
    assert (told.status, told.error["type"]) == (400, "invalid_request_error")
    assert (told.error["message"], told.error["param"]) == (f"`{option}` must be one of {values}.", option)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": 7},
        {**CAT, "image_url": "nowhere"},
        {**CAT, "image_url": 7},
        {**CAT, "audio_id": "x"},
        {**CAT, "mirror_mode": 7},
    ],
)
async def test_a_wrong_request_never_reaches_the_site(world: World, body: Any) -> None:
    told = await world.request(PATH, body)
    assert told.status == 400
    assert world.site.calls == []


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [("生成失败，请重试", 502, "upstream_error"), ("内容不合规", 400, "content_filter"), ("", 502, "upstream_error")],
)
async def test_a_video_that_fails(world: World, words: str, status: int, code: str) -> None:
    world.site.video_failure = words
    told = await world.request(PATH, CAT)
    assert (told.status, told.error["code"]) == (status, code)
    assert words in told.error["message"]
    assert len(world.site.calls_of("video_chat")) == 1
    await records_deleted(world)


@pytest.mark.parametrize("model", ["cogvideox", "cogvideox-pro"])
async def test_a_video_of_a_conversation_that_fails(world: World, model: str) -> None:
    first = (await world.request(PATH, CAT)).value["data"][0]["conversation_id"]
    world.site.video_failure = "生成失败"
    told = await world.request(PATH, {**CAT, "model": model, "conversation_id": first})
    assert (told.status, told.error["code"]) == (502, "upstream_error")
    await records_deleted(world)
    await world.deleted()


async def test_a_video_that_is_refused_late_is_not_ordered_again(world: World) -> None:
    world.site.video_failure = "今日次数已用完"
    told = await world.request(PATH, CAT, "ann", "bob")
    assert (told.status, told.error["code"]) == (429, "rate_limit_exceeded")
    assert len(world.site.calls_of("video_chat")) == 1


async def test_a_video_that_is_never_done() -> None:
    async with World.start(GLM_VIDEO_PAUSE="0.01", GLM_VIDEO_LIMIT="0.1") as world:
        world.site.video_statuses = ("processing",)
        told = await world.request(PATH, CAT)
        assert (told.status, told.error["code"]) == (502, "upstream_error")
        await records_deleted(world)


BUSY = Reply({"message": "too many requests"}, 429)
PASSING = [
    server_error(),
    html(),
    Cut(None),
    access_refused(),
    busy(),
    BUSY,
    Reply({"message": "今日次数已用完", "status": 1}),
]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("place", ["video_status", "video_compose"])
async def test_a_call_that_fails_does_not_order_the_video_again(world: World, place: str, fault: Fault) -> None:
    world.site.script(place, fault)
    told = await world.request(PATH, {**CAT, "audio_id": "group-7"}, "ann", "bob")
    assert told.status == 200
    assert len(world.site.calls_of("video_chat")) == 1


LASTING = [
    # the fault, looks until it is final, what the client hears
    (server_error(), videos.MISSED_CALLS, 502, "upstream_unavailable"),
    (busy(), videos.MISSED_CALLS, 429, "rate_limit_exceeded"),
    (access_refused(), 2, 401, "invalid_api_key"),
    (Reply({"message": "账号已被封禁", "status": 20}), 1, 403, "account_barred"),
    (Reply({"message": "code: 40102", "status": 401}, 401), 1, 401, "invalid_api_key"),
    (Reply({"message": "no", "status": 20}), 1, 400, "request_refused"),
    (Reply({"message": "违规", "status": 20}), 1, 400, "content_filter"),
]


@pytest.mark.parametrize(("fault", "looks", "status", "code"), LASTING)
async def test_a_site_that_can_no_longer_be_asked(
    world: World, fault: Fault, looks: int, status: int, code: str
) -> None:
    world.site.script("video_status", *[fault] * looks)
    told = await world.request(PATH, CAT, "ann", "bob")
    assert (told.status, told.error["code"]) == (status, code)
    assert len(world.site.calls_of("video_status")) == looks
    assert len(world.site.calls_of("video_chat")) == 1


async def test_a_session_that_cannot_be_renewed_orders_nothing_again() -> None:
    async with World.start(GLM_VIDEO_PAUSE="0.1", GLM_SESSION_LIFETIME="0.05") as world:
        world.site.video_statuses = ("processing",)
        asking = asyncio.create_task(world.request(PATH, CAT, "ann", "bob"))
        await world.site.wait_for(lambda: world.site.calls_of("video_status"))
        world.site.expire_refresh("ann")
        told = await asking
        assert (told.status, told.error["code"]) == (401, "invalid_api_key")
        assert len(world.site.calls_of("video_chat")) == 1


async def test_there_is_no_pause_after_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "MISSED_CALLS", 1)
    async with World.start(GLM_VIDEO_PAUSE="3600") as world:
        world.site.script("video_status", server_error())
        assert (await world.request(PATH, CAT)).status == 502
        await records_deleted(world)


@pytest.mark.parametrize(
    ("seconds", "status", "code"), [("50", 502, "upstream_error"), ("3600", 429, "rate_limit_exceeded")]
)
async def test_a_limit_that_says_how_long_is_waited_for_unless_it_is_too_long(
    seconds: str, status: int, code: str
) -> None:
    async with World.start(GLM_VIDEO_PAUSE="0", GLM_VIDEO_LIMIT="0.3") as world:
        world.site.script("video_status", Reply({"message": "no"}, 429, headers=(("Retry-After", seconds),)))
        told = await world.request(PATH, CAT)
        assert (told.status, told.error["code"]) == (status, code)
        assert len(world.site.calls_of("video_status")) == 1
        await records_deleted(world)


@pytest.mark.parametrize("fault", [server_error(), html()])
async def test_a_record_that_cannot_be_deleted_is_no_failure(
    world: World, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "FORGET_PAUSES", (0.0,))
    world.site.script("video_delete", fault)
    assert (await world.request(PATH, CAT)).status == 200


async def test_nobody_waits_for_a_record_to_be_deleted(world: World) -> None:
    world.site.script("video_delete", slow := SlowHead(until=asyncio.Event()))
    assert (await world.request(PATH, CAT)).status == 200
    await slow.reached.wait()
    # The account is free.
    assert (await world.chat("hi")).finish == "stop"
    assert slow.until is not None
    slow.until.set()


@pytest.mark.parametrize(("said", "wanted"), [(6, "6"), (6.5, "6.5"), ("6s", "6s"), (None, ""), (True, ""), ([], "")])
async def test_a_duration_in_numbers(world: World, said: Any, wanted: str) -> None:
    done = {"status": "finished", "video_url": "https://sfile.chatglm.cn/v.mp4", "video_duration": said}
    world.site.script("video_status", Reply({"message": "success", "result": done, "status": 0}))
    assert (await world.request(PATH, CAT)).value["data"][0]["video_duration"] == wanted


@pytest.mark.parametrize("place", ["video_upload", "video_chat"])
@pytest.mark.parametrize("fault", [server_error(), html(), access_refused()])
async def test_an_order_that_fails_is_given_again(world: World, place: str, fault: Fault) -> None:
    world.site.script(place, fault)
    assert (await world.request(PATH, {**CAT, "image_url": data_url(png(30, 30))})).status == 200
    assert len(world.site.video_jobs) == 1


@pytest.mark.parametrize("result", [{}, {"chat_id": True}, [], None])
async def test_an_order_with_an_unknown_answer(world: World, result: Any) -> None:
    world.site.script("video_chat", Reply({"message": "success", "result": result, "status": 0}))
    told = await world.request(PATH, CAT)
    assert (told.status, told.error["code"]) == (502, "upstream_changed")
    world.errors.append("upstream_changed")


async def test_a_first_frame_that_is_drawn_anyway_is_not_fetched(world: World) -> None:
    told = await world.request(PATH, {**CAT, "model": videos.PRO, "image_url": "http://127.0.0.1:1/nowhere.png"})
    assert told.status == 200


@pytest.mark.parametrize("place", ["upload", "video_upload"])
async def test_a_file_too_large_for_the_site_is_sent_once(world: World, place: str) -> None:
    picture = data_url(png(30, 30))
    world.site.script(place, html(413))
    if place == "upload":
        told = await world.whole([{"type": "image_url", "image_url": {"url": picture}}])
    else:
        told = await world.request(PATH, {**CAT, "image_url": picture})
    assert (told.status, told.error["code"]) == (413, "attachment_too_large")
    assert len(world.site.calls_of(place)) == 1


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(Filter(), 400, "content_filter"), (Frames({"parts": [], "status": "finish"}), 502, "upstream_unavailable")],
)
async def test_pro_without_a_picture(world: World, fault: Fault, status: int, code: str) -> None:
    world.site.script("stream", fault, fault, fault)
    told = await world.request(PATH, {**CAT, "model": "cogvideox-pro"})
    assert (told.status, told.error["code"]) == (status, code)
    assert world.site.video_jobs == {}
    await world.deleted()


def test_the_usual_pauses() -> None:
    assert (Constants().video_pause, Constants().video_limit) == (1.0, 600.0)
