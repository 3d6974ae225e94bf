"""`data:` URLs (RFC 2397) -> bytes, type, name. Pure; meant to run in a thread when the URL is long."""

import binascii
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, unquote_to_bytes

from attrs import field, frozen

from shared.errors import AttachmentRefused, AttachmentTooLarge

SLICE = 256 * 1024
"""Characters decoded at a time: other threads get the interpreter in between, and memory stays in bounds.

At least the length of an escape.
"""
MAX_HEAD = 4096
"""Characters before the comma."""

_BLANKS = b" \t\r\n\f\v"
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")


@frozen
class Loaded:
    """What came from a URL: the bytes, and the Content-Type and name that came with them, maybe empty."""

    data: bytes = field(repr=False)
    type: str
    name: str


def too_large(limit: int) -> AttachmentTooLarge:
    """Make the error for a file of more than `limit` bytes."""
    return AttachmentTooLarge(f"more than {limit // (1024 * 1024)} MB")


def read_data_url(url: str, limit: int) -> Loaded:
    """Decode `data:[type][;params][;base64],...`; a `name` among the parameters is the file's.

    Base64 may hold blanks, miss its padding and use the alphabet for URLs. Raise `AttachmentRefused` when it
    is broken, `AttachmentTooLarge` above `limit` bytes.
    """
    comma = url.find(",", 0, MAX_HEAD)
    if comma < 0:
        raise AttachmentRefused("its data URL has no comma before the data")
    type_, *params = (param.strip() for param in url[len("data:") : comma].split(";"))
    pieces = _unescaped(url, comma + 1)
    if "base64" in map(str.lower, params):
        pieces = _base64(pieces)
    try:
        data = _joined(pieces, limit)
    except ValueError:
        raise AttachmentRefused("the data of its data URL cannot be decoded") from None
    named = dict(param.split("=", 1) for param in params if "=" in param)
    return Loaded(data, type_, unquote(named.get("name", "")).strip('"'))


def _unescaped(text: str, at: int) -> Iterator[bytes]:
    while at < len(text):
        end = at + SLICE
        escape = text.rfind("%", end - 2, end)
        if escape > at:
            end = escape
        yield unquote_to_bytes(text[at:end])
        at = end


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    left, padded = b"", False
    for piece in pieces:
        clean = piece.translate(_STANDARD_ALPHABET, _BLANKS)
        letters = clean.rstrip(b"=")
        if b"=" in letters or (padded and letters):
            raise ValueError("padding before the end")
        padded = len(letters) < len(clean) or padded
        letters = left + letters
        whole = len(letters) - len(letters) % 4
        yield binascii.a2b_base64(letters[:whole], strict_mode=True)
        left = letters[whole:]
    yield binascii.a2b_base64(left + b"=" * (-len(left) % 4), strict_mode=True)


def _joined(pieces: Iterable[bytes], limit: int) -> bytes:
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > limit:
            raise too_large(limit)
    return b"".join(kept)
