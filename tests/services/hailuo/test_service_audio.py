"""Speech and speech recognition from end to end."""

import asyncio
import gzip
import random
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import structlog

from services.hailuo.speech import _Parts, alike, same
from services.hailuo.voices import OFFICIAL
from shared import cleanup, mp3
from shared.errors import UpstreamUnavailable
from tests.answers import Told, read
from tests.services.hailuo.world import World
from tests.simulators import Cut, Fault, Reply, Split, Stall, Together, html, server_error
from tests.simulators import hailuo_sounds as sounds
from tests.simulators.hailuo import EXPIRED, refused
from tests.simulators.hailuo_scenes import DEFAULT_HEARD, OK, Events, Says

TEXT = "早上好！今天天气很好。我们去公园吧，好不好？"
WAV = (
    b"RIFF\x24\x1f\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00"
    b"data\x00\x1f\x00\x00" + b"\x80" * 7936
)
"""0.992 seconds of silence."""
SOUNDLESS = b"TAG" + bytes(125)
"""An mp3 with a tag and nothing else."""

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on the PATH")


def spoken(told: Told, text: str = TEXT) -> None:
    """Hold a speech to what it should be: one mp3 of the right length that says the text."""
    assert (told.status, told.type) == (200, "audio/mpeg")
    assert sounds.heard(told.body) == text
    assert mp3.seconds(told.body) == pytest.approx(sounds.seconds(text))
    assert b"ID3" not in told.body
    assert b"TAG" not in told.body
    assert b"Info" not in told.body
    assert len(told.body) % sounds.SIZE == 0


async def test_recorded_calls(world: World) -> None:
    world.site.slow = 1
    told = await world.speak("早上好！", voice="echo")
    spoken(told, "早上好！")
    await world.settled()
    assert world.kinds()[:5] == ["register", "chat", "voice", "tts", "tts"]
    assert sorted(world.kinds()[5:]) == ["delete", "part"]
    assert world.fields() == [
        {
            "characterID": "1",
            "msgContent": (
                "user:完整复述以下内容，不要进行任何修改，也不需要进行任何解释。\n早上好！\n"
                "assistant:好的，我将开始完整复述：\n\n"
            ),
            "chatID": "0",
            "searchMode": "0",
        }
    ]
    assert world.site.calls_of("voice")[0].body == b'{"robotID":"1","config":{"robotVoiceID":"Podcast_girl"}}'


async def test_parts_are_joined_and_streamed(world: World) -> None:
    go_on = asyncio.Event()
    world.site.script("tts", Fault(), Fault(), Stall(until=go_on))
    body = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
    async with asyncio.timeout(5), world.house.post("/v1/audio/speech", body, world.tokens()) as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        first = await response.content.readany()
        assert sounds.heard(first) == TEXT[: sounds.LETTERS_PER_PART]
        go_on.set()
        spoken(Told(200, response.headers, first + await response.read()))


async def test_parts_stay_in_order(world: World) -> None:
    world.site.slow = 0
    go_on = asyncio.Event()
    world.site.script("part", Stall(until=go_on))
    task = asyncio.create_task(world.speak(TEXT))
    await world.site.wait_for(lambda: len(world.site.calls_of("part")) == 2)
    await world.site.wait_for(world.site.calls_of("part")[1].ended.is_set)
    go_on.set()
    spoken(await task)


async def test_ffprobe_calls_it_an_mp3_of_the_right_length(world: World, tmp_path: Path) -> None:
    if shutil.which("ffprobe") is None:
        pytest.skip("needs ffprobe on the PATH")
    told = await world.speak(TEXT)
    path = tmp_path / "speech.mp3"
    path.write_bytes(told.body)
    command = ("ffprobe", "-v", "error", "-show_entries", "format=format_name,duration", "-of", "json", str(path))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    said = orjson.loads(out)["format"]
    assert said["format_name"] == "mp3"
    assert float(said["duration"]) == pytest.approx(sounds.seconds(TEXT), abs=0.05)


async def test_what_is_said_is_heard_again(world: World) -> None:
    speech = await world.speak(TEXT)
    assert (await world.hear(speech.body)).value == {"text": TEXT}
    told = await world.hear(speech.body, response_format="text")
    assert (told.type, told.body.decode()) == ("text/plain", TEXT)
    verbose = await world.hear(speech.body, response_format="verbose_json", language="zh")
    assert verbose.value == {
        "task": "transcribe",
        "language": "zh",
        "duration": pytest.approx(sounds.seconds(TEXT), abs=0.01),
        "text": TEXT,
        "segments": [],
    }
    unsure = await world.hear(speech.body, response_format="verbose_json")
    assert unsure.value["language"] == "und"


