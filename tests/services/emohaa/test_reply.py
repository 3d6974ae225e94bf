from collections.abc import Iterable
from itertools import pairwise

import pytest

from services.emohaa.reply import EmohaaDecoder
from shared.deltas import Delta, Failed, Finish, Text
from shared.errors import AccountExpired, AccountLimited, RequestRefused, SiteError, UpstreamUnavailable
from shared.upstream.sse import SseFramer
from tests.decoding import counted, decoded

HELLO = "data: 你好啊！\n\ndata:我是Emohaa，\n\ndata:想和我聊点什么吗？😊\n\ndata: How are you?\n\ndata:[DONE]\n\n"
HELLO_TEXT = "你好啊！我是Emohaa，想和我聊点什么吗？😊How are you?"


def decode(pieces: Iterable[bytes]) -> list[Delta]:
    """All deltas of a body that arrives in these pieces, up to the last one that counts."""
    decoder = EmohaaDecoder()
    out = counted(decoded(pieces, SseFramer(), decoder))
    assert decoder.conversation is None
    return out


def told(deltas: Iterable[Delta]) -> list[object]:
    """The text of each delta, `True` for the end, the class of what was refused."""
    shown: list[object] = []
    for delta in deltas:
        match delta:
            case Text(text):
                shown.append(text)
            case Finish(reason):
                assert reason == "stop"
                shown.append(True)
            case Failed(error):
                shown.append(type(error))
            case _:
                raise AssertionError(delta)
    return shown


BODIES: dict[str, tuple[str, list[object]]] = {
    "worked": (HELLO, ["你好啊！", "我是Emohaa，", "想和我聊点什么吗？😊", "How are you?", True]),
    "spaces": ("data:  a\n\ndata:b \n\ndata:   \n\ndata:[DONE]\n\n", [" a", "b ", "  ", True]),
    "empty data": ("data:\n\ndata: \n\ndata\n\ndata:x\n\n", ["x"]),
    "lines": ("data:a\ndata:b\n\ndata:\ndata:c\n\n", ["a\nb", "\nc"]),
    "literal line ends": ("data:a\\nb<br>c&nbsp;\n\n", ["a\\nb<br>c&nbsp;"]),
    "what is not data": (": ping\nevent: end\nid: 7\nretry: 9\ndata: a\n\n:\n\nevent: x\n\ndata:b\n\n", ["a", "b"]),
    "an end with more": ("data:a\n\ndata: [DONE] bye\n\ndata:late\n\ndata:[DONE]\n\n", ["a", True]),
    "an end inside a text": ("data:a[DONE]\n\n", ["a[DONE]"]),
    "no end": ("data:a\n\n", ["a"]),
    "half an event": ("data:a\n\ndata:b", ["a", UpstreamUnavailable]),
    "all but the blank line": ("data:a\n\ndata:b\n", ["a", UpstreamUnavailable]),
    "half an event without a text yet": ("data:a\n\ndata:", ["a", UpstreamUnavailable]),
    "an end without its blank line": ("data:a\n\ndata:[DONE]", ["a", True]),
    "half an end": ("data:a\n\ndata:[DON", ["a", UpstreamUnavailable]),
    "an error without its blank line": ('data:{"status":401}', [AccountExpired]),
    "half an error": ('data:{"status":401', [UpstreamUnavailable]),
    "nothing": ("", []),
    "an error": ('data:a\n\ndata:{"status":429,"title":"Too Many Requests"}\n\ndata:b\n\n', ["a", AccountLimited]),
    "an error at once": ('data: {"status":401,"title":"Unauthorized","detail":"token invalid"}\n\n', [AccountExpired]),
    "a server's error": ('data:{"status":503.0}\n\n', [UpstreamUnavailable]),
    "an error behind spaces": ('data:  {"status":429,"title":"Too Many Requests"}\n\n', [AccountLimited]),
    "an error of no known kind": ('data:{"status":418}\n\n', [RequestRefused]),
    "a text with braces": (
        "data: {\n\ndata:  {\n\n"
        'data:{"status"\n\ndata:{"status":200}\n\ndata:{"status":"429"}\n\ndata:{"status":true}\n\ndata:[429]\n\n',
        ["{", " {", '{"status"', '{"status":200}', '{"status":"429"}', '{"status":true}', "[429]"],
    ),
}
each_body = pytest.mark.parametrize(("body", "wanted"), BODIES.values(), ids=BODIES)


@each_body
def test_bodies(body: str, wanted: list[object]) -> None:
    assert told(decode([body.encode()])) == wanted


@each_body
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_split_gives_the_same(body: str, wanted: list[object], line_end: str) -> None:
    data = body.replace("\n", line_end).encode()
    for cut in range(len(data) + 1):
        assert told(decode([data[:cut], data[cut:]])) == wanted
    assert told(decode(bytes([byte]) for byte in data)) == wanted


def test_every_pair_of_splits_of_a_transcript() -> None:
    data = HELLO.encode()
    for first in range(len(data)):
        for second in range(first, len(data), 7):
            deltas = decode(data[a:b] for a, b in pairwise((0, first, second, len(data))))
            assert [d.text for d in deltas if isinstance(d, Text)] == BODIES["worked"][1][:-1]


def test_a_character_cut_between_reads_is_whole_and_a_broken_one_is_marked() -> None:
    data = "data:你好\n\n".encode()
    assert told(decode([data[:10], data[10:]])) == ["你好"]
    assert told(decode([b"data:\xe4\xbd\xa0\xe5\xa5\n\n"])) == ["你\ufffd"]


def test_a_refusal_keeps_the_sites_words() -> None:
    (failed,) = decode([b'data:{"status":403,"title":"Forbidden","detail":"muted"}\n\n'])
    assert isinstance(failed, Failed)
    assert failed.error.message == "The site says: Forbidden muted"
    assert isinstance(failed.error, SiteError)
