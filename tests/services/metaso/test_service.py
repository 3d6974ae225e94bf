"""The service over the fake site: what is sent, what is read, what is left behind."""

import asyncio
import base64
from typing import Any

import pytest

from services.metaso.prompt import query
from tests.services.metaso.test_prompt import WORKED
from tests.services.metaso.test_reply import LABEL
from tests.services.metaso.world import World
from tests.simulators import ContentType, Cut, Fault, Pass, Reply, SlowHead, Split, Stall, Together, html, server_error
from tests.simulators.metaso import Events, MetasoSite, Says, limited, refused, used_up
from tests.simulators.metaso_scenes import DONE, LATE, WEB, text

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
LIST = "\n\n搜索结果来自：\n" + "\n".join(f"{n}. {s['title']} - {s['link']}" for n, s in enumerate(WEB, 1))
FIRST, SECOND = (f"[{number}]({source['link']})" for number, source in enumerate(WEB, 1))
MAIN = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "zh-CN,zh;q=0.9",
    "Origin": "https://metaso.cn",
    "Sec-Ch-Ua": '"Not)A;Brand";v="99", "Google Chrome";v="127", "Chromium";v="127"',
    "Sec-Ch-Ua-Mobile": "?0",
    "Sec-Ch-Ua-Platform": '"Windows"',
}

each_way = pytest.mark.parametrize("stream", [False, True])


async def test_the_transcript(world: World) -> None:
    entry = {"index": 1, "title": "秘塔AI搜索_百度百科", "link": "https://baike.example.com/item/metaso"}
    pieces = (
        "秘塔AI搜索是一款",
        "AI 搜索引擎[[1]]，无广告 🔍",
        "，直达结果[[2]][[10]]。\n",
        "1. **Metaso** answers with sources.\n",
    )
    scene = Events(
        {"type": "query", "data": ["秘塔AI", "Metaso AI search"]},
        {"type": "set-reference", "list": [entry]},
        {"type": "heartbeat"},
        *map(text, pieces),
        DONE,
    )
    world.site.script("chat", scene, scene)
    told = await world.both("秘塔AI")
    mark = "[1](https://baike.example.com/item/metaso)"
    said = f"秘塔AI搜索是一款AI 搜索引擎{mark}，无广告 🔍，直达结果。\n1. **Metaso** answers with sources.\n"
    assert told.content == f"{said}\n\n搜索结果来自：\n1. 秘塔AI搜索_百度百科 - {entry['link']}"
    assert told.sources == [(entry["title"], entry["link"])]
    where = said.index(mark)
    assert [told.citations[0][f"{end}_index"] for end in ("start", "end")] == [where, where + len(mark)]
    assert (told.model, told.finish) == ("detail", "stop")
    assert world.kinds() == ["page", "open", "chat", "open", "chat"]
    assert list(world.site.sessions) == ["8466827997659213824", told.id]


async def test_what_is_sent(world: World) -> None:
    await world.ask("秘塔AI")
    await world.check()
    page, opened, chat, check = world.site.calls
    token = world.site.account("ann")
    uid, _, sid = token.partition("-")
    (account,) = world.site.accounts.values()
    (meta_token,) = account.tokens
    assert (page.method, page.path, page.query, page.body) == ("GET", "/", "", b"")
    assert (opened.method, opened.path, opened.query) == ("POST", "/api/session", "")
    assert opened.body == '{"question":"秘塔AI","mode":"detail","engineType":"","scholarSearchDomain":"all"}'.encode()
    assert opened.headers["Token"] == meta_token
    assert (chat.method, chat.path, chat.body) == ("GET", "/api/searchV2", b"")
    address = "https:%2F%2Fmetaso.cn%2Fsearch%2F8466827997659213824%3FnewSearch%3Dtrue%26q%3D%E7%A7%98%E5%A1%94AI"
    assert chat.query == (
        f"sessionId=8466827997659213824&question=%E7%A7%98%E5%A1%94AI&lang=zh&mode=detail&url={address}&enableMix=true"
        f"&scholarSearchDomain=all&expectedCurrentSessionSearchCount=1&is-mini-webview=0&{query({'token': meta_token})}"
    )
    assert (check.method, check.path, check.query, check.body) == ("GET", "/api/my-info", "", b"")
    for call in world.site.calls:
        accept = "text/event-stream" if call is chat else "*/*"
        assert {name: call.headers[name] for name in MAIN} == {**MAIN, "Accept": accept}
        assert call.headers["Cookie"].rstrip() == f"uid={uid}; sid={sid};"