VOICES: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "tts-1": ({}, {"voice": "nova"}, "YaeMiko_hailuo"),
    "tts-1-hd": ({}, {"voice": "nova", "model": "tts-1-hd"}, "keli_hailuo"),
    "newer": ({}, {"voice": "coral"}, "scarlett_hailuo"),
    "official": ({}, {"voice": "female-yaoyao-hd"}, "female-yaoyao-hd"),
    "clone": ({}, {"voice": "puv_12"}, "puv_12"),
    "as an object": ({}, {"voice": {"id": "puv_12"}}, "puv_12"),
    "replaced": ({"REPLACE_AUDIO_MODEL": "yueyue_hailuo, Podcast_girl"}, {"voice": "echo"}, "Podcast_girl"),
    "replaced as JSON": ({"REPLACE_AUDIO_MODEL": '["yueyue_hailuo"]'}, {"voice": "alloy"}, "yueyue_hailuo"),
    "with the name before it": ({"HAILUO_REPLACE_AUDIO_MODEL": "keli_hailuo"}, {"voice": "alloy"}, "keli_hailuo"),
    "not replaced": ({"REPLACE_AUDIO_MODEL": ",keli_hailuo"}, {"voice": "alloy"}, "male-botong"),
}


@pytest.mark.parametrize(("environ", "asked", "voice"), VOICES.values(), ids=VOICES)
async def test_voices(environ: dict[str, str], asked: dict[str, Any], voice: str) -> None:
    async with World.start(**environ) as world:
        body = {"model": "tts-1", "input": "早上好", **asked}
        spoken(await world.request("/v1/audio/speech", body), "早上好")
        assert orjson.loads(world.site.calls_of("voice")[0].body)["config"]["robotVoiceID"] == voice


async def test_every_official_voice_is_known_to_the_site(world: World) -> None:
    assert world.site.voices == set(OFFICIAL)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown voice": ({"voice": "toString"}, "male-botong"),
    "no voice": ({"voice": ""}, "shimmer"),
    "no input": ({"input": ""}, "input"),
    "nothing to say": ({"input": "（……）！"}, "input"),
    "an unknown format": ({"response_format": "midi"}, "mp3/opus/aac/flac/wav/pcm"),
}


@pytest.mark.parametrize(("asked", "named"), BAD.values(), ids=BAD)
async def test_bad_requests_cost_no_account(world: World, asked: dict[str, Any], named: str) -> None:
    told = await world.request("/v1/audio/speech", {"input": "a", "voice": "alloy", **asked})
    assert told.status == 400
    assert named in told.message
    assert world.site.calls == []


@pytest.mark.parametrize(("asked", "named"), BAD.values(), ids=BAD)
async def test_bad_requests_wait_for_no_account(asked: dict[str, Any], named: str) -> None:
    async with World.start(ACCOUNT_WAIT="0") as world:
        stall = Stall(until=asyncio.Event())
        world.site.script("chat", stall)
        chat = asyncio.create_task(world.whole("a"))
        await asyncio.wait_for(stall.reached.wait(), 5)
        told = await world.request("/v1/audio/speech", {"input": "a", "voice": "alloy", **asked})
        assert told.status == 400
        assert named in told.message
        assert stall.until is not None
        stall.until.set()
        assert (await chat).status == 200


async def test_two_speeches_of_an_account_do_not_mix_their_voices(world: World) -> None:
    first, second = await asyncio.gather(world.speak(TEXT, voice="alloy"), world.speak("早上好！", voice="echo"))
    spoken(first)
    spoken(second, "早上好！")


async def test_the_account_may_chat_while_it_is_read_out(world: World) -> None:
    go_on = asyncio.Event()
    world.site.script("tts", Stall(until=go_on))
    speech = asyncio.create_task(world.speak(TEXT))
    await world.site.wait_for(lambda: world.site.calls_of("tts"))
    assert (await world.whole("a")).status == 200
    go_on.set()
    spoken(await speech)


