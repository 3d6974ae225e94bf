"""Reading JSON objects field by field: every mistake is a `BadRequest` that names the path.

For the faces of the API, and for providers that read their site's own options:
`Fields(request.extra).choice("video_style", STYLES)`.
"""

from collections.abc import Collection, Mapping
from typing import Any

from attrs import field, frozen

from shared.openai.errors import BadRequest


@frozen
class Fields:
    """A JSON object and where it stands: `path` is "messages[2]", or empty for the body itself.

    A field that is null counts as absent. Every reader raises `BadRequest` for a value of another type.
    """

    values: Mapping[str, Any] = field(repr=False)
    path: str = ""

    def at(self, name: str) -> str:
        """Give the path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, wanted: str) -> BadRequest:
        """Make the error for a field that is not what is `wanted` ("a string", "an object", ...)."""
        path = self.at(name)
        return BadRequest(f"`{path}` must be {wanted}.", path)

    def has(self, name: str) -> bool:
        """Tell whether the field is there and not null."""
        return self.values.get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        """Read a string."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def filled(self, name: str) -> str:
        """Read a string that must be there and not be empty."""
        value = self.values.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a string that is not empty")
        return value

    def flag(self, name: str) -> bool:
        """Read true or false, also as 1 or 0; absent is false."""
        value = self.values.get(name)
        if value is None:
            return False
        if type(value) not in (bool, int) or value not in (0, 1):
            raise self.wrong(name, "true or false")
        return bool(value)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """Read a whole number from `least` to `most`, both included."""
        value = self.values.get(name)
        if value is None:
            return default
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, default: float) -> float:
        """Read a number, whole or not."""
        value = self.values.get(name)
        if value is None:
            return default
        if type(value) not in (int, float):
            raise self.wrong(name, "a number")
        try:
            return float(value)
        except OverflowError:
            raise self.wrong(name, "a number") from None

    def choice(self, name: str, options: Collection[str], default: str = "") -> str:
        """Read one of the `options`."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in options:
            raise self.wrong(name, f"one of {'/'.join(options)}")
        return value

    def inner(self, name: str) -> "Fields | None":
        """Read an object, None when absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value, self.at(name))

    def without(self, *names: str) -> dict[str, Any]:
        """Give the fields of other names, as they came."""
        return {name: value for name, value in self.values.items() if name not in names}
