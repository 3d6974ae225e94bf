"""MPEG audio layer III, as far as joining and measuring needs it. Pure; slow for large files: for an executor.

An mp3 is frames in a row, each with its own header (ISO/IEC 11172-3, 13818-3). Around and before them stand tags,
and a first frame may only say how long the file is: in the middle of a joined file all of these are wrong.
"""

from collections.abc import Iterator

from attrs import frozen

_BITRATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by index, for MPEG 1 and for MPEG 2 and 2.5. Index 0 means a rate that is not told: nobody uses it."""
_RATES = {0b11: (44100, 48000, 32000), 0b10: (22050, 24000, 16000), 0b00: (11025, 12000, 8000)}
"""Samples per second by version (MPEG 1, 2, 2.5) and index."""
_HEAD = 4
_LAYER_3 = 0b01
_MONO = 0b11
_MPEG_1 = 0b11
_VBRI_AT = 36
"""Bytes from the beginning of a frame to its VBRI mark."""
_SEARCHED = 64 * 1024
"""Bytes in which a first frame is looked for."""
_JUNK = 256 * 1024
"""Bytes in one file that are no frames, after which nothing more is looked for: it takes long."""
_ROW = 3
"""Frames in a row that are believed to be frames; fewer at the end of a file."""
_ID3V1 = 128
_ID3_HEAD = 10
_ID3_FOOTER = 0x10


@frozen
class Frame:
    """One frame: `size` in bytes, `seconds` it lasts; `side` is the length of head and side information."""

    size: int
    seconds: float
    side: int


def frame_at(data: bytes, at: int) -> Frame | None:
    """Read the frame head at a place; None when there is none."""
    if at + _HEAD > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    bitrate, rate, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version not in _RATES or layer != _LAYER_3 or bitrate in (0, 15) or rate == 3:
        return None
    first = version == _MPEG_1
    mono = data[at + 3] >> 6 == _MONO
    samples, hertz = (1152 if first else 576), _RATES[version][rate]
    side = (17 if mono else 32) if first else (9 if mono else 17)
    size = samples // 8 * _BITRATES[first][bitrate] * 1000 // hertz + padding
    return Frame(size, samples / hertz, _HEAD + side)


def bare(part: bytes) -> bytes:
    """Give a file without its tags and without a first frame that tells its length: what can be joined."""
    start, end = _after_tags(part), len(part)
    if part[-_ID3V1:].startswith(b"TAG"):
        end -= _ID3V1
    first = frame_at(part, start)
    if first is not None and _is_info(part, start, first):
        start += first.size
    return part[start:end]


def seconds(data: bytes) -> float | None:
    """Measure how long a file plays; None when it is no mp3."""
    total = sum(frame.seconds for frame in _frames(data))
    return total or None


def is_mp3(data: bytes) -> bool:
    """Tell whether a file begins with frames, after its tags."""
    return _first(data) is not None


def _frames(data: bytes) -> Iterator[Frame]:
    """Walk over the frames that sound; what is none of them is skipped, up to a limit."""
    at = _first(data)
    if at is not None and (frame := frame_at(data, at)) and _is_info(data, at, frame):
        at += frame.size
    junk = _JUNK
    while at is not None and at < len(data):
        frame = frame_at(data, at)
        if frame is not None:
            yield frame
            at += frame.size
        else:
            found = _next(data, at + 1, min(len(data), at + junk))
            junk -= 0 if found is None else found - at
            at = found


def _first(data: bytes) -> int | None:
    start = _after_tags(data)
    return _next(data, start, min(len(data), start + _SEARCHED))


def _next(data: bytes, start: int, end: int) -> int | None:
    """Find the next frame that is the first of some in a row: a head alone may stand in any data by chance."""
    at = data.find(b"\xff", start, end)
    while at >= 0:
        if _in_a_row(data, at):
            return at
        at = data.find(b"\xff", at + 1, end)
    return None


def _in_a_row(data: bytes, at: int) -> bool:
    for _ in range(_ROW):
        frame = frame_at(data, at)
        if frame is None:
            return False
        at += frame.size
        if at == len(data) or data.startswith(b"TAG", at):
            return True
    return True


def _after_tags(data: bytes) -> int:
    """Tell where the ID3v2 tags end. What would leave nothing after it only looks like one."""
    at = 0
    while (length := _tag_length(data, at)) and at + length < len(data):
        at += length
    return at


def _tag_length(data: bytes, at: int) -> int:
    """Read how long the ID3v2 tag at a place is, in four times seven bits; 0 when there is none."""
    if data[at : at + 3] != b"ID3" or len(data) < at + _ID3_HEAD:
        return 0
    length = 0
    for byte in data[at + 6 : at + _ID3_HEAD]:
        length = length << 7 | byte & 0x7F
    return _ID3_HEAD + length + (_ID3_HEAD if data[at + 5] & _ID3_FOOTER else 0)


def _is_info(data: bytes, at: int, frame: Frame) -> bool:
    mark = data[at + frame.side : at + frame.side + 4]
    return mark in (b"Xing", b"Info") or data[at + _VBRI_AT : at + _VBRI_AT + 4] == b"VBRI"
