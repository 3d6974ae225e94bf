"""What a frame's parts and items are, and what is remembered of each. Pure."""

from typing import Any

from attrs import define, field

from shared.upstream.shapes import as_address, as_list, inner

STREAMED = {"text": "text", "think": "think", "code": "code"}
"""Kinds of items given as they grow, and the field that holds their text."""
SOURCES = {
    "quote_result": ("meta_data", "metadata_list"),
    "tool_result": ("meta_data", "tool_result_extra", "search_results"),
}
"""Kinds of items that name sources, and where in their part, or in the item, these are."""
QUIET = frozenset({"tool_calls", "browser_result", "system_error"})
"""Known kinds of items with nothing for the reader."""
KNOWN = frozenset({"execution_output", "image", *STREAMED, *SOURCES, *QUIET})
SILENCED = frozenset({"think", *SOURCES})
"""Kinds a `silent` model leaves out."""


@define(eq=False)
class Item:
    """One item of a part, `index` its place in it.

    `seen` counts the characters of its text as last seen, and `tail`, the last of them, tells whether it has only
    grown; `given` counts what has left; `listed` is whether it has ever had anything to show, `passed` whether it was
    taken for over.
    """

    kind: str
    index: int
    listed: bool = False
    finished: bool = False
    stated: bool = False
    changed: int = 0
    text: str = ""
    entries: list[Any] = field(factory=list)
    seen: int = 0
    tail: str = ""
    given: int = 0
    begun: bool = False
    passed: bool = False

    @property
    def empty(self) -> bool:
        """Whether it only keeps the place of pictures that have no address yet."""
        return not (self.seen or self.entries)


@define(eq=False)
class Part:
    """One part, `position` its place in the frame that last had it.

    `slots` are its items by place in the frame, `items` those with something to show, in that order. `at` is the first
    of `items` that is not over; `name` is the site's, empty where a part is known by its place.
    """

    name: str
    position: int = 0
    finished: bool = False
    stated: bool = False
    changed: int = 0
    passed: bool = False
    slots: dict[int, Item] = field(factory=dict)
    items: list[Item] = field(factory=list)
    at: int = 0


def address(value: Any, name: str) -> str:
    """Give the http(s) address that an object has under a name; empty when it has none."""
    return as_address(inner(value, name))


def found(value: Any, path: tuple[str, ...]) -> list[Any]:
    """Give the list at the end of a path of names; empty when there is none."""
    return as_list(inner(value, *path))
