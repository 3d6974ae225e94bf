"""What a frame's parts and items are, and what is remembered of each. Pure."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from shared.upstream.shapes import as_address, as_list, inner

STREAMED = {"text": "text", "think": "think", "code": "code"}
"""Kinds of items given as they grow, and the field that holds their text."""
TEXTS = {**STREAMED, "execution_output": "content"}
"""The same, with those given when they are over."""
SOURCES = {
    "quote_result": ("meta_data", "metadata_list"),
    "tool_result": ("meta_data", "tool_result_extra", "search_results"),
}
"""Kinds of items that name sources, and where in their part, or in the item, these are."""
QUIET = frozenset({"tool_calls", "browser_result", "system_error"})
"""Known kinds of items with nothing for the reader."""
KNOWN = frozenset({"image", *TEXTS, *SOURCES, *QUIET})
SILENCED = frozenset({"think", *SOURCES})
"""Kinds a `silent` model leaves out."""


@define(eq=False)
class Item:
    """One item of a part, `index` its place in it.

    `listed` is whether it has ever had anything to show, `stated` whether its last version had a status, `finished`
    whether that said so. `changed` is the number of the frame that last changed it. Of a text, `seen` counts the
    characters as last seen, `tail`, the last of them, tells whether it has only grown, and `text` is the whole until it
    is given; `entries` are the addresses of pictures, or sources. `given` counts what has left, `begun` is whether
    anything has (of code: whether its fence is open), `passed` whether it was taken for over.
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

    def again(self, value: Any, holder: Mapping[str, Any], *, settled: bool) -> bool:
        """Tell whether an entry of a part's content (`holder`) is this item: it begins with what the item said.

        A list that is not `settled` may still change, but for what has left.
        """
        if inner(value, "type") != self.kind:
            return False
        name = TEXTS.get(self.kind)
        if name is None:
            kept = self.entries if settled else self.entries[: self.given]
            now = listed(self.kind, value, holder)
            return not now or now[: len(kept)] == kept
        text = value.get(name)
        return type(text) is not str or not text or text.startswith(self.tail, self.seen - len(self.tail))


@define(eq=False)
class Part:
    """One part, `position` its place in the frame that last had it, `name` the site's (empty where it gives none).

    `stated`, `finished`, `changed` and `passed` say of it what they say of an item. `slots` are its items by place in
    the frame, `last` the last such place; `known` are those too that stood in a place before. `items` are those with
    something to show, in order, and `at` counts those of them that are over.
    """

    name: str
    position: int = 0
    finished: bool = False
    stated: bool = False
    changed: int = 0
    passed: bool = False
    slots: dict[int, Item] = field(factory=dict)
    known: dict[tuple[int, str], Item] = field(factory=dict)
    last: int = 0
    items: list[Item] = field(factory=list)
    at: int = 0

    @property
    def settled(self) -> bool:
        """Whether what it lists stays, as far as is known."""
        return self.finished or not self.stated

    def again(self, value: Mapping[str, Any]) -> bool:
        """Tell whether a part in this one's place is this one: not begun anew, it begins with what this one said."""
        if self.finished and value.get("status") not in (None, "finish"):
            return False
        content = as_list(value.get("content"))
        return not content or all(
            index < len(content) and item.again(content[index], value, settled=self.settled)
            for index, item in self.slots.items()
        )


def address(value: Any, name: str) -> str:
    """Give the http(s) address that an object has under a name; empty when it has none."""
    return as_address(inner(value, name))


def found(value: Any, path: tuple[str, ...]) -> list[Any]:
    """Give the list at the end of a path of names; empty when there is none."""
    return as_list(inner(value, *path))


def listed(kind: str, value: Any, holder: Any) -> list[Any]:
    """Give what an item lists: the addresses of its pictures, or the sources that it or its part (`holder`) names."""
    if kind == "image":
        return [url for picture in found(value, ("image",)) if (url := address(picture, "image_url"))]
    path = SOURCES.get(kind, ())
    return found(holder, path) or found(value, path)
