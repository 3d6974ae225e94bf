"""Citation marks, taken out of a text that arrives in pieces. Pure.

What a site writes into its text for a source (`【1†来源】`, `<web_1>`, `[[1]]`) becomes a `Cite` wherever the pieces
are cut; the end of a piece that may still become a mark is held back until the next piece, or `flush`, decides.
"""

import re
from collections.abc import Callable

from attrs import frozen

from shared.deltas import Cite, Delta, Text


def group_that_matched(match: re.Match[str]) -> str:
    """Give the text of the last group that took part in the match: the usual key."""
    return match[match.lastindex or 0]


@frozen
class MarkStyle:
    """How a site writes its marks.

    `whole` matches one mark, and no mark may be the beginning of another; `begun` fully matches every beginning of a
    mark that is not whole yet; every mark begins with the character `opener`; `longest` is the most
    characters a mark has, which bounds what is held back and looked at; `key` makes the key of the `Cite` of a match.
    """

    whole: re.Pattern[str]
    begun: re.Pattern[str]
    opener: str
    longest: int
    key: Callable[[re.Match[str]], str] = group_that_matched


class Marks:
    """One text's marks. Each character leaves once, in order, in a `Text` or as part of a mark."""

    def __init__(self, style: MarkStyle) -> None:
        self._style = style
        self._opener = style.opener
        self._held = ""

    def feed(self, text: str) -> list[Delta]:
        """Take the next piece; give what can be decided. A `Text` given is never empty."""
        if self._held:
            text = self._held + text
            self._held = ""
        if self._opener in text:
            return self._split(text)
        return [Text(text)] if text else []

    def flush(self) -> list[Delta]:
        """The text ends here: give what was held back, as the plain text it turned out to be."""
        held, self._held = self._held, ""
        return [Text(held)] if held else []

    def _split(self, text: str) -> list[Delta]:
        style = self._style
        out: list[Delta] = []
        plain = 0
        at = text.find(self._opener)
        while at >= 0:
            after = at + 1
            # Looking no further than the longest mark keeps the work linear, and the same for every cut.
            limit = min(len(text), at + style.longest)
            mark = style.whole.match(text, at, limit)
            if mark is not None:
                if at > plain:
                    out.append(Text(text[plain:at]))
                out.append(Cite(style.key(mark)))
                plain = after = mark.end()
            elif at + style.longest > len(text) and style.begun.fullmatch(text, at):
                self._held = text[at:]
                break
            at = text.find(self._opener, after)
        end = len(text) - len(self._held)
        if end > plain:
            out.append(Text(text[plain:end]))
        return out
