"""What an answer cites: its sources, and the marks in its text that name them. Pure."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from services.glm.parts import Item, Part, address
from shared.deltas import Delta, Reference
from shared.marks import Marks, MarkStyle
from shared.upstream.shapes import as_text, inner

_MARK = re.compile("【([0-9]{1,4})†(?:来源|源|source)】|【(turn[0-9]{1,4}[a-z]{1,12}[0-9]{1,4})】")
_MARK_BEGUN = re.compile(
    "【(?:[0-9]{1,4}(?:†(?:来?|来?源|s(?:o(?:u(?:r(?:ce?)?)?)?)?))?"
    "|t(?:u(?:r(?:n(?:[0-9]{1,4}(?:[a-z]{1,12}[0-9]{0,4})?)?)?)?)?)?"
)
_MARK_LONGEST = 26


class Sources:
    """The sources of one answer, numbered as its marks count them. `waiting` are items whose list may not be whole."""

    def __init__(self) -> None:
        self.waiting: dict[Item, Part] = {}
        self._keys: dict[str, None] = {}

    def marks(self) -> Marks:
        """Give the marks of the answer's text."""
        # Not by a method: what holds itself would be left to the garbage collector, which stops everyone.
        return Marks(MarkStyle(_MARK, _MARK_BEGUN, "【", _MARK_LONGEST, partial(_cited, self._keys)))

    def take(self, part: Part, item: Item, entries: list[Any]) -> None:
        """Note the sources that an item lists so far."""
        if len(entries) > item.given:
            item.entries = entries
            self.waiting[item] = part

    def give(self, newest: Part | None, out: list[Delta]) -> None:
        """Give those of every list that is whole: something has begun behind it. `newest` is the part that is open."""
        for item, part in list(self.waiting.items()):
            if part.settled or item.finished or part is not newest or item.index < part.last:
                del self.waiting[item]
                for entry in item.entries[item.given :]:
                    self._refer(entry, out)
                item.given = len(item.entries)

    def _refer(self, entry: Any, out: list[Delta]) -> None:
        """Number a source, as the marks of the text count, and give it."""
        url = address(entry, "url")
        key = as_text(inner(entry, "match_key")) or str(len(self._keys) + 1)
        if key in self._keys:
            return
        self._keys[key] = None
        if url:
            out.append(Reference(key, as_text(inner(entry, "title")), url))


def _cited(keys: Mapping[str, None], match: re.Match[str]) -> str:
    """Give the key of the source that a mark cites, by its running number or by its own key."""
    number, key = match.groups()
    if number is None:
        return key
    named = list(keys)
    return named[int(number) - 1] if 0 < int(number) <= len(named) else number
