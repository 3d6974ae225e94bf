"""Connect frames, made and taken apart: bytes in, frames out, and the other way round. Pure.

A frame is a flags byte, the length of its payload (four bytes, big-endian), and the payload.
"""

import struct
import zlib
from typing import ClassVar

from attrs import define

from shared.errors import SiteError, UpstreamChanged

CONNECT_JSON = "application/connect+json"
"""The content type of frames that hold JSON."""

FRAME_LIMIT = 16 * 1024 * 1024
"""Bytes of one frame, compressed or not, above which the site is taken to have changed."""

COMPRESSED = 0x01
END = 0x02
"""Bits of the flags byte; the others have no meaning yet."""

_HEAD = struct.Struct(">BI")
_GZIP = 31
"""zlib's `wbits` for data with a gzip header."""


@define
class ConnectFrame:
    """One message. `end` marks the last one, which tells how the call ended.

    `whole` is False for what had come of a frame when the body ended.
    """

    end: bool
    data: bytes
    whole: bool = True


def frame(payload: bytes) -> bytes:
    """Give the frame of a message, as a request carries it."""
    return _HEAD.pack(0, len(payload)) + payload


class ConnectFramer:
    """Split a body into frames, however its bytes arrive; compressed ones are inflated.

    What cannot be a frame raises `UpstreamChanged`, after the frames before it were given.
    """

    content_type: ClassVar[str] = CONNECT_JSON

    def __init__(self) -> None:
        self._pending = bytearray()
        self._broken: SiteError | None = None

    def feed(self, data: bytes) -> list[ConnectFrame]:
        """Take the next bytes of the body; give the frames they complete."""
        if self._broken is not None:
            raise self._broken
        if not self._pending:
            frames, start = self._split(data)
            self._pending += data[start:]
            return frames
        self._pending += data
        frames, start = self._split(self._pending)
        if start:
            del self._pending[:start]
        return frames

    def end(self) -> list[ConnectFrame]:
        """The body is over: give the frame that was not whole, if any of it has come."""
        if self._broken is not None:
            raise self._broken
        rest = bytes(self._pending)
        self._pending.clear()
        if not rest:
            return []
        return [ConnectFrame(bool(rest[0] & END), rest[_HEAD.size :], whole=False)]

    def _split(self, source: bytes | bytearray) -> tuple[list[ConnectFrame], int]:
        """Give the whole frames of `source`, and where the open one begins."""
        frames: list[ConnectFrame] = []
        start = 0
        try:
            while (begin := start + _HEAD.size) <= len(source):
                flags, length = _HEAD.unpack_from(source, start)
                if length > FRAME_LIMIT:
                    raise _too_long()
                after = begin + length
                if after > len(source):
                    break
                data = bytes(source[begin:after])
                frames.append(ConnectFrame(flags & END != 0, _inflated(data) if flags & COMPRESSED else data))
                start = after
        except UpstreamChanged as error:
            if not frames:
                raise
            # Whether frames are lost must not depend on where the bytes were split.
            self._broken = error
        return frames, start


def _inflated(data: bytes) -> bytes:
    if not data:
        return data
    inflater = zlib.decompressobj(_GZIP)
    try:
        inflated = inflater.decompress(data, FRAME_LIMIT + 1)
    except zlib.error:
        raise UpstreamChanged("The site sent a compressed frame that cannot be read.") from None
    if len(inflated) > FRAME_LIMIT:
        raise _too_long()
    if not inflater.eof:
        raise UpstreamChanged("The site sent a compressed frame that cannot be read.")
    return inflated


def _too_long() -> UpstreamChanged:
    return UpstreamChanged("The site sent a frame of more than 16 MiB.")
