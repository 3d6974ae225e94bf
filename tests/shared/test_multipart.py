import re

import pytest
from aiohttp import MultipartReader
from aiohttp.streams import StreamReader
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream.multipart import Field, File, encode, make_boundary

UPLOAD = "--------------------------689024671031901061617401"
MESSAGE = "--------------------------41ffb6b8624470240bc52a62"

EXACT = [
    pytest.param(
        UPLOAD,
        [File("file", "report.pdf", "application/pdf", b"%PDF-1.4\r\n\x00\xff")],
        b"----------------------------689024671031901061617401\r\n"
        b'Content-Disposition: form-data; name="file"; filename="report.pdf"\r\n'
        b"Content-Type: application/pdf\r\n"
        b"\r\n"
        b"%PDF-1.4\r\n\x00\xff\r\n"
        b"----------------------------689024671031901061617401--\r\n",
        id="upload of a file",
    ),
    pytest.param(
        MESSAGE,
        [
            Field("characterID", "1"),
            Field("msgContent", "user:图里有什么？\nassistant:"),
            Field("chatID", "0"),
            Field("searchMode", "0"),
        ],
        (
            "----------------------------41ffb6b8624470240bc52a62\r\n"
            'Content-Disposition: form-data; name="characterID"\r\n\r\n1\r\n'
            "----------------------------41ffb6b8624470240bc52a62\r\n"
            'Content-Disposition: form-data; name="msgContent"\r\n\r\nuser:图里有什么？\nassistant:\r\n'
            "----------------------------41ffb6b8624470240bc52a62\r\n"
            'Content-Disposition: form-data; name="chatID"\r\n\r\n0\r\n'
            "----------------------------41ffb6b8624470240bc52a62\r\n"
            'Content-Disposition: form-data; name="searchMode"\r\n\r\n0\r\n'
            "----------------------------41ffb6b8624470240bc52a62--\r\n"
        ).encode(),
        id="text fields",
    ),
    pytest.param(
        MESSAGE,
        [Field("chatID", "0"), File("voiceBytes", "audio.mp3", "audio/mp3", b"ID3"), Field("playSpeedLevel", "1")],
        b"----------------------------41ffb6b8624470240bc52a62\r\n"
        b'Content-Disposition: form-data; name="chatID"\r\n\r\n0\r\n'
        b"----------------------------41ffb6b8624470240bc52a62\r\n"
        b'Content-Disposition: form-data; name="voiceBytes"; filename="audio.mp3"\r\n'
        b"Content-Type: audio/mp3\r\n\r\nID3\r\n"
        b"----------------------------41ffb6b8624470240bc52a62\r\n"
        b'Content-Disposition: form-data; name="playSpeedLevel"\r\n\r\n1\r\n'
        b"----------------------------41ffb6b8624470240bc52a62--\r\n",
        id="file between fields",
    ),
    pytest.param(
        "b",
        [File("file", "空.png", "image/png", b"")],
        '--b\r\nContent-Disposition: form-data; name="file"; filename="空.png"\r\n'
        "Content-Type: image/png\r\n\r\n\r\n--b--\r\n".encode(),
        id="empty file, name in UTF-8",
    ),
    pytest.param("b", [], b"--b--\r\n", id="no parts"),
    pytest.param(
        "b",
        [Field("t", "a\ud800b\ud83d\ude00")],
        '--b\r\nContent-Disposition: form-data; name="t"\r\n\r\na\ufffdb😀\r\n--b--\r\n'.encode(),
        id="lone surrogate",
    ),
]


@pytest.mark.parametrize(("boundary", "parts", "body"), EXACT)
def test_bytes_are_those_of_the_protocol(boundary: str, parts: list[Field | File], body: bytes) -> None:
    assert encode(parts, boundary) == (f"multipart/form-data; boundary={boundary}", body)


def test_a_boundary_is_26_dashes_and_24_hex_digits_anew_each_time() -> None:
    assert re.fullmatch(r"-{26}[0-9a-f]{24}", make_boundary())
    assert make_boundary() != make_boundary()
    content_type, body = encode([Field("a", "b")])
    assert body.startswith(b"--" + content_type.partition("boundary=")[2].encode() + b"\r\n")


NASTY = st.text(st.sampled_from('ab"\r\n\0;\\:文é\ud800'), max_size=20)


@given(name=NASTY, filename=NASTY, type_=NASTY)
def test_no_name_ends_its_header(name: str, filename: str, type_: str) -> None:
    _, body = encode([File(name, filename, type_, b"x")], "b")
    lines = body.split(b"\r\n")
    assert len(lines) == 7
    assert lines[1].count(b'"') == 4
    assert b"\n" not in b"".join(lines)


@given(
    st.lists(
        st.builds(Field, st.text("abc", min_size=1), st.text())
        | st.builds(File, st.just("file"), st.text("xyz.", min_size=1), st.just("image/png"), st.binary()),
        max_size=4,
    )
)
async def test_a_reader_reads_back_what_was_written(parts: list[Field | File]) -> None:
    content_type, body = encode(parts)
    if not parts:
        return
    stream = StreamReader(_Protocol(), 2**16)  # type: ignore[arg-type]
    stream.feed_data(body)
    stream.feed_eof()
    reader = MultipartReader({"Content-Type": content_type}, stream)
    for part in parts:
        read = await reader.next()
        assert read is not None
        assert read.name == part.name  # type: ignore[union-attr]
        data = part.value.encode() if isinstance(part, Field) else part.data
        assert await read.read() == data  # type: ignore[union-attr]
    assert await reader.next() is None


class _Protocol:
    _reading_paused = False

    def pause_reading(self) -> None: ...

    def resume_reading(self, **_: object) -> None: ...