async def test_an_answer_instead_of_a_repetition_is_asked_for_again(world: World) -> None:
    world.site.script("chat", Says("你好！有什么可以帮你？"))
    spoken(await world.speak(TEXT))
    await world.settled()
    assert world.site.outcomes("delete") == {"ok": 2}


async def test_the_first_of_two_repetitions_is_deleted_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "FORGET_PAUSES", (0.01,))
    world.site.script("chat", Says("你好！"))
    world.site.script("delete", server_error())
    spoken(await world.speak(TEXT))
    await world.settled()


async def test_a_client_that_leaves_the_second_of_two_repetitions(world: World) -> None:
    stall = Stall(after=0, until=asyncio.Event())
    world.site.script("chat", Says("你好！"), stall)
    task = asyncio.create_task(world.speak(TEXT))
    await asyncio.wait_for(stall.reached.wait(), 5)
    task.cancel()
    await asyncio.wait((task,))
    # The second one has no name yet: it is waited for.
    for _ in range(3):
        await world.scrape()
    assert not world.site.calls_of("chat")[-1].closed.is_set()
    assert stall.until is not None
    stall.until.set()
    await world.site.wait_for(lambda: world.site.outcomes("delete") == {"ok": 2})
    await world.settled()


async def test_a_client_that_leaves_before_the_first_repetition_has_a_name(world: World) -> None:
    stall = Stall(after=0, until=asyncio.Event())
    world.site.script("chat", Together(Says("你好！"), stall))
    task = asyncio.create_task(world.speak(TEXT))
    await asyncio.wait_for(stall.reached.wait(), 5)
    task.cancel()
    await asyncio.wait((task,))
    assert stall.until is not None
    stall.until.set()
    await world.house.service.cleanup.drain(20)
    await world.settled()


async def test_all_repetitions_are_kept_when_the_settings_say_so() -> None:
    async with World.start(KEEP_CONVERSATIONS="1") as world:
        world.kept = None
        world.site.script("chat", Says("你好！"))
        spoken(await world.speak(TEXT))
        await world.house.service.cleanup.drain(20)
        assert world.site.outcomes("delete") == {}


async def test_a_slip_of_the_pen_is_spoken_when_it_stays(world: World) -> None:
    nearly = TEXT.replace("吧", "呗").replace("！", "!")
    world.site.script("chat", Says(nearly), Says(nearly))
    spoken(await world.speak(TEXT), nearly)


async def test_an_answer_is_never_spoken(world: World) -> None:
    world.site.script("chat", Says("你好！"), Says("你好！"))
    told = await world.speak(TEXT)
    assert told.status == 502
    assert "repeat" in told.message
    assert world.site.calls_of("voice") == []
    await world.settled()
    assert world.site.outcomes("delete") == {"ok": 2}


def test_likeness() -> None:
    assert same("Hello, World!", "hello world")
    assert same("一二三。", "一二 三")
    assert same("ＡＢＣ１", "abc1")
    assert not same("一二三", "一二")
    assert alike("一二三", "一二三") == 1
    assert alike("一二三", "四五六") < 0.5
    assert alike("a", "") < 0.9


MADE: dict[str, tuple[str, tuple[Fault, ...], int, str]] = {
    "an unknown voice at the site": ("voice", (refused(9, "音色不存在"),), 400, "request_refused"),
    "a refused login": ("voice", (Reply(EXPIRED),), 401, "invalid_api_key"),
    "a page": ("tts", (html(200),) * 4, 502, ""),
    "a refused part": ("part", (Reply({}, 403),), 502, ""),
    "another success": ("part", (Reply({}, 204),), 502, ""),
    "a page for a part": ("part", (html(200),), 502, ""),
    "a broken part": ("part", (Cut(after=100),), 502, ""),
    "no message": ("chat", (Events((("close_chunk", {"type": 8}),)),), 502, ""),
    "a broken repetition": ("chat", (Cut(after=-400),), 502, ""),
    "a login that ends in the repetition": (
        "chat",
        (Events((("message_result", {"statusInfo": EXPIRED["statusInfo"]}),)),),
        401,
        "invalid_api_key",
    ),
}


@pytest.mark.parametrize(("kind", "faults", "status", "code"), MADE.values(), ids=MADE)
@pytest.mark.parametrize("format_", ["mp3", "wav"])
async def test_failures_before_the_first_part_have_a_status(
    kind: str, faults: tuple[Fault, ...], status: int, code: str, format_: str
) -> None:
    if format_ == "wav" and shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg on the PATH")
    async with World.start(RETRIES="0", ACCOUNT_WAIT="0") as world:
        world.site.script(kind, *faults)
        told = await world.speak("早上好", response_format=format_)
        assert told.status == status
        assert told.value["error"]["code"] == (code or "upstream_unavailable")
        await world.settled()


