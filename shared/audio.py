"""Sound files: what kind they are, by their bytes; other kinds by `ffmpeg`, when that is on the PATH."""

import asyncio
import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from shared import mp3
from shared.openai.errors import BadRequest

CONVERSION_TIMEOUT = 120.0
"""Seconds for one conversion."""
CONVERSIONS = 2
"""Conversions at the same time in one service."""
ROOM = 64 * 1024
"""Bytes that must be left on the disk after a conversion, which else may have ended short."""
_ENDED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
"""The exit codes of what somebody else has ended; by other signals a program ends itself."""
RESULT_LIMIT = 256 * 1024 * 1024
"""Bytes after which a conversion ends: a small file may hold hours of silence."""


@frozen
class Format:
    """A form of speech a client may ask for: its media type, and how ffmpeg is asked for it."""

    type: str
    arguments: tuple[str, ...]


FORMATS: Mapping[str, Format] = {
    "mp3": Format("audio/mpeg", ("-f", "mp3")),
    "opus": Format("audio/ogg", ("-c:a", "libopus", "-f", "ogg")),
    "aac": Format("audio/aac", ("-f", "adts")),
    "flac": Format("audio/flac", ("-f", "flac")),
    "wav": Format("audio/wav", ("-f", "wav")),
    "pcm": Format("audio/pcm", ("-f", "s16le", "-ar", "24000", "-ac", "1")),
}
"""OpenAI's formats; `pcm` is 16 bit, little-endian, 24 kHz, mono, as there."""

_TO_MP3 = ("-ar", "44100", "-ac", "2", "-b:a", "192k", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3")
"""What the sites' own clients record."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (8, b"WAVE", "wav"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (4, b"ftyp", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"#!AMR", "amr"),
    (8, b"AIFF", "aiff"),
    (8, b"AIFC", "aiff"),
    (0, b"caff", "caf"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)
"""Where which bytes stand in a file, and ffmpeg's name for its kind."""


@frozen
class Sound:
    """A sound to be heard by a site. `seconds` is how long it plays, None where that cannot be told."""

    data: bytes = field(repr=False)
    seconds: float | None


def check_format(name: str) -> None:
    """Raise `BadRequest` for a speech format that cannot be given."""
    if name not in FORMATS:
        raise BadRequest(f"`response_format` must be one of {'/'.join(FORMATS)}.", "response_format")
    if name != "mp3" and _ffmpeg() is None:
        raise BadRequest(
            f"`response_format` {name} needs ffmpeg, which this service does not have: ask for mp3.", "response_format"
        )


def kind_of(data: bytes) -> str:
    """Tell the kind of a sound file by its bytes, in ffmpeg's words; empty when it is none."""
    for at, mark, kind in _SIGNATURES:
        if data.startswith(mark, at):
            return kind
    if data[:1] == b"\xff" and len(data) > 1 and data[1] & 0xF6 == 0xF0:
        return "aac"
    return "mp3" if mp3.is_mp3(data) else ""


async def to_mp3(data: bytes) -> Sound:
    """Give an upload as mp3: one that is mp3 as it is, any other converted, or as it is where there is no ffmpeg.

    Raise `BadRequest` when it is no sound, or cannot be read as one.
    """
    kind = await asyncio.to_thread(kind_of, data)
    if not kind:
        raise BadRequest("`file` is not audio: send mp3, wav, m4a, ogg, flac or webm.", "file")
    if kind != "mp3":
        if _ffmpeg() is None:
            return Sound(data, None)
        data = await _convert(data, kind, _TO_MP3)
        if not data:
            raise BadRequest("`file` cannot be read as audio: it is broken, or has no sound in it.", "file")
    return Sound(data, await asyncio.to_thread(mp3.seconds, data))


async def from_mp3(data: bytes, name: str) -> bytes:
    """Give an mp3 in another of the `FORMATS`."""
    return data if name == "mp3" else await _convert(data, "mp3", FORMATS[name].arguments)


def _ffmpeg() -> str | None:
    return shutil.which("ffmpeg")


async def _convert(data: bytes, kind: str, arguments: Sequence[str]) -> bytes:
    """Run ffmpeg; give what it wrote, empty when it refused. Files, since some kinds are read from their end.

    Raise `OSError` where there is no room for them.
    """
    folder = await asyncio.to_thread(tempfile.mkdtemp)
    source, target = Path(folder, "source"), Path(folder, "target")
    try:
        await asyncio.to_thread(source.write_bytes, data)
        # The kind is forced and only files may be opened: a file of a client must not name others to be read.
        command = [
            *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1"),
            *("-protocol_whitelist", "file", "-f", kind, "-i", str(source)),
            *("-map", "0:a:0", "-map_metadata", "-1", "-fs", str(RESULT_LIMIT), *arguments, "-y", str(target)),
        ]
        done = await _run(command)
        if shutil.disk_usage(folder).free < ROOM:
            # Some of ffmpeg's formats end short, and say nothing.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not done:
            return b""
        return await asyncio.to_thread(target.read_bytes)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _run(command: Sequence[str]) -> bool:
    """Run a program; tell whether it succeeded in time. It does not outlive who waits for it.

    Raise `RuntimeError` when somebody else ended it: that says nothing of what it was given.
    """
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
        env={"PATH": os.environ.get("PATH", "")},
        # A Ctrl-C is for the service, which lets what runs come to its end.
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(CONVERSION_TIMEOUT):
            code = await process.wait()
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code in _ENDED:
        raise RuntimeError(f"{command[0]} was ended by signal {-code}")
    return code == 0
