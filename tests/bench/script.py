"""What the fake site is told to answer, in the only text that passes through a service unchanged: the prompt."""

import re
from itertools import pairwise
from typing import Self

from attrs import frozen

GROWTH = 4
"""Characters each frame adds: a token or two of Chinese, as the sites send them."""

_ORDER = re.compile(rb"frames-(\d+)-every-(\d+)-start-(\d+)")
"""Of characters that no JSON, form or query escapes: it is found wherever a site carries the prompt."""
_SENTENCE = "流式接口把回答分成许多小段 (chunks) 依次送出，客户端可以边收边显示。"


@frozen
class Script:
    """One answer: `frames` in all, `every` so many milliseconds (0: all in one write), `start` characters at first."""

    frames: int
    every: int = 0
    start: int = GROWTH

    @classmethod
    def read(cls, call: bytes) -> Self:
        """Find the order in a call, head or body; raise `ValueError` when there is none."""
        order = _ORDER.search(call)
        if order is None:
            raise ValueError("the prompt has no order for the fake site")
        return cls(*map(int, order.groups()))

    def prompt(self) -> str:
        """Write what `read` reads."""
        return f"frames-{self.frames}-every-{self.every}-start-{self.start}"

    def texts(self, count: int) -> list[str]:
        """Give the text as it grows, all of it so far in each of `count` steps."""
        whole = text(self.start + GROWTH * count)
        return [whole[: self.start + GROWTH * step] for step in range(count)]

    def pieces(self, count: int) -> list[str]:
        """Give the same text as what each of `count` steps adds."""
        texts = self.texts(count)
        return [after[len(before) :] for before, after in pairwise(["", *texts])]


def text(length: int) -> str:
    """Give a text of so many characters."""
    return (_SENTENCE * (length // len(_SENTENCE) + 1))[:length]
