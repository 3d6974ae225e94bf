"""Server-sent events, however their bytes arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UpstreamChanged
from shared.upstream.sse import FRAME_LIMIT, SseFrame, SseFramer

CASES: dict[str, tuple[bytes, list[SseFrame]]] = {
    "one": (b"data: a\n\n", [SseFrame("", b"a")]),
    "no space": (b"data:a\n\n", [SseFrame("", b"a")]),
    "two spaces": (b"data:  a\n\n", [SseFrame("", b" a")]),
    "named": (b"event: x\ndata: a\n\n", [SseFrame("x", b"a")]),
    "named after": (b"data: a\nevent: x\n\n", [SseFrame("x", b"a")]),
    "name does not last": (b"event: x\ndata: a\n\ndata: b\n\n", [SseFrame("x", b"a"), SseFrame("", b"b")]),
    "several lines": (b"data: a\ndata\ndata: b\n\n", [SseFrame("", b"a\n\nb")]),
    "no data": (b"event: x\n\nid: 1\n\ndata: a\n\n", [SseFrame("", b"a")]),
    "dropped fields": (b"id: 1\nretry: 5\nother: x\ndata: a\n\n", [SseFrame("", b"a")]),
    "comments": (b": ping\n\n:\n\n: x\ndata: a\n\n", [SseFrame("", b"a")]),
    "comment only": (b": ping\n\n", []),
    "colon in data": (b'data: {"a":"b: c"}\n\n', [SseFrame("", b'{"a":"b: c"}')]),
    "CRLF": (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [SseFrame("x", b"a"), SseFrame("", b"b")]),
    "CR": (b"data: a\r\rdata: b\r\r", [SseFrame("", b"a"), SseFrame("", b"b")]),
    "mixed": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\r\n", [SseFrame("", x) for x in (b"a", b"b", b"c")]),
    "BOM": (b"\xef\xbb\xbfdata: a\n\n", [SseFrame("", b"a")]),
    "BOM later": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [SseFrame("", b"a")]),
    "BOM and CRLF": (b"\xef\xbb\xbf\r\ndata: a\r\n\r\n", [SseFrame("", b"a")]),
    "space or none": (
        b"data:a\n\ndata: b\n\ndata:  c\n\ndata:d\n\n",
        [SseFrame("", x) for x in (b"a", b"b", b" c", b"d")],
    ),
    "alike, then more": (
        b"event:x\ndata:a\n\nevent:x\ndata:b\n\nevent:x\ndata:c\ndata:d\n\nevent:xy\ndata:\n\n",
        [SseFrame("x", b"a"), SseFrame("x", b"b"), SseFrame("x", b"c\nd"), SseFrame("xy", b"")],
    ),
    "alike, another between": (
        b"data: a\n\ndata: b\nid: 1\n\ndata: c\n\ndata: d\n\n",
        [SseFrame("", x) for x in (b"a", b"b", b"c", b"d")],
    ),
    "alike but for a name": (
        b"data: a\n\nevent: x\ndata: b\n\n",
        [SseFrame("", b"a"), SseFrame("x", b"b")],
    ),
    "alike but for a second line": (b"data: a\n\ndata: b\ndata: c\n\n", [SseFrame("", b"a"), SseFrame("", b"b\nc")]),
    "many alike": (b"data: a\n\n" * 99, [SseFrame("", b"a")] * 99),
    "a name after, alike": (b"data: a\nevent: x\n\ndata: b\n\n", [SseFrame("x", b"a"), SseFrame("", b"b")]),
    "blank lines": (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [SseFrame("", b"a"), SseFrame("", b"b")]),
    "UTF-8": ("data: 你😀\n\n".encode(), [SseFrame("", "你😀".encode())]),
    "not UTF-8": (b"event: \xff\ndata: \xff\n\n", [SseFrame("\ufffd", b"\xff")]),
    "left over": (b"data: a\n\nevent: e\ndata: b", [SseFrame("", b"a"), SseFrame("e", b"b", whole=False)]),
    "left over, line ended": (b"data: b\n", [SseFrame("", b"b", whole=False)]),
    "left over, CRLF": (b"data: b\r\n", [SseFrame("", b"b", whole=False)]),
    "left over, a name": (b"data: a\n\nevent: e\n", [SseFrame("", b"a"), SseFrame("e", b"", whole=False)]),
    "left over, half a name": (b"data: a\n\nevent: e", [SseFrame("", b"a"), SseFrame("e", b"", whole=False)]),
    "left over, half a word": (b"data: a\n\nda", [SseFrame("", b"a"), SseFrame("", b"", whole=False)]),
    "left over, a number": (b"data: a\n\nid: 7\n", [SseFrame("", b"a")]),
    "left over, half a number": (b"data: a\n\nid: 7", [SseFrame("", b"a"), SseFrame("", b"", whole=False)]),
    "left over, a comment": (b"data: a\n\n: ping", [SseFrame("", b"a")]),
    "half a BOM": (b"\xef\xbb", [SseFrame("", b"", whole=False)]),
    "empty": (b"", []),
}

LINES = (b"data: a", b"data:b", b"data:", b"data:  c", b"data", b"event: x", b"event:y", b"id: 1", b": ping")


def framed(*parts: bytes) -> list[SseFrame]:
    framer = SseFramer()
    frames = [frame for part in parts for frame in framer.feed(part)]
    return frames + framer.end()


@pytest.mark.parametrize(("body", "wanted"), CASES.values(), ids=CASES.keys())
def test_events_whole_bytewise_and_at_every_split(body: bytes, wanted: list[SseFrame]) -> None:
    assert framed(body) == wanted
    assert framed(*(bytes([byte]) for byte in body)) == wanted
    assert framed(*body.splitlines(keepends=True)) == wanted
    for at in range(len(body) + 1):
        assert framed(body[:at], body[at:]) == wanted, at
        assert framed(body[:at], b"", body[at:]) == wanted, at


@given(
    st.lists(
        st.sampled_from([b"data: ", b"a", b"\n", b"\r", b"\r\n", b"event:e", b":", b"\xef\xbb\xbf", "é".encode()])
    ),
    st.data(),
)
def test_any_split_gives_the_same_frames(pieces: list[bytes], data: st.DataObject) -> None:
    body = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    parts = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert framed(*parts) == framed(body)


@given(st.lists(st.lists(st.sampled_from(LINES), max_size=4), max_size=6), st.data())
def test_events_are_read_each_for_itself(events: list[list[bytes]], data: st.DataObject) -> None:
    bodies = [b"".join(b"%b\n" % line for line in (*lines, b"")) for lines in events]
    body = b"".join(bodies)
    cut = data.draw(st.integers(0, len(body)))
    assert framed(body[:cut], body[cut:]) == [frame for body in bodies for frame in framed(body)]


@pytest.mark.parametrize("second", [b"data: b\n\n", b"data:\n\n", b"data: \n\n", b"data:   b\n\n"])
@pytest.mark.parametrize("first", [b"data:a\n\n", b"data: a\n\n"])
def test_events_that_come_one_at_a_time(first: bytes, second: bytes) -> None:
    assert framed(first, second, second, first) == framed(first + second + second + first)


def test_frames_come_as_soon_as_they_are_closed() -> None:
    framer = SseFramer()
    assert framer.feed(b"data: a\n") == []
    assert framer.feed(b"\ndata: b") == [SseFrame("", b"a")]
    assert framer.feed(b"\r\n\r") == [SseFrame("", b"b")]
    assert framer.feed(b"\ndata: c\r\r") == [SseFrame("", b"c")]


def test_a_huge_event_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    plain = SseFramer._lines

    def counted(self: SseFramer, source: bytes, frames: list[SseFrame]) -> int:
        nonlocal looked
        looked += len(source)
        return plain(self, source, frames)

    monkeypatch.setattr(SseFramer, "_lines", counted)
    body = b"data: " + b"x" * (10 * 1024 * 1024) + b"\n\n"
    parts = [body[at : at + 4096] for at in range(0, len(body), 4096)]
    [frame] = framed(*parts)
    assert len(frame.data) == 10 * 1024 * 1024
    # Each piece when it comes, and the whole line once more when its end has come.
    assert looked <= 2 * len(body) + len(parts)


def test_one_read_of_more_than_16_mib_means_that_the_site_changed() -> None:
    with pytest.raises(UpstreamChanged):
        framed(b"data: a\n\n", b"data: " + b"x" * (FRAME_LIMIT + 1) + b"\n\n")


@pytest.mark.parametrize("size", [1024 * 1024, 64 * 1024 * 1024])
def test_an_event_of_more_than_16_mib_means_that_the_site_changed(size: int) -> None:
    body = b"data: a\n\ndata: " + b"x" * (FRAME_LIMIT + 1) + b"\n\n"
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    with pytest.raises(UpstreamChanged):
        framed(*parts)


def test_many_events_may_be_more_than_16_mib() -> None:
    part = (b"data: " + b"x" * 1024 + b"\n\n") * 1024
    framer = SseFramer()
    assert sum(len(framer.feed(part)) for _ in range(20)) == 20 * 1024
