"""What a client reads of answers that are more than text, in the style of the house and the same in both modes."""

from typing import Any

import pytest

from tests.services.glm.frames import item, part
from tests.services.glm.world import AGENT, World
from tests.simulators.chatglm import Filter, Frames
from tests.simulators.chatglm_scenes import FILTER_NOTICE, SOURCES

WEATHER, BEIJING = SOURCES
LIST = (
    "\n\n搜索结果来自：\n1. 中央气象台 - http://www.nmc.cn/\n"
    "2. Weather Beijing - https://www.weather.com.cn/weather/101010100.shtml"
)
PICTURE = "https://sfile.chatglm.cn/testpath/5e56234b-34ae-593c-ba4e-3f7ba77b5768_0.png"


def frames(*parts: Any, end: Any = ()) -> Frames:
    """One frame for each part, then the end sign with the parts `end`."""
    return Frames(*({"parts": [one]} for one in parts), {"parts": list(end), "status": "finish"})


def texts(name: str, *versions: str) -> list[Any]:
    """A text as it grows, sent again at its end."""
    growing = [part(name, item("text", version, "init")) for version in versions]
    return [*growing, part(name, item("text", versions[-1], "finish"), status="finish")]


def searched() -> list[Any]:
    call = item("tool_calls", {"tool_calls": {"name": "simple_browser", "arguments": "..."}}, "init")
    quote = item("quote_result", {}, "init")
    return [
        part("1", call),
        part("1", call, status="finish"),
        part("2", item("browser_result", {"content": "2 results"}), status="finish"),
        part("3", quote),
        part("3", quote, status="finish", meta={"metadata_list": list(SOURCES)}),
    ]


def cited(content: str, *spans: tuple[dict[str, str], str | None]) -> list[dict[str, Any]]:
    """The annotations of sources, each with the mark by which it is first cited; at the text's end without one."""
    found = []
    for source, mark in spans:
        start = content.index(mark) if mark else len(content)
        where = {"start_index": start, "end_index": start + len(mark or "")}
        found.append(
            {"type": "url_citation", "url_citation": {**where, "title": source["title"], "url": source["url"]}}
        )
    return found


async def test_code_and_its_output(world: World) -> None:
    code = [part("2", item("code", text, "init")) for text in ("import math", "import math\nprint(math.pi)")]
    output = part("3", item("execution_output", "\n3.141592653589793", "finish"), status="finish")
    scene = frames(
        *texts("1", "我来计算。"),
        *code,
        part("2", item("code", "import math\nprint(math.pi)", "finish"), status="finish"),
        output,
        output,
        *texts("4", "结果", "结果是 π≈3.14"),
    )
    world.site.script("stream", scene, scene)
    told = await world.both("算")
    assert told.pieces == [
        "我来计算。",
        *("\n", "```python\nimport math", "\nprint(math.pi)", "\n```\n", "\n3.141592653589793\n"),
        *("结果", "是 π≈3.14"),
    ]


async def test_web_search(world: World) -> None:
    scene = frames(
        *searched(), *texts("4", "今天", "今天北京晴【1†来", "今天北京晴【1†来源】，25℃【2†source】。【9†来源】")
    )
    world.site.script("stream", scene, scene)
    told = await world.both("北京天气")
    answer = "今天北京晴[1](http://www.nmc.cn/)，25℃[2](https://www.weather.com.cn/weather/101010100.shtml)。"
    assert told.content == answer + LIST
    assert told.annotations == cited(
        answer,
        (WEATHER, "[1](http://www.nmc.cn/)"),
        (BEIJING, "[2](https://www.weather.com.cn/weather/101010100.shtml)"),
    )
    assert told.pieces[:2] == ["今天", "北京晴"]


async def test_hidden_references() -> None:
    async with World.start(REFERENCES="hidden") as world:
        told = await world.both("北京天气")
        assert "今天北京晴，25℃。" in told.content
        assert "【" not in told.content
        assert "搜索结果来自" not in told.content
        assert [note["url_citation"]["url"] for note in told.annotations] == [WEATHER["url"], BEIJING["url"]]