@pytest.mark.parametrize("hiccup", [Reply({"code": 502, "message": "Bad Gateway"}, 502), refused(9, "系统异常")])
async def test_a_hiccup_at_the_voice_switch_is_no_unknown_voice(world: World, hiccup: Reply) -> None:
    world.site.script("voice", hiccup)
    spoken(await world.speak(TEXT))


async def test_fail_over_before_the_first_part(world: World) -> None:
    world.tokens("ann", "ben")
    world.site.script("part", server_error())
    world.site.script("voice", Reply(EXPIRED))
    spoken(await world.speak(TEXT, "ann", "ben"))
    await world.settled()


async def test_failed_looks_are_made_again(world: World) -> None:
    world.site.script("tts", server_error(), html(200), Fault(), server_error())
    spoken(await world.speak(TEXT))
    assert len(world.site.calls_of("chat")) == 1


async def test_a_speech_that_is_never_made() -> None:
    async with World.start(HAILUO_SPEECH_LIMIT="0.02") as world:
        world.site.slow = 10**9
        told = await world.speak(TEXT)
        assert (told.status, told.value["error"]["code"]) == (502, "upstream_error")
        await world.settled()


async def breaks_off(world: World) -> None:
    """Have a text read out, which breaks off after something of it was sent."""
    body = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
    async with asyncio.timeout(5), world.house.post("/v1/audio/speech", body, world.tokens()) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    await world.settled()


async def test_a_failure_after_the_first_part_breaks_the_connection(world: World) -> None:
    world.site.script("part", Fault(), server_error())
    await breaks_off(world)


async def test_a_refusal_after_the_first_part_is_noted_for_the_account(world: World) -> None:
    urls = ["https://cdn.hailuoai.com/prod/tts/1-0.mp3"]
    look = Reply({"statusInfo": OK, "data": {"requestStatus": 1, "result": urls}})
    world.site.script("tts", look, Stall(until=(given := asyncio.Event())), Reply(EXPIRED))
    world.site.script("/prod/tts/1-0.mp3", Reply(b"AAAA", content_type="audio/mpeg"))
    body = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(5), world.house.post("/v1/audio/speech", body, world.tokens()) as response:
            await response.content.readexactly(4)
            given.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        await world.settled()
    assert 'account_failures_total{provider="hailuo",reason="account_expired"} 1' in (await world.scrape())
    # The client has waited to the end.
    assert [line["status"] for line in logs if line["event"] == "answered"] == [200]


def scripted(world: World, looks: Sequence[str], parts: Mapping[str, bytes | Fault]) -> None:
    """Have each look show the parts of these names, and the last one end the speech."""
    for number, names in enumerate(looks, 1):
        urls = [f"https://cdn.hailuoai.com/prod/tts/1-{name}.mp3" for name in names]
        told = {"requestStatus": 2 if number == len(looks) else 1, "result": urls}
        world.site.script("tts", Reply({"statusInfo": OK, "data": told}))
    for name, part in parts.items():
        fault = Reply(part, content_type="audio/mpeg") if isinstance(part, bytes) else part
        world.site.script(f"/prod/tts/1-{name}.mp3", fault)


@pytest.mark.parametrize(("going", "done"), [("1", "2"), (1.0, 2.0), (None, 2), ("soon", "2")])
async def test_a_status_may_be_written_in_any_way(world: World, going: Any, done: Any) -> None:
    urls = [f"https://cdn.hailuoai.com/prod/tts/1-{name}.mp3" for name in "01"]
    for status, named in ((going, urls[:1]), (done, urls)):
        world.site.script("tts", Reply({"statusInfo": OK, "data": {"requestStatus": status, "result": named}}))
    for name in "01":
        world.site.script(f"/prod/tts/1-{name}.mp3", Reply(b"AA", content_type="audio/mpeg"))
    assert (await world.speak(TEXT)).body == b"AAAA"


async def test_parts_whose_tags_lie_are_given_as_they_are(world: World) -> None:
    scripted(world, ["012"], {"0": b"AAAA", "1": b"ID3\x03fake-mp3-part-2", "2": b"CC"})
    assert (await world.speak(TEXT)).body == b"AAAAID3\x03fake-mp3-part-2CC"


