import asyncio
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared import audio
from shared.openai.errors import BadRequest
from tests.simulators import hailuo_sounds as sounds

SOUND = sounds.sound("一二三四")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on the PATH")

KINDS = {
    b"RIFF\x00\x00\x00\x00WAVEfmt ": "wav",
    b"fLaC\x00": "flac",
    b"OggS\x00": "ogg",
    b"\x00\x00\x00\x20ftypM4A ": "mov",
    b"\x1a\x45\xdf\xa3\x9f": "matroska",
    b"#!AMR\n": "amr",
    b"FORM\x00\x00\x00\x00AIFF": "aiff",
    b"caff\x00\x01": "caf",
    b"\xff\xf1\x50\x80": "aac",
    b"\xff\xf9\x50\x80": "aac",
    SOUND: "mp3",
    sounds.frame() * 2: "mp3",
    b"": "",
    b"\xff": "",
    b"hello": "",
    b"RIFF\x00\x00\x00\x00WEBPVP8 ": "",
    b"#EXTM3U\nfile:///etc/passwd\n": "",
    b"ffconcat version 1.0\nfile '/etc/passwd'\n": "",
    "\ufeffhello".encode("utf-16-le"): "",
}


@pytest.mark.parametrize(("data", "kind"), KINDS.items())
def test_kinds(data: bytes, kind: str) -> None:
    assert audio.kind_of(data) == kind


async def test_mp3_stays_as_it_is() -> None:
    found = await audio.to_mp3(SOUND)
    assert found.data is SOUND
    assert found.seconds == pytest.approx(sounds.seconds("一二三四"))


async def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(BadRequest, match="not audio"):
        await audio.to_mp3(b"hello")


@needs_ffmpeg
@pytest.mark.parametrize("name", [name for name in audio.FORMATS if name not in ("mp3", "pcm")])
async def test_there_and_back(name: str) -> None:
    other = await audio.from_mp3(SOUND, name)
    assert audio.kind_of(other) == {"opus": "ogg"}.get(name, name)
    back = await audio.to_mp3(other)
    assert audio.kind_of(back.data) == "mp3"
    assert back.seconds == pytest.approx(sounds.seconds("一二三四"), abs=0.12)


@needs_ffmpeg
@pytest.mark.parametrize("data", [b"OggSoops", b"\x00\x00\x00\x20ftypM4A oops", b"fLaC" + bytes(100)])
async def test_broken_sounds(data: bytes) -> None:
    with pytest.raises(BadRequest, match="broken"):
        await audio.to_mp3(data)


async def test_without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = await audio.to_mp3(b"fLaC" + bytes(100))
    assert (found.data, found.seconds) == (b"fLaC" + bytes(100), None)
    audio.check_format("mp3")
    with pytest.raises(BadRequest, match="ffmpeg"):
        audio.check_format("wav")


def test_an_unknown_format_is_told_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="mp3/opus/aac/flac/wav/pcm"):
        audio.check_format("midi")


@pytest.fixture
def slow_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that ends by being ended: to wait for it takes longer than a test may."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 3600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


async def test_a_slow_conversion_is_given_up(slow_ffmpeg: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "CONVERSION_TIMEOUT", 0.05)
    assert await audio.from_mp3(SOUND, "wav") == b""


async def test_a_conversion_that_somebody_ends_says_nothing_of_the_sound(
    slow_ffmpeg: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(RuntimeError, match="ended by signal 9"):
        await audio.to_mp3(b"fLaC" + bytes(100))


async def test_a_conversion_is_in_a_session_of_its_own(slow_ffmpeg: None, tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\nps -o sid= -p $$ > {tmp_path}/session\nexit 1\n")
    assert await audio.from_mp3(SOUND, "wav") == b""
    assert int((tmp_path / "session").read_text()) != os.getsid(0)


async def test_a_sound_there_is_no_room_for(slow_ffmpeg: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=audio.ROOM - 1))
    # It may say that all went well.
    for convert in (audio.to_mp3(b"fLaC" + bytes(100)), audio.from_mp3(SOUND, "wav")):
        with pytest.raises(OSError, match="No space left"):
            await convert


@pytest.mark.parametrize("number", [6, 11])
async def test_a_sound_that_ffmpeg_dies_of_is_broken(slow_ffmpeg: None, tmp_path: Path, number: int) -> None:
    (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\nkill -{number} $$\n")
    with pytest.raises(BadRequest, match="broken"):
        await audio.to_mp3(b"fLaC" + bytes(100))


async def test_nothing_runs_on_when_nobody_waits(slow_ffmpeg: None) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await audio.from_mp3(SOUND, "wav")
