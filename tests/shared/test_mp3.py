import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mp3 import bare, frame_at, is_mp3, seconds
from tests.simulators import hailuo_sounds as sounds

FRAME = sounds.frame()
TAG = sounds.TAG
FOOTED = b"ID3\x04\x00\x10\x00\x00\x00\x05hello3DI\x04\x00\x10\x00\x00\x00\x05"
OLD = b"TAG" + b" " * 125

HEADS = {
    "ff fb 90 00": (417, 1152 / 44100, 36),
    "ff fb 92 00": (418, 1152 / 44100, 36),
    "ff fb 54 c0": (192, 1152 / 48000, 21),
    "ff fb 58 c0": (288, 1152 / 32000, 21),
    "ff fa e8 00": (1440, 1152 / 32000, 36),
    "ff f3 84 c4": (192, 576 / 24000, 13),
    "ff f3 40 00": (104, 576 / 22050, 21),
    "ff e3 18 c0": (72, 576 / 8000, 13),
}


@pytest.mark.parametrize(("head", "wanted"), HEADS.items())
def test_heads(head: str, wanted: tuple[int, float, int]) -> None:
    frame = frame_at(b"?" + bytes.fromhex(head), 1)
    assert frame is not None
    assert (frame.size, frame.seconds, frame.side) == wanted


@pytest.mark.parametrize(
    "head", ["", "ff fb 90", "ff fb 00 00", "ff fb f0 00", "ff fb 9c 00", "ff fd 90 00", "ff eb 90 00", "fe fb 90 00"]
)
def test_no_heads(head: str) -> None:
    assert frame_at(bytes.fromhex(head), 0) is None


def info(mark: bytes, at: int) -> bytes:
    frame = bytearray(FRAME)
    frame[at : at + 4] = mark
    return bytes(frame)


PARTS = {
    "bare": FRAME * 3,
    "tagged": TAG + FRAME * 3,
    "tagged twice": TAG + FOOTED + FRAME * 3,
    "an old tag": FRAME * 3 + OLD,
    "Xing": info(b"Xing", 21) + FRAME * 3,
    "Info": TAG + info(b"Info", 21) + FRAME * 3 + OLD,
    "VBRI": info(b"VBRI", 36) + FRAME * 3,
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_bare(part: bytes) -> None:
    assert bare(part) == FRAME * 3
    assert is_mp3(part)
    assert seconds(part) == pytest.approx(3 * sounds.SECONDS)


@pytest.mark.parametrize("data", [b"", b"AAAA", b"BB", b"ID3", b"\xff", FRAME[:100]])
def test_what_is_no_mp3_stays_as_it_is(data: bytes) -> None:
    assert bare(data) == data
    assert seconds(data) is None


@pytest.mark.parametrize("length", [b"\x7f\x7f\x7f\x7f", b"\x00\x00\x06\x60"], ids=["past the end", "to the end"])
def test_a_tag_that_leaves_nothing_is_none(length: bytes) -> None:
    lie = b"ID3\x04\x00\x00" + length + FRAME * 3
    assert bare(lie) == lie
    assert bare(TAG + lie) == lie
    assert seconds(lie) == pytest.approx(3 * sounds.SECONDS)


def test_junk_is_skipped() -> None:
    assert seconds(b"junk\xff\xfb" + FRAME * 3 + b"\xff junk" + FRAME * 4) == pytest.approx(7 * sounds.SECONDS)


@given(st.binary(max_size=2000))
def test_anything_can_be_looked_at(data: bytes) -> None:
    bare(data)
    seconds(data)


def test_other_data_is_not_taken_for_sound() -> None:
    chance = random.Random(5)
    assert not any(is_mp3(chance.randbytes(66_000)) for _ in range(100))