def never_there() -> Fault:
    return Together(Reply(b"ZZ", content_type="audio/mpeg"), Stall(after=0))


REPLACED: dict[str, tuple[Sequence[str], Callable[[], Fault], bytes]] = {
    "before it was there": (["0", "12"], never_there, b"AAAABB"),
    "because it was not there": (["0", "12"], lambda: server_error(404), b"AAAABB"),
    "a later one": (["10", "12"], never_there, b"AAAABB"),
    "by none": (["10", "1"], never_there, b"AAAA"),
}


@pytest.mark.parametrize(("looks", "fault", "sound"), REPLACED.values(), ids=REPLACED)
async def test_a_part_that_was_not_given_may_be_replaced(
    looks: Sequence[str], fault: Callable[[], Fault], sound: bytes
) -> None:
    async with World.start(HAILUO_SPEECH_PAUSE="0.05") as world:
        scripted(world, looks, {"0": fault(), "1": b"AAAA", "2": b"BB"})
        told = await world.speak(TEXT)
        assert (told.status, told.body) == (200, sound)
        await world.settled()


@pytest.mark.parametrize(("looks", "sound"), [(["0", "12"], b"BBC"), (["01", "0"], b"AAAA"), (["0", ""], b"")])
async def test_a_whole_speech_is_of_the_last_list_alone(looks: Sequence[str], sound: bytes) -> None:
    async with World.start(HAILUO_SPEECH_PAUSE="0.05") as world:
        scripted(world, looks, {"0": b"AAAA", "1": b"BB", "2": b"C"})
        told = await told_before_http_1_1(world)
        assert told.status == (200 if sound else 502)
        assert not sound or told.body == sound
        await world.settled()


@pytest.mark.parametrize("names", ["12", ""])
async def test_a_part_replaced_after_it_was_given_breaks_the_connection(names: str) -> None:
    async with World.start(HAILUO_SPEECH_PAUSE="0.05") as world:
        scripted(world, ["0", names], {"0": b"AAAA", "1": b"BB", "2": b"C"})
        await breaks_off(world)


@pytest.mark.parametrize("names", ["", "1"])
async def test_only_the_last_list_need_have_what_was_given(names: str) -> None:
    async with World.start(HAILUO_SPEECH_PAUSE="0.05") as world:
        scripted(world, ["0", "0", names, "01"], {"0": b"AAAA", "1": b"BB"})
        told = await world.speak(TEXT)
        assert (told.status, told.body) == (200, b"AAAABB")
        await world.settled()


async def test_a_part_that_failed_is_fetched_again_when_its_address_is_signed_anew() -> None:
    async def fetch(url: str) -> bytes:
        if url.endswith("sig=1"):
            raise UpstreamUnavailable
        return b"sound"

    parts = _Parts(fetch)
    parts.take(["https://a/1.mp3?sig=1"], last=False)
    await asyncio.wait(parts._fetched.values())
    parts.take(["https://a/1.mp3?sig=2"], last=False)
    parts.end()
    assert (await parts.next(), await parts.next()) == (b"sound", None)


NOT_MADE = {
    "no parts": Reply({"statusInfo": OK, "data": {"requestStatus": 2, "result": []}}),
    "no answer": Reply({"statusInfo": OK, "data": {}}),
    "a refusal": refused(5, "语音合成失败"),
}


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE)
async def test_a_speech_the_site_could_not_make_is_not_asked_for_again(world: World, fault: Fault) -> None:
    world.site.script("tts", fault)
    told = await world.speak(TEXT)
    assert (told.status, told.code) == (502, "upstream_error")
    assert (len(world.site.calls_of("chat")), len(world.site.calls_of("tts"))) == (1, 1)


async def test_a_part_without_sound_is_no_speech(world: World) -> None:
    scripted(world, ["01"], {"0": b"AAAA", "1": SOUNDLESS})
    await breaks_off(world)


@needs_ffmpeg
@pytest.mark.parametrize("names", ["01", "1"])
async def test_a_speech_without_sound_is_not_made_again(world: World, names: str) -> None:
    scripted(world, [names], {"0": b"AAAA", "1": SOUNDLESS})
    told = await world.speak(TEXT, response_format="wav")
    assert (told.status, told.code) == (502, "upstream_error")
    assert len(world.site.calls_of("chat")) == 1


