"""Bodies as clients really send them, and as they should not."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.openai.errors import BadRequest
from shared.openai.fields import Fields
from shared.openai.messages import FilePart, Message, TextPart
from shared.openai.parse import (
    read_body,
    read_chat,
    read_image,
    read_speech,
    read_transcription,
    read_video,
)

PNG = "data:image/png;base64,iVBORw0KGgo="
READERS = (read_chat, read_image, read_video, read_speech)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def chat(**fields: Any) -> bytes:
    return encoded({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields)


def message(content: Any, **fields: Any) -> Message:
    [read] = read_chat(chat(messages=[{"role": "user", "content": content} | fields])).messages
    return read


def refused(reader: Callable[[bytes], Any], body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        reader(body)
    return caught.value


def test_chat_as_openai_clients_send_it() -> None:
    body = chat(
        stream=True,
        stream_options={"include_usage": True},
        conversation_id="abc",
        n=3,
        stop=["x"],
        max_tokens=5,
        temperature=0.2,
        tools=[],
        seed=None,
        user="u",
        anything={"a": [1]},
    )
    request = read_chat(body)
    assert (request.model, request.stream, request.include_usage) == ("m", True, True)
    assert request.messages == (Message("user", (TextPart("hi"),)),)
    assert (request.conversation_id, request.conversation, request.keep) == ("abc", None, False)
    assert request.extra == {
        "n": 3,
        "stop": ["x"],
        "max_tokens": 5,
        "temperature": 0.2,
        "tools": [],
        "seed": None,
        "user": "u",
        "anything": {"a": [1]},
    }


@pytest.mark.parametrize("absent", [{}, {"model": None, "stream": None, "stream_options": None}])
def test_null_is_absent(absent: dict[str, None]) -> None:
    body = {"messages": [{"role": None, "content": None}], "conversation_id": None} | absent
    request = read_chat(encoded(body))
    assert (request.model, request.stream, request.include_usage) == ("", False, False)
    assert request.conversation_id == ""
    assert request.messages == (Message("user", ()),)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"role": "system"}, "system"),
        ({"role": "developer"}, "developer"),
        ({"role": "user"}, "user"),
        ({"role": "assistant"}, "assistant"),
        ({"role": "tool", "tool_call_id": "c"}, "tool"),
        ({"role": "function", "name": "f"}, "function"),
        ({}, "user"),
        ({"role": None}, "user"),
        ({"role": ""}, "user"),
    ],
)
def test_roles(sent: dict[str, Any], read: str) -> None:
    request = read_chat(chat(messages=[sent | {"content": "x"}]))
    assert request.messages == (Message(read, (TextPart("x"),)),)


def test_an_assistant_that_called_tools_has_no_content() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert message(None, role="assistant", tool_calls=calls) == Message("assistant", ())


@pytest.mark.parametrize(
    ("part", "read"),
    [
        ({"type": "text", "text": "a\n"}, TextPart("a\n")),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, TextPart("a")),
        ({"type": "text"}, TextPart("")),
        ({"type": "text", "text": None}, TextPart("")),
        ({"type": "input_text", "text": "a"}, TextPart("a")),
        ({"type": "output_text", "text": "a"}, TextPart("a")),
        ({"type": "refusal", "refusal": "no"}, TextPart("no")),
        ({"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}, FilePart("image", PNG)),
        ({"type": "image_url", "image_url": {"url": PNG}}, FilePart("image", PNG)),
        ({"type": "image_url", "image_url": PNG}, FilePart("image", PNG)),
        ({"type": "image_url", "image_url": " http://h/a \n"}, FilePart("image", "http://h/a")),
        ({"type": "image_url", "image_url": "HTTPS://h/a"}, FilePart("image", "HTTPS://h/a")),
        ({"type": "input_image", "image_url": PNG, "detail": "auto"}, FilePart("image", PNG)),
        ({"type": "input_image", "image_url": {"url": PNG}}, FilePart("image", PNG)),
        ({"type": "file", "file_url": {"url": "https://h/a.pdf"}}, FilePart("file", "https://h/a.pdf")),
        ({"type": "file", "file_url": "https://h/a.pdf"}, FilePart("file", "https://h/a.pdf")),
        ({"type": "file", "file": {"file_data": PNG, "filename": "a.png"}}, FilePart("file", PNG, "a.png")),
        (
            {"type": "file", "file": {"file_data": "JVBERi0=", "filename": "a.pdf"}},
            FilePart("file", "data:application/octet-stream;base64,JVBERi0=", "a.pdf"),
        ),
        ({"type": "file", "file": {"file_url": "https://h/a"}}, FilePart("file", "https://h/a")),
        (
            {"type": "input_file", "file_url": "https://h/a", "file_id": None, "filename": "b"},
            FilePart("file", "https://h/a", "b"),
        ),
        ({"type": "input_file", "file_data": PNG, "filename": "b"}, FilePart("file", PNG, "b")),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            FilePart("file", "data:audio/wav;base64,UklGRg==", "audio.wav"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "MP3"}},
            FilePart("file", "data:audio/mpeg;base64,SUQz", "audio.mp3"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "data:;base64,SUQz", "format": "mp3"}},
            FilePart("file", "data:;base64,SUQz", "audio.mp3"),
        ),
    ],
)
def test_parts(part: dict[str, Any], read: TextPart | FilePart) -> None:
    assert message([part]) == Message("user", (read,), listed=True)


@pytest.mark.parametrize(
    "part",
    [{"type": "video_url", "video_url": 1}, {"type": "audio"}, {"type": "thinking"}, "bare", 7, None, []],
)
def test_parts_of_unknown_type_are_skipped(part: Any) -> None:
    first, last = {"type": "text", "text": "a"}, {"type": "text", "text": "b"}
    assert message([first, part, last]).texts == ("a", "b")


@pytest.mark.parametrize("part", [{"type": "file", "file_url": 3}, {"type": "image_url"}, {"type": "input_audio"}])
def test_a_file_that_cannot_be_read_is_no_matter_in_an_earlier_message(part: Any) -> None:
    earlier = {"role": "user", "content": [part, {"type": "text", "text": "a"}]}
    body = chat(messages=[earlier, {"role": "user", "content": "b"}])
    first, last = read_chat(body).messages
    assert (first.texts, first.files, last.texts) == (("a",), (), ("b",))


def test_texts_and_files_keep_their_order() -> None:
    text, image = {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": PNG}}
    read = message([image, text, {"type": "file", "file_url": {"url": "https://h/f"}}, text])
    assert read.texts == ("a", "a")
    assert read.files == (FilePart("image", PNG), FilePart("file", "https://h/f"))


@pytest.mark.parametrize(("content", "listed"), [("", False), ([], True)])
def test_empty_contents(content: Any, listed: bool) -> None:
    read = message(content)
    assert ("".join(read.texts), read.listed) == ("", listed)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"stream": "true"}, "stream"),
        ({"stream": 2}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"conversation_id": 5}, "conversation_id"),
        ({"conversation_id": ["a"]}, "conversation_id"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "x"}, None]}, "messages[1]"),
        ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], param: str) -> None:
    error = refused(read_chat, chat(**fields))
    assert (error.status, error.param) == (400, param)
    assert param in error.message


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({}, "type"),
        ({"text": "a"}, "type"),
        ({"type": 1}, "type"),
        ({"type": "text", "text": ["a"]}, "text"),
        ({"type": "refusal", "refusal": 1}, "refusal"),
        ({"type": "image_url"}, "image_url"),
        ({"type": "image_url", "image_url": None}, "image_url"),
        ({"type": "image_url", "image_url": 1}, "image_url"),
        ({"type": "image_url", "image_url": ""}, "image_url"),
        ({"type": "image_url", "image_url": "file:///etc/passwd"}, "image_url"),
        ({"type": "image_url", "image_url": {}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": 1}}, "image_url.url"),
        ({"type": "input_image", "file_id": "file-1"}, "image_url"),
        ({"type": "file"}, "file_url"),
        ({"type": "file", "file_url": 3}, "file_url"),
        ({"type": "file", "file_url": {"url": None}}, "file_url.url"),
        ({"type": "file", "file": "x"}, "file"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_url"),
        ({"type": "file", "file": {"file_data": ""}}, "file.file_data"),
        ({"type": "file", "file": {"file_data": 1}}, "file.file_data"),
        ({"type": "file", "file": {"file_data": PNG, "filename": 1}}, "file.filename"),
        ({"type": "input_file", "file_id": "file-1"}, "file_url"),
        ({"type": "input_audio"}, "input_audio"),
        ({"type": "input_audio", "input_audio": {"format": "wav"}}, "input_audio.data"),
        ({"type": "input_audio", "input_audio": {"data": "eA=="}}, "input_audio.format"),
        ({"type": "input_audio", "input_audio": {"data": "eA==", "format": "a;b,"}}, "input_audio.format"),
    ],
)
def test_wrong_parts_are_named(part: dict[str, Any], param: str) -> None:
    fine = {"role": "user", "content": "fine"}
    body = chat(messages=[fine, {"role": "user", "content": [{"type": "text", "text": "a"}, part]}])
    assert refused(read_chat, body).param == f"messages[1].content[1].{param}"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"\xef\xbb\xbf",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"not json",
        b"model=glm&stream=true",
        b"{'model': 'm'}",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\xe4\xbd',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' * 100_000,
        '{"prompt": "x", "input": "x"}'.encode("utf-16"),
        b"\x00",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_json_object_is_refused(reader: Callable[[bytes], Any], body: bytes) -> None:
    error = refused(reader, body)
    assert (error.status, error.param) == (400, None)


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "is empty"), (b'{"a" 1}', "line 1 column 6"), (b'"\xff"', "not UTF-8"), (b"[]", "a JSON object")],
)
def test_the_refusal_of_a_body_says_why(body: bytes, words: str) -> None:
    assert words in refused(read_chat, body).message


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"a\uDFFFb", "a\ufffdb"),
        (rb"\udc00\ud800", "\ufffd\ufffd"),
        (rb"\ud83d\ude00", "😀"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\\ud800", r"\ud800"),
        (rb"\u0000", "\0"),
        ("你好".encode(), "你好"),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: bytes, read: str) -> None:
    body = b'{"messages":[{"role":"user","content":[{"type":"text","text":"%b"}]}],"%b":[[{"k":"%b"}]]}'
    request = read_chat(body % (text, text, text))
    assert request.messages[0].texts == (read,)
    assert request.extra == {read: [[{"k": read}]]}


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        (b'\xef\xbb\xbf{"prompt":"x"}', {}),
        (b'{"prompt":"y","prompt":"x"}', {}),
        (b'{"prompt":"x","a":1e308}', {"a": 1e308}),
        (b'{"prompt":"x","seed":18446744073709551616}', {"seed": 2**64}),
        (b' \r\n{"prompt":"x"}\n', {}),
    ],
)
def test_strange_but_sound_json_is_read(body: bytes, extra: dict[str, Any]) -> None:
    request = read_image(body)
    assert (request.prompt, request.extra) == ("x", extra)


def test_a_nested_body_with_a_lone_surrogate_is_mended_as_deep_as_it_is_read() -> None:
    depth = 800
    value = read_body(b'{"a":' + b"[" * depth + rb'"\ud800"' + b"]" * depth + b"}").values["a"]
    for _ in range(depth):
        [value] = value
    assert value == "\ufffd"


@pytest.mark.parametrize("unit", ["a", "你", "😀"])
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("tail", ["", r"\ud800"])
def test_ten_megabytes_of_text_are_quick(unit: str, ascii_only: bool, tail: str) -> None:
    text = json.dumps(unit * (10_000_000 // len(unit.encode())), ensure_ascii=ascii_only)[:-1] + tail + '"'
    body = ('{"messages":[{"role":"user","content":' + text + "}]}").encode()
    start = time.process_time()
    request = read_chat(body)
    assert time.process_time() - start < 1
    assert request.messages[0].texts[0].endswith("\ufffd" if tail else unit)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
SURROGATES = st.text(st.characters(categories=["Cs", "Lu"]), min_size=1, max_size=4)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "refusal", "image_url", "input_image", "file", "input_file", "input_audio"])},
    optional={
        name: JSON
        | SURROGATES
        | st.dictionaries(st.sampled_from(["url", "file_data", "filename", "data", "format"]), JSON | st.just(PNG))
        for name in ("text", "refusal", "image_url", "file_url", "file", "file_data", "input_audio")
    },
)
CONTENT = JSON | SURROGATES | st.lists(JSON | PART, max_size=3)
MESSAGE = st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "tool", 1]), "content": CONTENT})
OPTIONAL = ("model", "stream", "stream_options", "n", "voice", "image_url", "response_format", "x")
BODY = st.fixed_dictionaries(
    {"messages": JSON | st.lists(JSON | MESSAGE, max_size=3), "prompt": JSON, "input": JSON},
    optional=dict.fromkeys(OPTIONAL, JSON),
)


def read_or_refused(reader: Callable[[bytes], Any], body: bytes) -> Any:
    """The request, or None for a `BadRequest`; anything else is raised."""
    try:
        return reader(body)
    except BadRequest:
        return None


@given(BODY | JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    body = encoded(value)
    for reader in READERS:
        if read := read_or_refused(reader, body):
            json.dumps(read.extra, ensure_ascii=False).encode()


@given(st.lists(MESSAGE, min_size=1, max_size=3))
def test_every_text_that_is_read_can_be_encoded(messages: list[Any]) -> None:
    if request := read_or_refused(read_chat, chat(messages=messages)):
        for part in (part for read in request.messages for part in read.parts):
            (part.text if isinstance(part, TextPart) else part.url + part.name).encode()


@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 4))
def test_any_bytes_are_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    sound = chat(stream=True)
    for reader in READERS:
        read_or_refused(reader, noise)
        read_or_refused(reader, sound[:at] + noise + sound[at + cut :])


def test_image() -> None:
    body = {"prompt": "画", "model": "m", "n": 2, "response_format": "b64_json", "size": "1024x1024"} | {
        "stream": False
    }
    request = read_image(encoded(body))
    assert (request.prompt, request.model, request.n, request.b64_json) == ("画", "m", 2, True)
    assert request.extra == {"size": "1024x1024"}
    plain = read_image(encoded({"prompt": "x", "n": None, "response_format": None}))
    assert (plain.model, plain.n, plain.b64_json) == ("", 1, False)
    assert not read_image(encoded({"prompt": "x", "response_format": "url"})).b64_json


@pytest.mark.parametrize(
    ("image", "read"),
    [
        (None, None),
        ("", None),
        (PNG, FilePart("image", PNG)),
        ("https://h/a", FilePart("image", "https://h/a")),
        ({"url": PNG}, FilePart("image", PNG)),
    ],
)
def test_video(image: Any, read: FilePart | None) -> None:
    body = {"prompt": "p", "image_url": image, "conversation_id": "c", "video_style": "油画"}
    request = read_video(encoded(body))
    assert (request.prompt, request.model, request.conversation_id, request.image) == ("p", "", "c", read)
    assert request.extra == {"video_style": "油画"}


@pytest.mark.parametrize(
    ("voice", "read"), [(None, ""), ("alloy", "alloy"), ({"id": "voice_1"}, "voice_1"), ("puv_1", "puv_1")]
)
def test_speech(voice: Any, read: str) -> None:
    request = read_speech(encoded({"input": "i", "voice": voice, "model": "tts-1", "speed": 1.5}))
    assert (request.input, request.voice, request.model) == ("i", read, "tts-1")
    assert (request.response_format, request.extra) == ("mp3", {"speed": 1.5})


def test_transcription() -> None:
    request = read_transcription({"model": "whisper-1", "language": "zh"}, b"RIFF")
    assert request.audio == b"RIFF"
    assert (request.response_format, request.extra, request.stream) == ("json", {"language": "zh"}, False)
    assert [read_transcription({"stream": text}, b"RIFF").stream for text in ("True", "1", "false", "")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("form", "audio", "param"),
    [({}, None, "file"), ({"file": "text"}, None, "file"), ({}, b"", "file")]
    + [({"response_format": name}, b"RIFF", "response_format") for name in ("srt", "vtt", "")],
)
def test_wrong_transcriptions_are_named(form: dict[str, str], audio: bytes | None, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_transcription(form, audio)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("reader", "fields", "param"),
    [
        (read_image, {"prompt": ""}, "prompt"),
        (read_image, {"prompt": None}, "prompt"),
        (read_image, {"prompt": ["x"]}, "prompt"),
        (read_image, {"n": 0}, "n"),
        (read_image, {"n": 11}, "n"),
        (read_image, {"n": True}, "n"),
        (read_image, {"n": "1"}, "n"),
        (read_image, {"n": 10**40}, "n"),
        (read_image, {"response_format": "png"}, "response_format"),
        (read_image, {"response_format": ["url"]}, "response_format"),
        (read_image, {"stream": True}, "stream"),
        (read_video, {"prompt": 1}, "prompt"),
        (read_video, {"model": {}}, "model"),
        (read_video, {"image_url": 1}, "image_url"),
        (read_video, {"image_url": "a.png"}, "image_url"),
        (read_video, {"image_url": {"url": "a.png"}}, "image_url.url"),
        (read_video, {"conversation_id": 1}, "conversation_id"),
        (read_speech, {"input": ""}, "input"),
        (read_speech, {"voice": 1}, "voice"),
        (read_speech, {"voice": {}}, "voice.id"),
        (read_speech, {"response_format": 1}, "response_format"),
        (read_speech, {"stream_format": "sse"}, "stream_format"),
    ],
)
def test_wrong_fields_of_the_other_faces_are_named(
    reader: Callable[[bytes], Any], fields: dict[str, Any], param: str
) -> None:
    assert refused(reader, encoded({"prompt": "p", "input": "i"} | fields)).param == param


def test_a_provider_reads_its_own_options_alike() -> None:
    extra = Fields({"video_style": "水墨", "mirror_mode": None})
    assert extra.choice("mirror_mode", ("水平", "垂直")) == ""
    with pytest.raises(BadRequest, match="`video_style` must be one of 油画/电影感") as caught:
        extra.choice("video_style", ("油画", "电影感"))
    assert caught.value.param == "video_style"


def test_numbers() -> None:
    extra = Fields({"whole": 1, "part": 0.5, "none": None, "flag": True, "text": "0.5", "large": 10**400})
    assert [extra.number(name, 0.7) for name in ("whole", "part", "none", "absent")] == [1, 0.5, 0.7, 0.7]
    for name in ("flag", "text", "large"):
        with pytest.raises(BadRequest, match=f"`{name}` must be a number") as caught:
            extra.number(name, 0)
        assert caught.value.param == name


def test_what_users_wrote_is_in_no_repr_and_no_error() -> None:
    secret = "obviously-fake-secret"
    request = read_chat(chat(messages=[{"role": "user", "content": secret}], note=secret))
    assert secret not in repr(request)
    for body in (encoded({"messages": secret}), b'{"messages": "' + secret.encode(), secret.encode()):
        assert secret not in str(refused(read_chat, body))
