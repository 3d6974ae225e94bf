"""JSON bodies and form fields to requests, or a `BadRequest` that names the field."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from shared.openai.errors import BadRequest
from shared.openai.fields import Fields
from shared.openai.messages import FilePart, Message, TextPart
from shared.openai.requests import ChatRequest, ImageRequest, SpeechRequest, TranscriptionRequest, VideoRequest
from shared.surrogates import whole
from shared.upstream.json import loads

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PICTURE_FORMATS = ("url", "b64_json")
HEARD_FORMATS = ("json", "text", "verbose_json")
"""What words without times can be written as: not `srt` or `vtt`."""
MOST_PICTURES = 10
"""OpenAI's limit for `n`."""

AUDIO_FORMAT = re.compile(r"[A-Za-z0-9]{1,8}")
AUDIO_TYPES = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}
"""Audio formats whose media type is not simply `audio/<format>`."""
ADDRESS = "an http(s) or data: URL"

_BACKSLASH = 0x5C
"""As a number: looked for as bytes, it costs ten times as much."""


def read_chat(body: bytes) -> ChatRequest:
    """Read `POST /v1/chat/completions`."""
    fields = read_body(body)
    options = fields.inner("stream_options")
    return ChatRequest(
        model=fields.text("model"),
        messages=_messages(fields),
        stream=fields.flag("stream"),
        include_usage=options is not None and options.flag("include_usage"),
        conversation_id=fields.text("conversation_id"),
        extra=fields.without("model", "messages", "stream", "stream_options", "conversation_id"),
    )


def read_image(body: bytes) -> ImageRequest:
    """Read `POST /v1/images/generations`."""
    fields = read_body(body)
    # Who asks for events could not read anything else.
    if fields.flag("stream"):
        raise fields.wrong("stream", "false: pictures come whole")
    return ImageRequest(
        prompt=fields.filled("prompt"),
        model=fields.text("model"),
        n=fields.whole("n", default=1, least=1, most=MOST_PICTURES),
        b64_json=fields.choice("response_format", PICTURE_FORMATS) == "b64_json",
        extra=fields.without("prompt", "model", "n", "response_format", "stream"),
    )


def read_video(body: bytes) -> VideoRequest:
    """Read `POST /v1/videos/generations`; a site's own options stay in `extra`."""
    fields = read_body(body)
    return VideoRequest(
        prompt=fields.filled("prompt"),
        model=fields.text("model"),
        conversation_id=fields.text("conversation_id"),
        image=_image(fields) if fields.values.get("image_url") else None,
        extra=fields.without("prompt", "model", "conversation_id", "image_url"),
    )


def read_speech(body: bytes) -> SpeechRequest:
    """Read `POST /v1/audio/speech`; the voice is a name, or `{"id": name}` as OpenAI writes a custom one."""
    fields = read_body(body)
    # Who asks for events could not read anything else.
    fields.choice("stream_format", ("audio",))
    return SpeechRequest(
        input=fields.filled("input"),
        voice=_voice(fields),
        model=fields.text("model"),
        response_format=fields.text("response_format", "mp3"),
        extra=fields.without("input", "voice", "model", "response_format"),
    )


def read_transcription(form: Mapping[str, str], audio: bytes | None) -> TranscriptionRequest:
    """Read `POST /v1/audio/transcriptions`: the form's text fields, and the bytes of its `file`, if any."""
    if not audio:
        raise BadRequest("`file` must be an audio file that is not empty, sent as a form upload.", "file")
    fields = Fields(form)
    return TranscriptionRequest(
        audio=audio,
        response_format=fields.choice("response_format", HEARD_FORMATS, "json"),
        stream=fields.text("stream").lower() in ("true", "1"),
        extra=fields.without("file", "model", "response_format", "stream"),
    )


def read_body(body: bytes) -> Fields:
    """Read a JSON object, whatever content type the client gave it. Lone surrogates become U+FFFD."""
    try:
        value = loads(body, strict=True)
    except UnicodeDecodeError:
        raise BadRequest("The request body is not UTF-8.") from None
    except ValueError as error:
        known = "empty" if not body.strip() else f"not valid JSON ({error})"
        raise BadRequest(f"The request body is {known}: send a JSON object.") from None
    if not isinstance(value, dict):
        raise BadRequest("The request body must be a JSON object.")
    # Only an escape can bring a lone surrogate in: UTF-8 has none.
    if _BACKSLASH in body and (b"\\ud" in body or b"\\uD" in body):
        _mend(value)
    return Fields(value)


