"""The width and height of a picture. Pure, and slow: for an executor."""

from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO

SIDES = ("width", "height")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def sizes(data: bytes) -> Mapping[str, int]:
    """Read the sides of a picture, in pixels, from its head; none when it cannot be read."""
    # Only this needs Pillow, whose import costs more than the start of the service may.
    from PIL import Image

    # Whatever a hostile picture does to its decoder.
    with suppress(Exception), Image.open(BytesIO(data), formats=FORMATS) as picture:
        return dict(zip(SIDES, picture.size, strict=True))
    return {}
