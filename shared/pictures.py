"""Pictures, opened with Pillow. Pure, and slow: for an executor."""

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is opened: the formats that sites take, none of Pillow's rare and little tried ones."""


def opened(data: bytes) -> "ImageFile":
    """Open a picture, of which no more than the head is read; a context. Raise whatever Pillow raises."""
    # Only this needs Pillow, whose import costs more than the start of a service may.
    from PIL import Image

    return Image.open(BytesIO(data), formats=FORMATS)