async def test_sources_without_marks_and_marks_of_the_newer_pages(world: World) -> None:
    found = [
        {"match_key": "turn0search1", "title": "中央气象台", "url": "http://www.nmc.cn/"},
        {"match_key": "turn0search2", "title": "Weather Beijing", "url": BEIJING["url"]},
    ]
    result = item("tool_result", {"meta_data": {"tool_result_extra": {"search_results": found}}}, "finish")
    text = texts("2", "晴【turn0se", "晴【turn0search1】【turn0search7】好")
    scene = frames(part("1", result, status="finish"), *text)
    world.site.script("stream", scene, scene)
    told = await world.both("天气")
    answer = "晴[1](http://www.nmc.cn/)好"
    assert told.content == answer + LIST
    assert told.annotations == cited(told.content, (WEATHER, "[1](http://www.nmc.cn/)"), (BEIJING, None))


async def test_a_drawn_picture(world: World) -> None:
    scene = frames(
        *texts("1", "好的，我来画。"),
        part("2", item("tool_calls", {"tool_calls": {"name": "cogview"}}), status="finish"),
        part("3", item("image", [""], "init")),
        part("3", item("image", [PICTURE], "finish"), status="finish"),
        part("3", item("image", [PICTURE], "finish"), status="finish"),
        *texts("4", "这是", "这是一只可爱的猫。"),
    )
    world.site.script("stream", scene, scene)
    told = await world.both("画一只猫")
    assert told.content == f"好的，我来画。\n![图像]({PICTURE})\n\n这是一只可爱的猫。"


@pytest.mark.parametrize("status", [None, "init"])
async def test_thinking(world: World, status: str | None) -> None:
    versions = ("用户", "用户在问 1+1", "用户在问 1+1，答案是 2")
    think = [part("1", item("think", text, status), status=None) for text in versions]
    last = [part("1", item("think", versions[-1], status and "finish"), status="finish")] if status else []
    answer = [
        part("2", item("text", text, status), status=None) for text in ("等于", "等于 2，", "等于 2，因为皮亚诺公理。")
    ]
    scene = frames(*think, *last, *answer)
    world.site.script("stream", scene, scene)
    told = await world.both("1+1", model="glm-4-zero")
    assert (told.reasoning, told.content) == ("用户在问 1+1，答案是 2", "等于 2，因为皮亚诺公理。")


@pytest.mark.parametrize("model", ["glm-4-zero", "glm-4-think", "glm-4-deepresearch", AGENT])
@pytest.mark.parametrize("thinking", ["reasoning", "inline", "hidden"])
async def test_thinking_is_shown_as_set_whatever_the_model(thinking: str, model: str) -> None:
    async with World.start(THINKING=thinking) as world:
        scene = frames(part("1", item("think", "嗯"), status="finish"), *texts("2", "二"))
        world.site.script("stream", scene, scene)
        told = await world.both("1+1", model=model)
        wanted = {"reasoning": ("嗯", "二"), "inline": ("", "<think>\n嗯</think>\n\n二"), "hidden": ("", "二")}
        assert (told.reasoning, told.content) == wanted[thinking]


async def test_silent_leaves_out_thinking_and_sources(world: World) -> None:
    told = await world.both("北京天气", model="glm-4-think-silent")
    assert (told.reasoning, told.annotations) == ("", [])
    assert "搜索结果来自" not in told.content
    assert "今天北京晴" in told.content
    assert "![图像](" in (await world.both("画一只猫", model="glm-4-zero-silent")).content


async def test_deep_research_thinks_and_searches(world: World) -> None:
    told = await world.both("北京天气", model="glm-4-deepresearch")
    assert told.reasoning == "用户在问「北京天气」，我先想一想。"
    assert told.content.startswith("关于「北京天气」：今天北京晴[1](http://www.nmc.cn/)，25℃[2](https://")
    assert told.content.endswith(LIST)


BEFORE = frames(*texts("1", "你", "你好")).frames[:2]