async def test_an_answer(world: World) -> None:
    told = await world.both("reply exactly PONG")
    assert told.content == (
        f"关于「reply exactly PONG」{FIRST}，我深入搜索了网页。🔍"
        f"这是模拟站点的回答{FIRST}{SECOND}，一字一句慢慢写出来。\n{LIST}"
    )
    assert told.sources == [(source["title"], source["link"]) for source in WEB]
    assert "unknown_total{" not in await world.scrape()


async def test_what_is_unknown_is_counted(world: World) -> None:
    scene = Events({"type": "weather-card"}, text("a"), {"type": "append-text", "text": 7}, DONE)
    world.site.script("chat", scene, scene)
    assert (await world.both("hi")).content == "a"
    metrics = await world.scrape()
    for kind in ("weather-card", "malformed_text"):
        assert f'unknown_total{{kind="{kind}",provider="metaso"}} 2.0' in metrics


async def test_hidden_references() -> None:
    async with World.start(REFERENCES="hidden") as world:
        told = await world.both("hi")
        assert "[" not in told.content
        assert "http" not in told.content
        assert len(told.sources) == 2


async def test_a_list_that_grows(world: World) -> None:
    scene = Events(
        {"type": "set-reference", "list": list(WEB)},
        text("a[[1]]"),
        {"type": "update-reference", "list": [*WEB, LATE]},
        text("b[["),
        text("3]]c[[9]]"),
        DONE,
    )
    world.site.script("chat", scene, scene)
    told = await world.both("hi")
    assert told.content == f"a{FIRST}b[3]({LATE['link']})c{LIST}\n3. {LATE['title']} - {LATE['link']}"


@pytest.mark.parametrize(("model", "temperature", "said", "wanted"), WORKED)
async def test_worked_examples(model: str, temperature: Any, said: Any, wanted: Any, world: World) -> None:
    told = await world.both(said, model=model, temperature=temperature)
    assert (told.finish, told.model) == ("stop", model)
    (asked,) = world.asked()
    assert (asked.mode, asked.engine, asked.question) == wanted


@pytest.mark.parametrize("model", ["", None])
async def test_without_a_model_it_is_the_default(world: World, model: Any) -> None:
    assert (await world.both("你好", model=model)).model == "detail"
    assert [asked.mode for asked in world.asked()] == ["detail"]


async def test_the_weather_is_answered(world: World) -> None:
    assert "直接回答」" in (await world.both("上海明天天气", model="concise")).content


async def test_papers(world: World) -> None:
    told = await world.both("钙钛矿", model="research-scholar")
    assert "研究搜索了论文" in told.content
    assert [url for _, url in told.sources] == ["https://doi.example.com/10.1000/1"]


async def test_a_label_is_taken_off(world: World) -> None:
    assert "AI生成" not in (await world.both("标签")).content
    world.site.script("chat", *[Says("a", LABEL, "b")] * 2)
    assert (await world.both("标签")).content.startswith(f"a{LABEL}b")


async def test_odd_questions(world: World) -> None:
    for said in ('C++ & C# 100% "quote" a=b?\nline2 😀 [x] $1, 2', "%20+%2B", "'()*!~", " 空 格 ", "x" * 4000):
        await world.both(said)
        assert world.asked()[-1].question == said
    parts = [{"type": "text", "text": "第一段"}, {"type": "text", "text": "第二段"}]
    await world.both(parts)
    assert world.asked()[-1].question == "第一段\n第二段"


async def test_every_request_is_a_search_of_its_own(world: World) -> None:
    first = await world.ask("hi", conversation_id="new")
    second = await world.ask("and", conversation_id=first.id)
    assert first.id != second.id
    world.tokens("ann", "ben")
    assert (await world.ask("more", "ben", conversation_id=first.id)).status == 200
    assert [asked.question for asked in world.site.questions()] == ["hi", "and", "more"]


@each_way
async def test_nothing_is_deleted_and_nothing_said_to_be(world: World, stream: bool) -> None:
    world.site.script("chat", Pass(), Cut(-60), Events({"type": "error", "code": 9, "msg": "?"}, DONE))
    for _ in range(3):
        await world.ask("hi", stream=stream)
    await world.house.service.cleanup.drain(5)
    assert set(world.kinds()) == {"page", "open", "chat"}
    assert 'cleanups_total{outcome="deleted"' not in (await world.scrape())
    assert 'cleanups_total{outcome="error"' not in (await world.scrape())


