"""A decoder behind its framing, fed with the bytes of a body."""

from collections.abc import Iterable

from shared.deltas import Delta, Failed, Finish
from shared.reply import Decoder, Framer


def decoded(pieces: Iterable[bytes], framer: Framer, decoder: Decoder) -> list[Delta]:
    """All deltas of a body that arrives in these pieces."""
    out: list[Delta] = []
    for piece in pieces:
        for frame in framer.feed(piece):
            out += decoder.feed(frame)
    for frame in framer.end():
        out += decoder.feed(frame)
    return out + decoder.end()


def counted(deltas: list[Delta]) -> list[Delta]:
    """Leave out what follows the last delta of a reply: nobody reads it."""
    last = next((place for place, delta in enumerate(deltas) if isinstance(delta, Finish | Failed)), len(deltas))
    return deltas[: last + 1]
