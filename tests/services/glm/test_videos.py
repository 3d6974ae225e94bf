import asyncio
from typing import Any

import pytest

from services.glm.images import Pictures
from services.glm.videos import _to_its_end, check, job
from shared.deltas import Failed, Finish, Image, Text, Unknown
from shared.errors import AccountBusy, ContentBlocked
from shared.openai.errors import BadRequest
from shared.openai.requests import VideoRequest
from shared.terms import Conversation

PLAIN = {"emotional_atmosphere": "", "mirror_mode": "", "video_style": ""}


@pytest.mark.parametrize(
    ("request_", "source", "wanted"),
    [
        (
            VideoRequest("一只猫"),
            None,
            {"conversation_id": "", "prompt": "一只猫", "advanced_parameter_extra": PLAIN},
        ),
        (
            VideoRequest("一只猫", conversation=Conversation("66a537ec0603e53bccb8900a")),
            "66a537ec0603e53bccb8900c",
            {
                "conversation_id": "66a537ec0603e53bccb8900a",
                "prompt": "一只猫",
                "source_list": ["66a537ec0603e53bccb8900c"],
                "advanced_parameter_extra": PLAIN,
            },
        ),
        (
            VideoRequest("", extra={"video_style": "油画", "emotional_atmosphere": "生动活泼", "mirror_mode": "水平"}),
            None,
            {
                "conversation_id": "",
                "prompt": "",
                "advanced_parameter_extra": {
                    "emotional_atmosphere": "生动活泼",
                    "mirror_mode": "水平",
                    "video_style": "油画",
                },
            },
        ),
    ],
)
def test_job(request_: VideoRequest, source: str | None, wanted: dict[str, Any]) -> None:
    body = job(request_, source)
    assert body == wanted
    assert list(body) == list(wanted)
    assert list(body["advanced_parameter_extra"]) == list(PLAIN)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"video_style": "", "mirror_mode": None, "audio_id": ""},
        {"video_style": "电影感", "audio_id": "sound-7"},
        {"audio_id": "sound-7-more"},
        {"else": 7},
    ],
)
def test_options_that_are_taken(extra: dict[str, Any]) -> None:
    check(VideoRequest("", extra=extra))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"video_style": "水彩"}, "`video_style` must be one of 卡通3D/黑白老照片/油画/电影感."),
        ({"video_style": ["油画"]}, "`video_style` must"),
        ({"emotional_atmosphere": "x"}, "`emotional_atmosphere` must be one of 温馨和谐/生动活泼/紧张刺激/凄凉寂寞."),
        ({"mirror_mode": 7}, "`mirror_mode` must be one of 水平/垂直/推近/拉远."),
        ({"audio_id": "sound"}, "`audio_id` must"),
        ({"audio_id": "-7"}, "`audio_id` must"),
        ({"audio_id": 7}, "`audio_id` must"),
    ],
)
def test_options_that_are_refused(extra: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check(VideoRequest("", extra=extra))
    assert words in caught.value.message


def test_pictures_are_collected_in_order_each_once() -> None:
    pictures = Pictures(unknown=print)
    pictures.feed(
        [Text("看 ![a](https://s/1.png)![b](https://"), Text("s/2.png) (http://s/3.png)"), Image("https://s/4.png")]
    )
    pictures.feed([Image("https://s/1.png"), Text("(https://s/5.png (no"), Text("(https://s/6.png)"), Finish()])
    assert pictures.urls() == [f"http{'' if n == 3 else 's'}://s/{n}.png" for n in (1, 2, 3, 4, 6)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("![a](https://s/a(1).png)", ["https://s/a(1).png"]),
        ("(https://s/(a)(b).png)(https://s/c.png)", ["https://s/(a)(b).png", "https://s/c.png"]),
        ("(https://s/a(1.png)", []),
        ("((https://s/a.png))", ["https://s/a.png"]),
        ("(https://s/" + "a(" * 50_000, []),
    ],
)
def test_links(text: str, wanted: list[str]) -> None:
    pictures = Pictures(unknown=print)
    pictures.feed([Text(text)])
    assert pictures.urls() == wanted


def test_what_is_unknown_is_told() -> None:
    told: list[str] = []
    Pictures(unknown=told.append).feed([Unknown("hologram"), Image("https://s/1.png"), Unknown("other")])
    assert told == ["hologram", "other"]


@pytest.mark.parametrize(
    ("last", "wanted"), [(Finish("content_filter"), ContentBlocked), (Failed(AccountBusy()), AccountBusy)]
)
def test_a_drawing_that_is_refused(last: Finish | Failed, wanted: type[Exception]) -> None:
    with pytest.raises(wanted):
        Pictures(unknown=print).feed([Image("https://s/1.png"), last])


async def test_what_creates_something_runs_to_its_end() -> None:
    go, made = asyncio.Event(), asyncio.Event()

    async def create() -> None:
        await go.wait()
        made.set()

    caller = asyncio.create_task(_to_its_end(create()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert made.is_set()
