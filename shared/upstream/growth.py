"""Frames that carry all of a text again and again, read by what is new of them. Pure.

Most frames of such a site are the frame before with a little more text in one place. JSON whose bytes begin like the
frame before up to the end of that text, go on with a valid piece of a string, and end like the frame before, says
just that. Then the piece alone is read: a frame costs what is new of it, not what all of it costs.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

import orjson

TAIL = 8
"""Characters of its end by which a text is found in a frame."""

_WRITERS: tuple[Callable[[str], bytes], ...] = (orjson.dumps, lambda text: json.dumps(text).encode())
"""How sites write a text: as it is, or in ASCII."""

_TRUST = 3
"""Places learned and never used after which no more are: learning one costs as much as reading the frame again."""


class Growth:
    """The place in a reply's frames where a text grows."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._trust = _TRUST

    def added(self, frame: bytes) -> str | None:
        """Give what the text of this frame has more than that of the frame before.

        None when more than that has changed, or the place is not known: then the frame has to be read.
        """
        rest = frame.removeprefix(self._head)
        piece = rest.removesuffix(self._tail)
        if rest == frame or piece == rest:
            self._head = b""
            return None
        try:
            text: str = orjson.loads(b'"%b"' % piece)
        except ValueError:
            self._head = b""
            return None
        self._head = frame.removesuffix(self._tail)
        self._trust = _TRUST
        return text

    def forget(self) -> None:
        """A frame said more than its bytes: what follows it has to be read."""
        self._head = b""

    def learn(self, frame: bytes, length: int, tail: str, place: Iterable[str | int]) -> None:
        """Find where in a frame that was read its text ends.

        `length` is in characters, `tail` the last `TAIL` of them, `place` the names and indices that lead to the text.
        """
        if not self._trust or not tail:
            return
        self._trust -= 1
        for write in _WRITERS:
            try:
                written = write(tail)
            except TypeError:
                # Half a character: its other half comes with the next piece.
                return
            found = frame.rfind(written[1:])
            if found >= 0:
                self._prove(frame, found + len(written) - 2, length, tail, place)
                return

    def _prove(self, frame: bytes, end: int, length: int, tail: str, place: Iterable[str | int]) -> None:
        """Keep the place if a character put there is the next one of the text."""
        before, after = frame[:end], frame[end:]
        try:
            value: Any = orjson.loads(b"%b.%b" % (before, after))
            for name in place:
                value = value[name]
        except (ValueError, LookupError, TypeError):
            return
        if type(value) is str and len(value) == length + 1 and value.endswith(f"{tail}."):
            self._head, self._tail = before, after
