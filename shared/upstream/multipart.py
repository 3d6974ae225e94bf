"""multipart/form-data, byte for byte as the `form-data` package of Node writes it: what the sites get.

aiohttp's own form class gives text parts a Content-Type and writes other boundaries.
"""

import secrets
from collections.abc import Sequence

from attrs import field, frozen

from shared.surrogates import whole

_DASHES = "-" * 26
_ONE_LINE = {ord("\r"): "%0D", ord("\n"): "%0A", 0: "%00"}
_QUOTED = _ONE_LINE | {ord('"'): "%22"}
"""As browsers escape names inside the quotes (WHATWG HTML, 4.10.21.8), so that none can end its header."""


@frozen
class Field:
    """A text part."""

    name: str
    value: str = field(repr=False)


@frozen
class File:
    """A file part. `type` is its Content-Type."""

    name: str
    filename: str
    type: str
    data: bytes = field(repr=False)


def make_boundary() -> str:
    """Make a boundary: 26 dashes and 24 hex digits."""
    return _DASHES + secrets.token_hex(12)


def encode(parts: Sequence[Field | File], boundary: str | None = None) -> tuple[str, bytes]:
    """Give the request's Content-Type and its body, the parts in order.

    Lone surrogates become U+FFFD, as in Node.
    """
    boundary = boundary or make_boundary()
    pieces: list[bytes] = []
    for part in parts:
        pieces += (whole(f"--{boundary}\r\n{_head(part)}\r\n\r\n").encode(), _content(part), b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _head(part: Field | File) -> str:
    name = f'Content-Disposition: form-data; name="{part.name.translate(_QUOTED)}"'
    if isinstance(part, Field):
        return name
    filename, type_ = part.filename.translate(_QUOTED), part.type.translate(_ONE_LINE)
    return f'{name}; filename="{filename}"\r\nContent-Type: {type_}'


def _content(part: Field | File) -> bytes:
    return whole(part.value).encode() if isinstance(part, Field) else part.data
