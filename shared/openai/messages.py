"""Messages of a chat, and their parts."""

from attrs import field, frozen


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
