"""Connect frames, however their bytes arrive."""

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UpstreamChanged
from shared.upstream.connect import FRAME_LIMIT, ConnectFrame, ConnectFramer, frame

VECTORS = [
    (
        '{"chatId":"1","messageInfo":{"text":"user:hi\\nassistant:"}}',
        "00 00 00 00 3b 7b 22 63 68 61 74 49 64 22 3a 22 31 22 2c 22 6d 65 73 73 61 67 65 49 6e 66 6f 22 3a 7b 22 74 "
        "65 78 74 22 3a 22 75 73 65 72 3a 68 69 5c 6e 61 73 73 69 73 74 61 6e 74 3a 22 7d 7d",
    ),
    (
        '{"textEvent":{"text":"你好"}}',
        "00 00 00 00 1f 7b 22 74 65 78 74 45 76 65 6e 74 22 3a 7b 22 74 65 78 74 22 3a 22 e4 bd a0 e5 a5 bd 22 7d 7d",
    ),
    (
        '{"chatId":"154303117894709248","messageInfo":{"text":"system:以上为历史消息，关注以下用户消息\\n'
        'user:你是谁？\\nassistant:"}}',
        "00 00 00 00 8f 7b 22 63 68 61 74 49 64 22 3a 22 31 35 34 "
        + '303117894709248","messageInfo":{"text":"system:以上为历史消息，关注以下用户消息\\n'
        'user:你是谁？\\nassistant:"}}'.encode().hex(" "),
    ),
    ('{"doneEvent":{}}', "00 00 00 00 10 7b 22 64 6f 6e 65 45 76 65 6e 74 22 3a 7b 7d 7d"),
]
ENDS = [
    ("02 00 00 00 02 7b 7d", b"{}"),
    (
        "02 00 00 00 3d " + b'{"error":{"code":"resource_exhausted","message":"slow down"}}'.hex(" "),
        b'{"error":{"code":"resource_exhausted","message":"slow down"}}',
    ),
]


def raw(flags: int, payload: bytes) -> bytes:
    return struct.pack(">BI", flags, len(payload)) + payload


def split(pieces: list[bytes]) -> list[ConnectFrame]:
    framer = ConnectFramer()
    out = [one for piece in pieces for one in framer.feed(piece)]
    return out + framer.end()


@pytest.mark.parametrize(("payload", "wire"), VECTORS)
def test_the_vectors_both_ways(payload: str, wire: str) -> None:
    data = bytes.fromhex(wire)
    assert frame(payload.encode()) == data
    assert ConnectFramer().feed(data) == [ConnectFrame(False, payload.encode())]


@pytest.mark.parametrize(("wire", "payload"), ENDS)
def test_the_end_of_a_stream(wire: str, payload: bytes) -> None:
    assert ConnectFramer().feed(bytes.fromhex(wire)) == [ConnectFrame(True, payload)]


BODY = b"".join(
    [
        *(bytes.fromhex(wire) for _, wire in VECTORS),
        raw(0x01, gzip.compress('{"textEvent":{"text":"压"}}'.encode())),
        raw(0x00, b""),
        raw(0x01, b""),
        raw(0x84, b"{}"),
        raw(0x03, gzip.compress(b"{}")),
    ]
)
FRAMES = [
    *(ConnectFrame(False, payload.encode()) for payload, _ in VECTORS),
    ConnectFrame(False, '{"textEvent":{"text":"压"}}'.encode()),
    ConnectFrame(False, b""),
    ConnectFrame(False, b""),
    ConnectFrame(False, b"{}"),
    ConnectFrame(True, b"{}"),
]


def test_every_split() -> None:
    assert split([BODY]) == FRAMES
    assert split([bytes([byte]) for byte in BODY]) == FRAMES
    for at in range(len(BODY) + 1):
        assert split([BODY[:at], BODY[at:]]) == FRAMES
        assert split([BODY[:at], b"", BODY[at : at + 3], BODY[at + 3 :]]) == FRAMES


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 20])
def test_a_frame_that_is_not_whole(cut: int) -> None:
    body = raw(0x00, b"{}") + raw(0x02, b'{"error":{"code":"internal"}}')
    wanted = [ConnectFrame(False, b"{}"), ConnectFrame(True, body[12 : 7 + cut], whole=False)]
    for at in range(7 + cut + 1):
        assert split([body[:at], body[at : 7 + cut]]) == wanted


def test_nothing_is_left_twice() -> None:
    framer = ConnectFramer()
    assert framer.feed(b"\x00\x00") == []
    assert framer.end() == [ConnectFrame(False, b"", whole=False)]
    assert framer.end() == []


def test_a_frame_of_the_limit_is_taken_in_pieces() -> None:
    body = raw(0x00, bytes(FRAME_LIMIT))
    framer = ConnectFramer()
    out = [one for at in range(0, len(body), 2**16) for one in framer.feed(body[at : at + 2**16])]
    assert out == [ConnectFrame(False, bytes(FRAME_LIMIT))]


BROKEN = [
    b"\x00\x01\x00\x00\x01",
    b"Bad gateway",
    raw(0x01, b"no gzip"),
    raw(0x01, gzip.compress(b"{}")[:-3]),
    raw(0x01, gzip.compress(bytes(FRAME_LIMIT + 1))),
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_frame(broken: bytes) -> None:
    with pytest.raises(UpstreamChanged):
        ConnectFramer().feed(broken)


@pytest.mark.parametrize("broken", [BROKEN[0], BROKEN[2]], ids=["huge", "no gzip"])
def test_the_frames_before_it_are_given_wherever_it_is_split(broken: bytes) -> None:
    body = raw(0x00, b"{}") + broken
    for at in range(len(body) + 1):
        framer = ConnectFramer()
        out: list[ConnectFrame] = []

        def take(framer: ConnectFramer = framer, at: int = at, out: list[ConnectFrame] = out) -> None:
            out += framer.feed(body[:at])
            out += framer.feed(body[at:])
            out += framer.end()

        with pytest.raises(UpstreamChanged):
            take()
        assert out == [ConnectFrame(False, b"{}")]


def test_a_bomb_is_inflated_only_up_to_the_limit() -> None:
    bomb = raw(0x01, gzip.compress(bytes(256 * 1024 * 1024), 1))
    with pytest.raises(UpstreamChanged, match="16 MiB"):
        ConnectFramer().feed(bomb)


@given(data=st.data())
def test_what_was_framed_comes_back(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(st.binary(max_size=40), max_size=6))
    body = b"".join(map(frame, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert split(pieces) == [ConnectFrame(False, payload) for payload in payloads]


@given(st.binary(max_size=64), st.integers(0, 64))
def test_any_bytes_give_the_same_for_every_cut(body: bytes, at: int) -> None:
    def outcome(pieces: list[bytes]) -> tuple[list[ConnectFrame], bool]:
        framer = ConnectFramer()
        out: list[ConnectFrame] = []
        try:
            for piece in pieces:
                out += framer.feed(piece)
            out += framer.end()
        except UpstreamChanged:
            return out, True
        return out, False

    assert outcome([body[:at], body[at:]]) == outcome([body])