@pytest.mark.parametrize(
    "fault",
    [
        Split(at=(5, 6, 7, 8, 20, 21, 300, 301, 302)),
        Split(size=97),
        ContentType("text/plain"),
        ContentType("application/json"),
        Together(ContentType("text/html"), Split(at=(1,))),
    ],
)
async def test_however_a_stream_arrives(world: World, fault: Fault) -> None:
    plain = await world.both("hi")
    world.site.script("chat", fault, fault)
    assert (await world.both("hi")).outcome == plain.outcome


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'data:{"type":"append-text","text":"a"}\n\n', (200, "a", "length", None)),
        (b'data:{"type":"append-text","text":"a"}', (200, "a", "length", None)),
        (b'data:{"type":"append-text","text":"a"}\n\ndata:[DONE]', (200, "a", "stop", None)),
        (b'data:{"type":"append-text"}\n\ndata:\n\ndata:{"type":"append-text","text":"a"}\n\ndata:[DONE]\n\n',
         (200, "a", "stop", None)),
    ],
)  # fmt: skip
async def test_endings(world: World, body: bytes, outcome: Any) -> None:
    world.site.script("chat", *[Events(body)] * 2)
    assert (await world.both("hi")).outcome == outcome


@pytest.mark.parametrize("body", [b"", DONE, b"data:\n\n" + DONE, b'data:{"type":"append-t'])
async def test_an_empty_answer_is_an_error(world: World, body: bytes) -> None:
    world.site.script("chat", *[Events(body)] * 6)
    assert (await world.both("hi")).outcome == (502, "", None, "upstream_unavailable")


@each_way
@pytest.mark.parametrize("cut", [Cut(-40), Cut(-40, reset=True)])
async def test_a_break_in_the_middle(world: World, stream: bool, cut: Fault) -> None:
    world.site.script("chat", *[cut] * 3)
    told = await world.ask("hi", stream=stream)
    assert told.error["code"] == "upstream_unavailable"
    assert (told.status, told.finish) == (200 if stream else 502, None)


REFUSALS = [
    ("page", html(403), 502, "upstream_unavailable", 3),
    ("page", Reply(b"{}"), 502, "upstream_unavailable", 3),
    ("page", Cut(None), 502, "upstream_unavailable", 3),
    ("page", html(), 502, "upstream_changed", 1),
    ("page", html(429), 429, "rate_limit_exceeded", 1),
    ("open", refused(401, "请先登录"), 401, "invalid_api_key", 2),
    ("open", refused(1, "未知错误"), 502, "upstream_error", 1),
    ("open", refused(2, "搜索次数超出限制"), 429, "rate_limit_exceeded", 1),
    ("open", refused(3, "内容违规"), 400, "content_filter", 1),
    ("open", refused(4, "账号已被封禁"), 403, "account_barred", 1),
    ("open", refused(5, "系统繁忙"), 502, "upstream_unavailable", 3),
    ("open", refused(6, "TOO_MANY_REQUESTS"), 429, "rate_limit_exceeded", 1),
    ("open", html(), 502, "upstream_unavailable", 3),
    ("open", html(429), 429, "rate_limit_exceeded", 1),
    ("open", server_error(), 502, "upstream_unavailable", 3),
    ("open", Reply({"errCode": 0, "data": {}}), 502, "upstream_changed", 1),
    ("open", Cut(None), 502, "upstream_unavailable", 3),
    ("chat", used_up(), 429, "rate_limit_exceeded", 1),
    ("chat", limited(), 429, "rate_limit_exceeded", 1),
    ("chat", html(429), 429, "rate_limit_exceeded", 1),
    ("chat", Reply("[TOO_MANY_REQUESTS]", 200, "text/plain"), 429, "rate_limit_exceeded", 1),
    ("chat", Events({"type": "error", "code": 9, "msg": "生成失败"}, DONE), 502, "upstream_error", 1),
    ("chat", Events({"type": "error", "code": 401, "msg": "请登录"}), 401, "invalid_api_key", 2),
    ("chat", Events(b"data:hello\n\n"), 502, "upstream_changed", 1),
    ("chat", refused(401, "请先登录"), 401, "invalid_api_key", 2),
    ("chat", Reply(b"", 401), 401, "invalid_api_key", 2),
    ("chat", Reply({}, 500), 502, "upstream_unavailable", 3),
    ("chat", html(), 502, "upstream_unavailable", 3),
    ("chat", html(414), 400, "request_refused", 1),
    ("chat", server_error(), 502, "upstream_unavailable", 3),
    ("chat", Reply(b""), 502, "upstream_unavailable", 3),
    ("chat", Cut(None), 502, "upstream_unavailable", 3),
]


