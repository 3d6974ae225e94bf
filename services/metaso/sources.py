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
        self._shift = 0

    def take(self, entries: list[Any], *, anew: bool) -> None:
        """Take a list that stands for all there are (`anew`); or one with more, with other forms, or with all again.

        An entry without a number of its own has the one its address is known by, else the next that is free. A list
        that numbers from 0 is counted from 1, as the marks in the text are.
        """
        if anew:
            self._known = {}
            self._last = self._shift = 0
        stated = [_own_number(entry) for entry in entries]
        if 0 in stated:
            self._shift = 1
        numbers = {known.url: number for number, known in self._known.items()}
        number = self._last
        for entry, own in zip(entries, stated, strict=True):
            url = _address(entry)
            if own is not None:
                number = own + self._shift
            elif url in numbers:
                number = numbers[url]
            else:
                number = (self._last if number + 1 in self._known else number) + 1
            self._last = max(self._last, number)
            if url:
                title = " ".join(_text(entry, _TITLES).split())
                self._known[number] = Reference(str(number), title, url)

    def due(self) -> list[Reference]:
        """Give the sources that were not given yet, or not in this form, by their numbers."""
        if self._known == self._given:
            return []
        new = [self._known[number] for number in sorted(self._known) if self._known[number] != self._given.get(number)]
        self._given = dict(self._known)
        return new


def _own_number(entry: Any) -> int | None:
    """Give the number an entry states, None if it states none."""
    value = inner(entry, "index")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS_MOST:
        return int(value)
    return value if type(value) is int and value >= 0 else None


def _address(entry: Any) -> str:
    """Give the http(s) address of an entry; empty when it has none."""
    return next(filter(None, (as_address(as_text(inner(entry, name)).strip()) for name in _ADDRESSES)), "")


def _text(entry: Any, names: tuple[str, ...]) -> str:
    """Give the first of these fields that is a text with something in it."""
    texts = (as_text(inner(entry, name)) for name in names)
    return next((text for text in texts if text.strip()), "")
