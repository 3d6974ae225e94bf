"""Requests of the OpenAI API, read as clients really send them."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from shared.attachments import NONE, Attached
from shared.openai.messages import FilePart, Message
from shared.terms import Conversation


@define
class ChatRequest:
    """A chat request.

    `conversation_id` is the client's text, empty when there was none; `conversation` is the one it continues
    (with its newest tip), `keep` whether it outlives the answer, `attached` the fetched files of the last
    message, `extra` every field not read here.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    conversation_id: str = ""
    conversation: Conversation | None = None
    keep: bool = False
    attached: Attached = NONE
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@define
class ImageRequest:
    """`POST /v1/images/generations`."""

    prompt: str = field(repr=False)
    model: str = ""
    n: int = 1
    b64_json: bool = False
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@define
class VideoRequest:
    """`POST /v1/videos/generations`.

    `image` is the first frame's picture; `attached` has it fetched. `keep` is whether conversations the client does
    not name outlive the answer, too.
    """

    prompt: str = field(repr=False)
    model: str = ""
    image: FilePart | None = None
    conversation_id: str = ""
    conversation: Conversation | None = None
    keep: bool = False
    attached: Attached = NONE
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@define
class SpeechRequest:
    """`POST /v1/audio/speech`. `whole`: the client is sent nothing before all of it is there."""

    input: str = field(repr=False)
    voice: str = ""
    model: str = ""
    response_format: str = "mp3"
    whole: bool = False
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@define
class TranscriptionRequest:
    """`POST /v1/audio/transcriptions`: the upload's bytes and the wished format.

    `stream` asks for OpenAI's events, instead of any format.
    """

    audio: bytes = field(repr=False)
    response_format: str = "json"
    stream: bool = False
    extra: Mapping[str, Any] = field(factory=dict, repr=False)
