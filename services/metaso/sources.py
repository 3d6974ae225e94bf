"""The sources of an answer, as the site's lists of references give and change them. Pure."""

from typing import Any

from shared.deltas import Reference
from shared.upstream.shapes import as_address, as_text, inner

_TITLES = ("title", "name")
_ADDRESSES = ("link", "url", "href")
_DIGITS_MOST = 9


class Sources:
    """The sources known so far, by the numbers with which the text cites them."""

    def __init__(self) -> None:
        self._known: dict[int, Reference] = {}
        self._given: dict[int, Reference] = {}
        self._last = 0

    def take(self, entries: list[Any], *, anew: bool) -> None:
        """Take a list that stands for all there are (`anew`); or one with more, with other forms, or with all again.

        An entry without a number of its own has the next one. A list that begins with a known source is all again.
        """
        if anew:
            self._known = {}
            self._last = 0
        first = _address(entries[0]) if entries else ""
        again = next((number for number, known in self._known.items() if known.url == first), None)
        number = self._last if again is None else again - 1
        for entry in entries:
            number = _own_number(entry) or number + 1
            self._last = max(self._last, number)
            if url := _address(entry):
                title = " ".join(_text(entry, _TITLES).split())
                self._known[number] = Reference(str(number), title, url)

    def due(self) -> list[Reference]:
        """Give the sources that were not given yet, or not in this form, by their numbers."""
        if self._known == self._given:
            return []
        new = [self._known[number] for number in sorted(self._known) if self._known[number] != self._given.get(number)]
        self._given = dict(self._known)
        return new


def _own_number(entry: Any) -> int:
    """Give the number an entry states, 0 if it states none."""
    value = inner(entry, "index")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS_MOST:
        return int(value)
    return value if type(value) is int and value > 0 else 0


def _address(entry: Any) -> str:
    """Give the http(s) address of an entry; empty when it has none."""
    return as_address(_text(entry, _ADDRESSES).strip())


def _text(entry: Any, names: tuple[str, ...]) -> str:
    """Give the first of these fields that is a text with something in it."""
    texts = (as_text(inner(entry, name)) for name in names)
    return next((text for text in texts if text.strip()), "")
