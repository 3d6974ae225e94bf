"""Requests of the OpenAI API, read as clients really send them."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from shared.attachments import NONE, Attached
from shared.provider import Conversation


@frozen
class TextPart:
    """A `text` (or `input_text`) part."""

    text: str = field(repr=False)


@frozen
class FilePart:
    """A part that names a file or an image.

    `kind` is `file` or `image`; `url` is http(s) or `data:`; `name` is the client's file name, or empty.
    """

    kind: str
    url: str = field(repr=False)
    name: str = ""


@frozen
class Message:
    """One message. `parts` are the parts of known type, in order; a string content is one `TextPart`.

    `listed` tells an array content from a string (the sites' prompts differ). A null content has no parts.
    """

    role: str
    parts: tuple[TextPart | FilePart, ...]
    listed: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of every text part, in order."""
        return tuple(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def files(self) -> tuple[FilePart, ...]:
        """Every part that names a file or an image, in order."""
        return tuple(part for part in self.parts if isinstance(part, FilePart))


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
    """`POST /v1/videos/generations`. `image` is the first frame's picture; `attached` has it fetched."""

    prompt: str = field(repr=False)
    model: str = ""
    image: FilePart | None = None
    conversation_id: str = ""
    conversation: Conversation | None = None
    attached: Attached = NONE
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@define
class SpeechRequest:
    """`POST /v1/audio/speech`."""

    input: str = field(repr=False)
    voice: str = ""
    model: str = ""
    response_format: str = "mp3"
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@define
class TranscriptionRequest:
    """`POST /v1/audio/transcriptions`: the upload's bytes, its file name and the wished format."""

    audio: bytes = field(repr=False)
    name: str = ""
    model: str = ""
    response_format: str = "json"
    extra: Mapping[str, Any] = field(factory=dict, repr=False)