@pytest.mark.parametrize(
    ("scene", "content"),
    [
        (Filter(after=2), None),
        (Frames(*BEFORE, {"status": "intervene", "last_error": {"intervene_text": "不行"}}), "你好\n\n不行"),
        (Frames(*BEFORE, {"status": "finish", "last_error": {"intervene_text": "不行"}}), "你好\n\n不行"),
        (Frames(*BEFORE, {"status": "intervene", "last_error": {}}), "你好"),
        (Frames(*BEFORE, {"status": "intervene"}), "你好"),
        (
            Frames({"parts": [part("1", item("text", "你"))], "status": "intervene", "last_error": {}}),
            "你",
        ),
        (Filter(), "\n\n" + FILTER_NOTICE),
    ],
)
async def test_the_filter_with_words(world: World, scene: Any, content: str | None) -> None:
    world.site.script("stream", scene, scene)
    told = await world.both("hi")
    assert told.finish == "content_filter"
    assert told.content == content if content is not None else told.content.endswith("\n\n" + FILTER_NOTICE)


@pytest.mark.parametrize(
    "scene",
    [
        Filter(notice=""),
        Frames({"status": "intervene"}),
        Frames({"parts": [part("1", item("text", ""))]}, {"status": "intervene", "last_error": {"intervene_text": ""}}),
    ],
)
async def test_the_filter_without_words_is_a_refusal(world: World, scene: Any) -> None:
    world.site.script("stream", scene, scene)
    told = await world.both("hi")
    assert (told.status, told.error["code"]) == (400, "content_filter")
    assert world.site.outcomes("stream") == {"ok": 2}


LOST = frames(*texts("1", "一", "一二")[:2], end=[part("1", item("text", "一二三"), status="finish")])
GROWN = {
    "in the finish frame": (LOST, "一二三"),
    "only there": (frames(end=[part("1", item("text", "一二三"), status="finish")]), "一二三"),
    "all parts so far": (
        Frames(
            {"parts": [part("1", item("text", "一"))]},
            {"parts": [part("1", item("text", "一二"), status="finish")]},
            {"parts": [part("1", item("text", "一二"), status="finish"), part("2", item("text", "三"))]},
            {"parts": [part("1", item("text", "一二"), status="finish"), part("2", item("text", "三四"))]},
            {"status": "finish"},
        ),
        "一二\n三四",
    ),
    "the newer frames": (
        Frames(
            {"status": "init", "parts": []},
            {"status": "processing", "parts": [], "tool_calls": []},
            {"status": "processing", "parts": [part("1", item("text", "一"))], "tool_calls": [], "last_error": None},
            {"status": "processing", "parts": [part("2", item("hologram", {}))]},
            {"status": "processing", "parts": [part("3", "nothing")]},
            b': comment\r\nid: 7\r\nretry: 9\r\ndata: {"parts":[],\r\ndata: "status":"init"}\r\n\r\n',
            {"status": "finish", "parts": None},
        ),
        "一",
    ),
}


@pytest.mark.parametrize(("scene", "content"), GROWN.values(), ids=GROWN)
async def test_every_character_once(world: World, scene: Frames, content: str) -> None:
    world.site.script("stream", scene, scene)
    told = await world.both("hi")
    assert (told.content, told.finish) == (content, "stop")


async def test_what_is_not_known_is_counted(world: World) -> None:
    world.site.script("stream", GROWN["the newer frames"][0])
    await world.chat("hi")
    counted = await world.metrics()
    assert counted['chat_service_unknown_total{kind="hologram"}'] == 1
    assert counted['chat_service_unknown_total{kind="malformed_item"}'] == 1


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ({"message": "当前还有其他请求正在进行", "code": 10006}, 429, "rate_limit_exceeded"),
        ({"message": "内容违规"}, 400, "content_filter"),
        ({"message": "对话不存在"}, 404, "conversation_not_found"),
        ({"message": "今日额度已用完"}, 429, "rate_limit_exceeded"),
        ({"message": "账号已被封禁"}, 403, "account_barred"),
        ("something", 400, "request_refused"),
    ],
)
async def test_an_error_inside_the_stream(error: Any, status: int, code: str) -> None:
    async with World.start(ACCOUNT_WAIT="0") as world:
        frame = {"parts": [], "status": "finish", "last_error": error}
        world.site.script("stream", Frames(frame), Frames(*BEFORE, frame))
        told = await world.chat("hi")
        assert (told.status, told.error["code"]) == (status, code)
        told = await world.chat("hi", "bob")
        assert (told.status, told.content, told.error["code"]) == (200, "你好", code)