async def test_parts_signed_anew_are_the_same(world: World) -> None:
    url = "https://cdn.hailuoai.com/prod/tts/1-0.mp3"
    looks = [{"requestStatus": 1, "result": [f"{url}?sign=1"]}, {"requestStatus": 2, "result": [f"{url}?sign=2"]}]
    world.site.script("tts", *(Reply({"statusInfo": OK, "data": look}) for look in looks))
    world.site.script("part", Reply(b"AAAABB", content_type="audio/mpeg"))
    told = await world.speak(TEXT)
    assert told.body == b"AAAABB"


async def test_a_client_that_leaves_a_speech(world: World) -> None:
    stall = Stall(after=0)
    world.site.script("tts", Fault(), Fault(), stall)
    body = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
    async with world.house.post("/v1/audio/speech", body, world.tokens()) as response:
        await asyncio.wait_for(response.content.readany(), 5)
        await asyncio.wait_for(stall.reached.wait(), 5)
        response.close()
    await world.settled()
    assert world.site.calls_of("tts")[-1].closed.is_set()
    spoken(await world.speak(TEXT))


async def told_before_http_1_1(world: World) -> Told:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(world.house.url.rpartition(":")[2]))
    body = orjson.dumps({"input": TEXT, "voice": "alloy"})
    head = f"POST /v1/audio/speech HTTP/1.0\r\nAuthorization: Bearer {world.tokens()}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    head_read, _, sound = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(sound)}".encode() in head_read
    return Told(int(head_read.split()[1]), {"Content-Type": "audio/mpeg"}, sound)


async def test_before_http_1_1_a_speech_has_its_length(world: World) -> None:
    spoken(await told_before_http_1_1(world))


async def test_draining_breaks_a_speech_off() -> None:
    async with World.start(DRAIN_TIMEOUT="0") as world:
        stall = Stall()
        world.site.script("tts", Fault(), Fault(), stall)
        body = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
        async with asyncio.timeout(5), world.house.post("/v1/audio/speech", body, world.tokens()) as response:
            await response.content.readany()
            await stall.reached.wait()
            drained = asyncio.create_task(world.house.service.drain())
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
            await drained


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "type_", "mark"),
    [
        ("wav", "audio/wav", b"RIFF"),
        ("flac", "audio/flac", b"fLaC"),
        ("opus", "audio/ogg", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("pcm", "audio/pcm", b"\x00\x00"),
    ],
)
async def test_other_formats(world: World, name: str, type_: str, mark: bytes) -> None:
    told = await world.speak("早上好", response_format=name)
    assert (told.status, told.type) == (200, type_)
    assert told.body.startswith(mark)
    if name == "pcm":
        assert len(told.body) / 48000 == pytest.approx(sounds.seconds("早上好"), abs=0.05)


async def test_other_formats_without_ffmpeg(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    told = await world.speak(TEXT, response_format="wav")
    assert told.status == 400
    assert "ffmpeg" in told.message
    spoken(await world.speak(TEXT))


# --- hearing ---------------------------------------------------------------------------------------------------


async def test_recorded_hearing(world: World) -> None:
    sound = sounds.sound("早上好")
    assert (await world.hear(sound)).value == {"text": "早上好"}
    assert world.kinds() == ["register", "hear"]
    assert sound in world.site.calls_of("hear")[0].body
    assert world.fields("hear") == [{"chatID": "0", "characterID": "1", "playSpeedLevel": "1"}]


async def test_hearing_as_a_stream(world: World) -> None:
    form = aiohttp.FormData({"stream": "true", "file": BytesIO(sounds.sound("早上好"))})
    headers = {"Authorization": f"Bearer {world.tokens()}"}
    async with world.house.client.post(
        f"{world.house.url}/v1/audio/transcriptions", data=form, headers=headers
    ) as told:
        assert told.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        events = (await told.read()).split(b"\n\n")
    assert [orjson.loads(event.removeprefix(b"data: ")) for event in events[:-1]] == [
        {"type": "transcript.text.delta", "delta": "早上好"},
        {"type": "transcript.text.done", "text": "早上好"},
    ]


@needs_ffmpeg
async def test_other_sounds_are_converted(world: World) -> None:
    assert (await world.hear(WAV)).value == {"text": DEFAULT_HEARD}
    assert b"RIFF" not in world.site.calls_of("hear")[0].body
    told = await world.hear(WAV, response_format="verbose_json")
    assert told.value["duration"] == pytest.approx(0.992, abs=0.1)


async def test_other_sounds_without_ffmpeg_are_sent_as_they_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert (await world.hear(WAV)).value == {"text": DEFAULT_HEARD}
    assert WAV in world.site.calls_of("hear")[0].body
    told = await world.hear(WAV, response_format="verbose_json")
    assert (told.status, "ffmpeg" in told.message) == (400, True)


UPLOADS: dict[str, tuple[bytes | None, dict[str, str], int]] = {
    "none": (None, {}, 400),
    "empty": (b"", {}, 400),
    "a text": (b"hello, I am no sound at all", {}, 400),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), {}, 400),
    "huge": (sounds.sound("好") + bytes(2**20), {}, 413),
    "srt": (sounds.sound("好"), {"response_format": "srt"}, 400),
    "a long field": (sounds.sound("好"), {"prompt": "x" * 70000}, 413),
}


