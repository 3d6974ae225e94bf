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
    """One item of a part."""

    kind: str
    index: int
    """Its place in the part."""
    listed: bool = False
    """Whether it has ever had anything to show."""
    finished: bool = False
    stated: bool = False
    """Whether its last version had a status, and whether that said that it is finished."""
    changed: int = 0
    """The number of the frame that last changed it."""
    text: str = ""
    """Of a text, all of it, until it is given."""
    entries: list[Any] = field(factory=list)
    """Of pictures their addresses, of sources what is said of each."""
    seen: int = 0
    tail: str = ""
    """Of a text, its characters as last seen: how many, and the last of them, which tell whether it has only grown."""
    given: int = 0
    """How many characters or entries have left."""
    begun: bool = False
    """Whether any have; of code, whether its fence is open."""
    passed: bool = False
    """Whether it was taken for over."""

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
    """One part."""

    name: str
    """The site's own; empty where it gives none."""
    position: int = 0
    """Its place in the frame that last had it."""
    finished: bool = False
    stated: bool = False
    changed: int = 0
    passed: bool = False
    """As of an item."""
    slots: dict[int, Item] = field(factory=dict)
    """Its items by their places in the last frame."""
    known: dict[tuple[int, str], Item] = field(factory=dict)
    """Its items by place and kind, those too that another has taken the place of."""
    last: int = 0
    """The last place there has been."""
    items: list[Item] = field(factory=list)
    """Its items that have something to show, in order."""
    at: int = 0
    """How many of these are over."""

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
