from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from services.glm.crop import first_frame
from services.glm.files import elements
from shared.errors import AttachmentRefused, AttachmentTooLarge

FILE = {"file_id": "680f1d009a4b7d3e5f607190", "file_name": "a.pdf", "file_url": "https://s.example.com/a.pdf"}
IMAGE = {"file_id": "680f1d009a4b7d3e5f607191", "file_url": "https://s.example.com/b.png", "width": 2, "height": 3}
NAMED = {**IMAGE, "image_url": IMAGE["file_url"]}
SIZELESS = {**FILE, "width": 0, "height": 0}


@pytest.mark.parametrize(
    ("uploads", "wanted"),
    [
        ([], []),
        ([FILE], [{"type": "file", "file": [FILE]}]),
        ([SIZELESS], [{"type": "file", "file": [SIZELESS]}]),
        ([IMAGE], [{"type": "image", "image": [NAMED]}]),
        ([IMAGE, FILE, IMAGE], [{"type": "file", "file": [FILE]}, {"type": "image", "image": [NAMED] * 2}]),
        ([{"width": 1}], [{"type": "image", "image": [{"width": 1, "image_url": None}]}]),
        ([{"height": 1}], [{"type": "image", "image": [{"height": 1, "image_url": None}]}]),
    ],
)
def test_files_come_before_images(uploads: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert elements(uploads) == wanted


def picture(width: int, height: int, format_: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture with a red band across its middle third."""
    image = Image.new(mode, (width, height))
    if mode == "RGB":
        image.paste((255, 0, 0), (0, height // 3, width, height - height // 3))
    out = BytesIO()
    image.save(out, format_)
    return out.getvalue()


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1440, 960), (1440, 960)),
        ((1024, 1024), (1440, 960)),
        ((720, 540), (1440, 960)),
        ((1000, 3000), (1440, 960)),
        ((1920, 1080), (1440, 810)),
        ((4000, 1000), (1440, 360)),
        ((2880, 1920), (1440, 960)),
        ((1500, 1001), (1440, 960)),
        ((800, 1281), (1440, 960)),
        ((1, 1), (1440, 960)),
        ((1, 5000), (1440, 960)),
        ((5000, 1), (1440, 1)),
    ],
)
def test_scaled_to_the_width_and_cut_to_the_height(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    with Image.open(BytesIO(first_frame(picture(*size)))) as cut:
        assert cut.size == wanted
        assert cut.format == "PNG"


def test_the_middle_is_kept() -> None:
    with Image.open(BytesIO(first_frame(picture(600, 1200)))) as cut:
        # 2880 high when scaled: the middle third is all that is kept.
        assert cut.getpixel((720, 10)) == cut.getpixel((720, 950)) == (255, 0, 0)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_format_stays(format_: str) -> None:
    with Image.open(BytesIO(first_frame(picture(300, 300, format_)))) as cut:
        assert (cut.format, cut.size) == (format_, (1440, 960))


@pytest.mark.parametrize(
    ("mode", "format_"),
    [("L", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("I;16", "PNG")],
)
def test_every_mode(mode: str, format_: str) -> None:
    with Image.open(BytesIO(first_frame(picture(30, 30, format_, mode)))) as cut:
        assert (cut.format, cut.size) == (format_, (1440, 960))


def test_a_picture_on_its_side_is_set_upright() -> None:
    out = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 100)).save(out, "JPEG", exif=exif)
    with Image.open(BytesIO(first_frame(out.getvalue()))) as cut:
        assert cut.size == (1440, 960)


@pytest.mark.parametrize("data", [b"", b"no picture", b"GIF89a", picture(50, 50)[:60], b"%PDF-1.4"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(AttachmentRefused):
        first_frame(data)


@pytest.mark.parametrize("size", [(10_000, 5_001), (20_000, 20_000)])
def test_too_many_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(AttachmentTooLarge):
        first_frame(picture(*size, mode="1"))