@each_way
@pytest.mark.parametrize(("place", "fault", "status", "code", "tries"), REFUSALS)
async def test_refusals(
    world: World, stream: bool, place: str, fault: Fault, status: int, code: str, tries: int
) -> None:
    world.site.script(place, *[fault] * 3)
    told = await world.ask("hi", stream=stream)
    assert (told.status, told.error["code"], told.content) == (status, code, "")
    assert len(world.site.calls_of(place)) == tries
    assert ("Retry-After" in told.headers) == (status == 429)
    world.errors = ["upstream_changed"] * (code == "upstream_changed")


@each_way
@pytest.mark.parametrize(
    ("last", "code"),
    [
        ({"type": "error", "code": 4001, "msg": "搜索次数超出限制"}, "rate_limit_exceeded"),
        (b"data:[TOO_MANY_REQUESTS]\n\n", "rate_limit_exceeded"),
        ({"type": "error", "code": 500, "msg": "?"}, "upstream_unavailable"),
    ],
)
async def test_refusals_after_the_first_words(world: World, stream: bool, last: Any, code: str) -> None:
    world.site.script("chat", *[Events(text("a"), last, DONE)] * 3)
    told = await world.ask("hi", stream=stream)
    assert told.error["code"] == code
    whole = 429 if code == "rate_limit_exceeded" else 502
    assert (told.status, told.content) == ((200, "a") if stream else (whole, ""))


@each_way
@pytest.mark.parametrize("fault", [limited(), Reply(b"", 429), Reply(b"", 429, headers=(("Retry-After", "30"),))])
async def test_a_limit_of_the_address_is_everyone_s(world: World, stream: bool, fault: Fault) -> None:
    world.site.script("chat", fault)
    limit = 30 if getattr(fault, "headers", ()) else 300
    for name in ("ann", "bob", "ann"):
        told = await world.ask("hi", name, "cid", stream=stream)
        assert (told.status, told.error["code"]) == (429, "rate_limit_exceeded")
        assert limit - 2 <= int(told.headers["Retry-After"]) <= limit
    assert (await world.check())[0] == 429
    assert world.kinds() == ["page", "open", "chat"]


async def test_a_limit_that_a_check_meets_is_everyone_s_too(world: World) -> None:
    world.site.script("check", Reply(b"", 429))
    assert (await world.check())[0] == 429
    assert (await world.ask("hi", "bob")).status == 429
    assert world.kinds() == ["check"]


async def test_after_the_limit_the_page_is_opened_anew(world: World) -> None:
    world.site.script("chat", Reply(b"", 429, headers=(("Retry-After", "0"),)))
    assert (await world.ask("hi")).status == 429
    assert (await world.ask("hi")).finish == "stop"
    assert world.kinds() == ["page", "open", "chat"] * 2


@each_way
async def test_the_next_account_goes_on(world: World, stream: bool) -> None:
    world.site.script("chat", used_up())
    assert (await world.ask("hi", "ann", "bob", stream=stream)).finish == "stop"
    assert [session.owner.name for session in world.site.sessions.values()] == ["ann", "bob"]
    world.site.account("cid")
    world.site.log_out("cid")
    assert (await world.ask("hi", "cid", "bob", stream=stream)).finish == "stop"


async def test_a_used_up_account_is_not_off(world: World) -> None:
    world.site.script("chat", used_up())
    assert (await world.ask("hi")).status == 429
    assert (await world.ask("hi")).finish == "stop"


@each_way
async def test_a_meta_token_is_used_again_until_it_is_refused(world: World, stream: bool) -> None:
    for _ in range(2):
        assert (await world.ask("hi", stream=stream)).finish == "stop"
    assert len(world.site.calls_of("page")) == 1
    world.site.forget_pages("ann")
    assert (await world.ask("hi", stream=stream)).finish == "stop"
    assert len(world.site.calls_of("page")) == 2
    assert world.site.outcomes("open") == {"ok": 3, "unauthorized": 1}


@each_way
@pytest.mark.parametrize("fault", [Events(b"data: [DONE]\n\n"), used_up()])
async def test_a_meta_token_that_brought_no_answer_is_not_used_again(fault: Fault, stream: bool) -> None:
    async with World.start(RETRIES="0") as world:
        world.site.script("chat", fault)
        assert (await world.ask("hi", stream=stream)).finish is None
        assert (await world.ask("hi", stream=stream)).finish == "stop"
        assert len(world.site.calls_of("page")) == 2


async def test_a_meta_token_grows_old() -> None:
    async with World.start(METASO_SESSION_LIFETIME="0") as world:
        for _ in range(2):
            await world.ask("hi")
        assert len(world.site.calls_of("page")) == 2


