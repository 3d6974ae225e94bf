"""Small mp3 files made by hand: silent frames, whose unused bytes hold the words that are spoken."""

import re
from collections.abc import Sequence

HEAD = b"\xff\xfb\x58\xc0"
"""MPEG 1 layer III, 64 kbit/s, 32 kHz, mono, without checksum."""
SIDE = 17
SIZE = 144 * 64000 // 32000
SECONDS = 1152 / 32000
FRAMES_PER_LETTER = 5
LETTERS_PER_PART = 12
TAG = b"ID3\x04\x00\x00\x00\x00\x00\x14" + b"TSSE\x00\x00\x00\x0a\x00\x00\x03simulator"
_SPOKEN = re.compile(rb"SPOKEN:([^\x00]*)\x00")


def frame(content: bytes = b"") -> bytes:
    """Give one frame; side information of zeros makes it silent, whatever follows."""
    return (HEAD + bytes(SIDE) + content).ljust(SIZE, b"\x00")


def sound(text: str) -> bytes:
    """Give a whole file that speaks a text: a tag, a frame that tells the length, frames, and an old tag."""
    words = frame(b"SPOKEN:" + text.encode() + b"\x00")
    silence = frame() * (len(text) * FRAMES_PER_LETTER - 1)
    info = frame(b"Info" + bytes(3) + b"\x01" + (len(text) * FRAMES_PER_LETTER).to_bytes(4, "big"))
    return TAG + info + words + silence + b"TAG".ljust(128, b" ")


def parts(text: str) -> Sequence[str]:
    """Give the pieces in which a text is spoken."""
    return [text[at : at + LETTERS_PER_PART] for at in range(0, len(text), LETTERS_PER_PART)]


def seconds(text: str) -> float:
    """Give how long a text is spoken."""
    return len(text) * FRAMES_PER_LETTER * SECONDS


def heard(data: bytes) -> str | None:
    """Give the words spoken in a file; None when none of ours were."""
    found = _SPOKEN.findall(data)
    return b"".join(found).decode() if found else None
