"""The width and height of a picture. Pure, and slow: for an executor."""

from collections.abc import Mapping
from contextlib import suppress

from shared.pictures import opened

SIDES = ("width", "height")


def sizes(data: bytes) -> Mapping[str, int]:
    """Read the sides of a picture, in pixels, from its head; none when it cannot be read."""
    # Whatever a hostile picture does to its decoder.
    with suppress(Exception), opened(data) as picture:
        return dict(zip(SIDES, picture.size, strict=True))
    return {}