@pytest.mark.parametrize(("data", "fields", "status"), UPLOADS.values(), ids=UPLOADS)
async def test_bad_uploads_cost_no_account(data: bytes | None, fields: dict[str, str], status: int) -> None:
    async with World.start(MAX_ATTACHMENT_MB="1") as world:
        told = await world.hear(data, **fields)
        assert told.status == status
        assert world.site.calls == []


@needs_ffmpeg
async def test_a_broken_sound(world: World) -> None:
    told = await world.hear(b"RIFF\x24\x1f\x00\x00WAVEoops" + bytes(50))
    assert told.status == 400
    assert world.site.calls == []


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FILE_PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n1\r\n'
TEXT_PART = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n1\r\n'


async def test_a_form_may_begin_with_a_line_end(world: World) -> None:
    file = FILE_PART.replace(b"\r\n1\r\n", b"\r\n" + sounds.sound("好") + b"\r\n")
    told = await upload_raw(world, b"\r\n" + file + b"--x--\r\n", FORM)
    assert told.value == {"text": "好"}


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=x", b"no form"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n1'),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"\n" * 2**20),
        ("multipart/form-data; boundary=x", b"\r\n\r\n" + FILE_PART + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--xyz\r\n" + b"\n" * 2**23),
        ("multipart/form-data; boundary=x", b"--x--\r\n" + FILE_PART + b"--x--\r\n"),
        ("multipart/form-data", b"--\n" + FILE_PART),
        ("multipart/form-data; boundary=" + "x" * 71, b"--" + b"x" * 71 + b"\r\n"),
        ("multipart/form-data; boundary*=utf-8''x", FILE_PART + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", FILE_PART.replace(b"file", b"_charset_", 1).replace(b"1", b"1" * 40)),
        ("multipart/form-data; boundary=x", FILE_PART * 1000 + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", TEXT_PART * 1000 + FILE_PART + b"--x--\r\n"),
        ("multipart/form-data; boundary=x; boundary=y", b"--z\r\n" + FILE_PART),
    ],
)
async def test_bodies_that_are_no_form(world: World, type_: str, body: bytes) -> None:
    told = await upload_raw(world, body, {"Content-Type": type_})
    assert (told.status, told.error["type"]) == (400, "invalid_request_error")


async def test_a_boundary_that_is_no_text(world: World) -> None:
    host, _, port = world.house.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {world.tokens()}\r\n".encode()
    form = (
        b"Content-Type: multipart/form-data; boundary=\xff\r\nContent-Length: 5\r\nConnection: close\r\n\r\n--\xff\r\n"
    )
    writer.write(head + form)
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_field_that_is_no_utf_8_costs_no_answer(world: World) -> None:
    sound = sounds.sound("好")
    file = FILE_PART.replace(b"\r\n1\r\n", b"\r\n" + sound + b"\r\n")
    told = await upload_raw(world, TEXT_PART.replace(b"\r\n1\r\n", b"\r\n\xff\r\n") + file + b"--x--\r\n", FORM)
    assert told.value == {"text": "好"}


async def test_a_form_counts_as_it_is_unpacked() -> None:
    form = FILE_PART + b"--x--\r\n"
    async with World.start(MAX_BODY_MB="1") as world:
        for body, encoding, status in (
            (gzip.compress(form + bytes(2**20)), "gzip", 413),
            (b"no gzip", "gzip", 400),
            (b"no deflate", "deflate", 400),
        ):
            told = await upload_raw(world, body, {**FORM, "Content-Encoding": encoding})
            assert told.status == status, encoding
        told = await upload_raw(world, pieces(form, bytes(2**20)), FORM)
        assert told.status == 413
        assert world.site.calls == []


async def test_a_large_sound_arrives_as_it_was_sent(world: World) -> None:
    sound = sounds.sound("好") + random.Random(1).randbytes(20 * 2**20)
    assert (await world.hear(sound)).status == 200
    assert sound in world.site.calls_of("hear")[0].body


async def upload_raw(world: World, body: Any, headers: Mapping[str, str]) -> Told:
    headers = {"Authorization": f"Bearer {world.tokens()}", "Connection": "close", **headers}
    url = f"{world.house.url}/v1/audio/transcriptions"
    data = BytesIO(body) if isinstance(body, bytes) else body
    async with asyncio.timeout(5), world.house.client.post(url, data=data, headers=headers) as response:
        return await read(response)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


HEARINGS: dict[str, tuple[Fault, int, str]] = {
    "nothing heard": (Events((("asr_chunk", {"status_code": 1200041, "err_message": ""}),)), 200, ""),
    "nothing heard, as a whole reply": (Reply({"status_code": 1200041, "err_message": "no"}), 200, ""),
    "any refusal": (Events((("error", {"status_code": 5, "err_message": "系统错误"}),)), 502, ""),
    "an expired login": (Events((("error", {"status_code": 5, "err_message": "请登录"}),)), 401, ""),
    "no events": (Events(()), 502, ""),
    "nothing yet": (
        Events(
            (
                ("heartbeat", b"event:heartbeat\ndata:\n\n"),
                ("asr_chunk", {"status_code": 0, "data": {}}),
                ("asr_chunk", {"status_code": 0, "data": {"text": "好"}}),
            )
        ),
        200,
        "好",
    ),
    "nothing ever": (Events((("asr_chunk", {"status_code": 0, "data": {}}),)), 502, ""),
    "only the spoken answer": (Events((("text_chunk", {"status_code": 0, "data": {"text": "x"}}),)), 502, ""),
    "a page": (html(200), 502, ""),
    "JSON": (Reply(EXPIRED), 401, ""),
    "split": (Split(size=1, gap=0), 200, "好"),
}


@pytest.mark.parametrize(("fault", "status", "text"), HEARINGS.values(), ids=HEARINGS)
async def test_hearings(fault: Fault, status: int, text: str) -> None:
    async with World.start(RETRIES="0") as world:
        world.site.script("hear", fault)
        told = await world.hear(sounds.sound("好"))
        assert told.status == status
        if status == 200:
            assert told.value == {"text": text}


async def test_unknown_events_of_speech_and_hearing_are_counted(world: World) -> None:
    scripted(world, ["0"], {"0": b"AAAA"})
    text = {"chatID": "$CHAT", "msgID": "$MESSAGE", "isEnd": 0, "content": TEXT}
    said = ("message_result", {"type": 2, "data": {"messageResult": text}, "statusInfo": OK})
    world.site.script("chat", Events((("new_of_speech", {"type": 11}), said)))
    words = ("asr_chunk", {"status_code": 0, "data": {"text": "好"}})
    world.site.script("hear", Events((("new_of_hearing", {"status_code": 0}), words)))
    assert (await world.speak(TEXT)).status == 200
    assert (await world.hear(sounds.sound("好"))).value == {"text": "好"}
    metrics = await world.scrape()
    for kind in ("new_of_speech", "new_of_hearing"):
        assert f'kind="{kind}"' in metrics


async def test_hearing_is_tried_again_and_fails_over(world: World) -> None:
    world.tokens("ann", "ben")
    world.site.script("hear", server_error(), Reply(EXPIRED))
    assert (await world.hear(sounds.sound("好"), "ann", "ben")).value == {"text": "好"}


async def test_the_call_is_left_when_the_words_are_there(world: World) -> None:
    body = b'event:asr_chunk\ndata:{"status_code":0,"data":{"text":"early"}}\n\n'
    events = Events((("asr_chunk", body), ("audio_chunk", {"status_code": 0})))
    world.site.script("hear", Together(events, Stall(after=len(body))))
    assert (await world.hear(sounds.sound("好"))).value == {"text": "early"}
    await world.settled()