def _mend(value: dict[str, Any]) -> None:
    """Replace every lone surrogate, in place. A loop, since JSON may be nested as deep as the stack goes."""
    todo: list[dict[str, Any] | list[Any]] = [value]
    while todo:
        holder = todo.pop()
        if isinstance(holder, dict):
            mended = {_whole(name): _whole(element) for name, element in holder.items()}
            holder.clear()
            holder.update(mended)
            todo += (element for element in mended.values() if isinstance(element, dict | list))
        else:
            holder[:] = [_whole(element) for element in holder]
            todo += (element for element in holder if isinstance(element, dict | list))


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, str) else value


def _voice(fields: Fields) -> str:
    if isinstance(fields.values.get("voice"), dict):
        return Fields(fields.values["voice"], "voice").filled("id")
    return fields.text("voice")


def _messages(fields: Fields) -> tuple[Message, ...]:
    values = fields.values.get("messages")
    if not isinstance(values, list) or not values:
        raise fields.wrong("messages", "a list of at least one message")
    last = len(values) - 1
    return tuple(_message(f"messages[{index}]", value, last=index == last) for index, value in enumerate(values))


def _message(path: str, value: Any, *, last: bool) -> Message:
    if not isinstance(value, dict):
        raise BadRequest(f"`{path}` must be an object.", path)
    fields = Fields(value, path)
    role = fields.text("role") or "user"
    if role not in ROLES:
        raise fields.wrong("role", f"one of {'/'.join(ROLES)}")
    content = value.get("content")
    if content is None:
        return Message(role, ())
    if isinstance(content, str):
        return Message(role, (TextPart(content),))
    if not isinstance(content, list):
        raise fields.wrong("content", "a string, a list of parts or null")
    parts = (_part(f"{path}.content[{index}]", part, last=last) for index, part in enumerate(content))
    return Message(role, tuple(part for part in parts if part is not None), listed=True)


def _part(path: str, value: Any, *, last: bool) -> TextPart | FilePart | None:
    """Read one part; None for what is no object or of unknown type.

    Files are looked at in the `last` message only: in an earlier one it is no matter that one cannot be read.
    """
    if not isinstance(value, dict):
        return None
    fields = Fields(value, path)
    kind = fields.filled("type")
    if kind in TEXTS:
        return TEXTS[kind](fields)
    reader = FILES.get(kind)
    try:
        return reader(fields) if reader else None
    except BadRequest:
        if last:
            raise
        return None


def _text(part: Fields) -> TextPart:
    return TextPart(part.text("text"))


def _refusal(part: Fields) -> TextPart:
    return TextPart(part.text("refusal"))


def _image(part: Fields) -> FilePart:
    return FilePart("image", _address(part, "image_url"))


def _file(part: Fields) -> FilePart:
    """Read `{"file_url"}` as the sites' clients send it, OpenAI's `{"file": {...}}` or flat `input_file`."""
    file = part.inner("file") or part
    name = file.text("filename")
    if file.has("file_data"):
        data = file.filled("file_data")
        return FilePart("file", data if _is_address(data) else _data_url(data), name)
    if file.has("file_url"):
        return FilePart("file", _address(file, "file_url"), name)
    path = file.at("file_url")
    raise BadRequest(
        f"`{path}` ({ADDRESS}) or `{file.at('file_data')}` (base64) is needed: no uploads are kept here.",
        path,
    )


def _audio(part: Fields) -> FilePart:
    audio = part.inner("input_audio")
    if audio is None:
        raise part.wrong("input_audio", 'an object: {"data": base64, "format": "wav"}')
    data, kind = audio.filled("data"), audio.filled("format").lower()
    if not AUDIO_FORMAT.fullmatch(kind):
        raise audio.wrong("format", "a short name such as wav or mp3")
    url = data if _is_address(data) else _data_url(data, AUDIO_TYPES.get(kind, f"audio/{kind}"))
    return FilePart("file", url, f"audio.{kind}")


def _address(part: Fields, name: str) -> str:
    """Read a URL written as a string or as `{"url": string}`."""
    if isinstance(part.values.get(name), dict):
        part, name = Fields(part.values[name], part.at(name)), "url"
    url = part.values.get(name)
    if not isinstance(url, str) or not _is_address(url.strip()):
        raise part.wrong(name, ADDRESS)
    return url.strip()


def _is_address(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://", "data:"))


def _data_url(data: str, media_type: str = "application/octet-stream") -> str:
    return f"data:{media_type};base64,{data}"


TEXTS: Mapping[str, Callable[[Fields], TextPart]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
}
FILES: Mapping[str, Callable[[Fields], FilePart]] = {
    "image_url": _image,
    "input_image": _image,
    "file": _file,
    "input_file": _file,
    "input_audio": _audio,
}
"""The part types that are read, those of chat completions and those clients carry over from Responses."""
