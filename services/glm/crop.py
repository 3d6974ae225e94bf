"""The first frame of a video: a picture scaled and cut to what the site takes. Pure, and slow: for an executor."""

from io import BytesIO
from typing import TYPE_CHECKING

from shared.errors import AttachmentRefused, AttachmentTooLarge
from shared.pictures import opened

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

WIDTH = 1440
HEIGHT = 960
"""Pixels of the site's largest first frame; every picture is scaled to the width and cut to the height."""

PIXELS_MOST = 50_000_000
"""Pixels of a picture that is still opened: some 200 MB in memory."""

LANCZOS = 1
"""Pillow's `Resampling.LANCZOS`, by number: its name would need the import."""


def first_frame(data: bytes) -> bytes:
    """Scale a picture to the width, keep the middle of what is too high, and write it in its own format.

    Raise `AttachmentRefused` when it is no picture, `AttachmentTooLarge` when it has too many pixels.
    """
    # As `opened` does: not before it is needed.
    from PIL import Image, ImageOps

    try:
        with opened(data) as picture:
            if picture.width * picture.height <= PIXELS_MOST:
                return _cut(ImageOps.exif_transpose(picture), "JPEG" if picture.format == "MPO" else picture.format)
    except Image.DecompressionBombError:
        pass
    except Exception as error:
        # Whatever a hostile picture does to its decoder.
        raise AttachmentRefused("The first frame cannot be read as a picture.") from error
    raise AttachmentTooLarge(f"The first frame has more than {PIXELS_MOST // 1_000_000} million pixels.")


def _cut(picture: "Picture", format_: str | None) -> bytes:
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    width, height = picture.size
    kept = min(height, width * HEIGHT / WIDTH)
    top = (height - kept) / 2
    # Cutting while scaling: a narrow, high picture would be huge if it were scaled first.
    size = (WIDTH, max(1, round(kept * WIDTH / width)))
    out = BytesIO()
    cut = picture.resize(size, LANCZOS, box=(0, top, width, top + kept))
    cut.save(out, format_, **({"quality": 95} if format_ == "JPEG" else {}))
    return out.getvalue()