async def test_one_page_is_enough_for_all_who_ask_at_once() -> None:
    async with World.start(SLOTS="8") as world:
        world.site.script("page", SlowHead(seconds=0.05))
        answers = await asyncio.gather(*(world.ask(f"question {number}", stream=True) for number in range(8)))
        assert all(f"question {number}" in told.content for number, told in enumerate(answers))
        assert len(world.site.calls_of("page")) == 1


@each_way
async def test_the_client_leaves(world: World, stream: bool) -> None:
    world.site.script("chat", stall := Stall(after=300))
    asking = asyncio.create_task(world.ask("hi", stream=stream))
    await stall.reached.wait()
    asking.cancel()
    (call,) = world.site.calls_of("chat")
    await asyncio.wait_for(call.closed.wait(), 1)
    assert (await world.ask("hi", stream=stream)).finish == "stop"


@pytest.mark.parametrize("token", ["abc", "a-b-c", "-b"])
async def test_malformed_tokens_make_no_call(world: World, token: str) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    async with world.house.post("/v1/chat/completions", body, token) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (401, "invalid_api_key")
    async with world.house.post("/token/check", {"token": token}, None) as response:
        assert await response.json() == {"live": False}
    assert world.site.calls == []


@pytest.mark.parametrize(
    "said",
    [
        [],
        "",
        " \n",
        "简洁搜索：",
        [{"role": "user", "content": None}],
        [{"type": "image_url", "image_url": {"url": PIXEL}}, {"type": "text", "text": "hi"}],
        [{"type": "file", "file_url": {"url": PIXEL}}],
    ],
)
async def test_what_cannot_be_searched_makes_no_call(world: World, said: Any) -> None:
    told = await world.both(said, model="any")
    assert (told.status, told.error["type"]) == (400, "invalid_request_error")
    assert world.site.calls == []


@pytest.mark.parametrize("name", ["temperature", "tempature"])
async def test_a_temperature_that_is_none(world: World, name: str) -> None:
    told = await world.both("hi", **{name: "hot"})
    assert (told.status, told.error["param"]) == (400, name)
    assert world.site.calls == []


async def test_what_is_too_long(world: World) -> None:
    told = await world.both("密" * 2000)
    assert (told.status, told.error["code"]) == (400, "request_refused")
    assert world.site.outcomes("chat") == {"too long": 2}
    told = await world.both("x" * 1_000_001)
    assert (told.status, told.error["code"]) == (400, "request_refused")
    assert len(world.site.calls_of("chat")) == 2


async def test_models(world: World) -> None:
    client, url = world.house.client, world.house.url
    async with client.get(f"{url}/v1/models") as response:
        listed = await response.json()
    assert listed["object"] == "list"
    names = ["concise", "detail", "research", "concise-scholar", "detail-scholar", "research-scholar"]
    assert [model["id"] for model in listed["data"]] == names
    async with client.get(f"{url}/v1/models/gpt-4") as response:
        assert response.status == 404
    async with client.post(f"{url}/v1/images/generations", json={"prompt": "画一只猫"}) as response:
        assert response.status == 404
    async with client.get(f"{url}/ping") as response:
        assert await response.text() == "pong"


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (Pass(), 200, {"live": True}),
        (Reply({"errCode": 0, "errMsg": "success", "data": {"user": None}}), 200, {"live": False}),
        (refused(401, "请先登录"), 200, {"live": False}),
        (html(), 200, {"live": False}),
        (Reply(b""), 200, {"live": False}),
        (Reply(b"", 403), 200, {"live": False}),
        (server_error(), 502, None),
        (Cut(None), 502, None),
        (Reply(b"", 429), 429, None),
    ],
)
async def test_token_check(world: World, fault: Fault, status: int, told: Any) -> None:
    world.site.script("check", fault)
    found, body = await world.check()
    assert (found, told or body) == (status, body)
    assert world.kinds() == ["check"]


async def test_token_check_of_one_who_has_logged_out(world: World) -> None:
    world.site.account("ann")
    world.site.log_out("ann")
    assert await world.check() == (200, {"live": False})


async def test_users_never_mix() -> None:
    site = MetasoSite()
    async with World.start(site) as world:
        names = [f"user-{number}" for number in range(8)]
        answers = await asyncio.gather(*(world.ask(f"I am {name}", name, stream=True) for name in names))
        for name, told in zip(names, answers, strict=True):
            assert f"「I am {name}」" in told.content
            assert site.sessions[told.id].owner.name == name
