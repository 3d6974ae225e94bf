"""The width and height of a picture."""

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from services.step.stepfun.pictures import sizes


def picture(kind: str, width: int, height: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height)).save(out, kind)
    return out.getvalue()


def head(width: int, height: int) -> bytes:
    """The beginning of a PNG of this size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\xff\xffIDAT"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_every_kind(kind: str) -> None:
    assert sizes(picture(kind, 40, 7)) == {"width": 40, "height": 7}


@pytest.mark.parametrize("size", [(4000, 3000), (12_000, 7_000)])
def test_a_large_picture_is_not_decoded(size: tuple[int, int]) -> None:
    assert sizes(head(*size)) == dict(zip(("width", "height"), size, strict=True))


@pytest.mark.parametrize(
    "data", [b"", b"x", b"<svg width='4' height='5'/>", picture("PNG", 4, 5)[:20], head(60_000, 60_000), head(0, 0)]
)
def test_what_has_no_size(data: bytes) -> None:
    assert sizes(data) == {}
