"""Frames of one answer, to deltas. Pure.

A frame carries parts, a part carries items, and an item's text is cumulative: all of it so far. Frames may carry
the parts now being written, or all so far, again and again. What is new of each item is given once, in the order
in which the parts and items first appeared; an item that begins while an earlier one is still being written is
held back, for a while.
"""

from collections.abc import Mapping
from typing import Any

from services.glm.parts import KNOWN, QUIET, SOURCES, STREAMED, TEXTS, Item, Part, found, listed
from services.glm.refusals import codes_in, refusal_in
from services.glm.sources import Sources
from shared.deltas import Delta, Failed, Finish, Image, Text, Thinking, Unknown
from shared.surrogates import whole, without_open_half
from shared.terms import Conversation
from shared.upstream.growth import TAIL, Growth
from shared.upstream.json import loads
from shared.upstream.refusals import unreadable
from shared.upstream.sse import SseFrame

PATIENCE = 8
"""Frames without a change of an unfinished item after which what follows it is held back no longer."""

_FENCE = ("```python\n", "\n```\n")


class GlmDecoder:
    """Decodes one answer of `assistant`; items of the kinds in `silenced` are left out.

    With `to_the_close` what is `finished` may go on: only the end of the body ends the answer.
    """

    def __init__(self, assistant: str, *, to_the_close: bool = False, silenced: frozenset[str] = frozenset()) -> None:
        self.conversation: Conversation | None = None
        self.finished = False
        self._to_the_close = to_the_close
        self._assistant = assistant
        self._silenced = silenced
        self._sources = Sources()
        self._marks = self._sources.marks()
        self._by_key: dict[str | int, Part] = {}
        self._parts: list[Part] = []
        self._at = 0
        self._since = 0
        self._frames = 0
        self._late: list[Item] = []
        self._writing: Item | None = None
        self._growth = Growth()
        self._grown: list[str] = []
        self._last_kind = ""
        self._over = False

    def feed(self, frame: SseFrame) -> list[Delta]:
        """Take the next frame, give what it adds. A refusal or an end is the last delta."""
        if self._over:
            return []
        new = self._growth.added(frame.data)
        if new is not None:
            return self._grow(new)
        out: list[Delta] = []
        if self._grown:
            self._settle()
        try:
            message = loads(frame.data)
        except ValueError:
            if frame.blank:
                return out
            return self._close(out, Failed(unreadable(frame)))
        if type(message) is not dict:
            out.append(Unknown("malformed frame"))
            return out
        if self.conversation is None:
            self._name(message)
        parts = message.get("parts")
        if parts:
            self._take_parts(parts, out)
        status = message.get("status")
        error = message.get("last_error")
        if status != "finish" and status != "intervene" and not error and parts is not None:
            self._learn(frame.data)
            return out
        return self._judge(message, out)

    def end(self) -> list[Delta]:
        """The body is over: give what was held back."""
        out: list[Delta] = []
        return out if self._over else self._close(out)

    # --- the frame -------------------------------------------------------------------------------------------

    def _name(self, message: Mapping[str, Any]) -> None:
        name = message.get("conversation_id")
        if type(name) in (str, int) and name:
            self.conversation = Conversation(whole(str(name)), about={"assistant_id": self._assistant})

    def _judge(self, message: Mapping[str, Any], out: list[Delta]) -> list[Delta]:
        """Tell whether a frame ends the answer, and how."""
        error = message.get("last_error")
        said = error if isinstance(error, dict) else {"message": error}
        notice = said.get("intervene_text")
        if message.get("status") == "intervene" or notice:
            self._close(out)
            if isinstance(notice, str) and notice:
                out.append(Text(whole(f"\n\n{notice}")))
            out.append(Finish("content_filter"))
            return out
        refused = refusal_in(said) if error else None
        if refused is None and "parts" not in message:
            coded = codes_in(message) or not isinstance(message.get("status"), str)
            refused = refusal_in(message) if coded else None
        if refused is not None:
            return self._close(out, Failed(refused))
        if error:
            out.append(Unknown("last_error"))
        if message.get("status") == "finish":
            self.finished = True
            return out if self._to_the_close else self._close(out, Finish())
        return out

    def _close(self, out: list[Delta], last: Delta | None = None) -> list[Delta]:
        """Give all that is held back, then `last`."""
        self._over = True
        self._sources.give(None, out)
        for part in self._parts:
            for item in part.items:
                self._give(item, True, out)
                self._pass(item, out)
        out += self._marks.flush()
        if last is not None:
            out.append(last)
        return out

    def _take_parts(self, parts: Any, out: list[Delta]) -> None:
        self._frames += 1
        if type(parts) is not list:
            out.append(Unknown("malformed parts"))
            return
        for position, part in enumerate(parts):
            if type(part) is dict:
                self._take_part(position, part, out)
            else:
                out.append(Unknown("malformed part"))
        if self._sources.waiting:
            self._sources.give(self._parts[-1], out)
        if self._late:
            self._give_late(out)
        self._advance(out)

    # --- the common frame ------------------------------------------------------------------------------------

    def _grow(self, new: str) -> list[Delta]:
        """Take a frame that says only that the text being written has grown, or not even that."""
        self._grown.append(new)
        item = self._writing
        if item is None or item.kind == "text":
            # Nearly every frame of a reply is this one, and text in hand has nothing to begin.
            return self._marks.feed(new)
        out: list[Delta] = []
        if new:
            self._write(item, new, out)
        return out

    def _settle(self) -> None:
        """Note what such frames have added."""
        part, item = self._parts[-1], self._parts[-1].items[-1]
        grown, self._grown = self._grown, []
        frames = self._frames
        self._frames += len(grown)
        # What was only said again at the end has changed nothing.
        while grown and not grown[-1]:
            grown.pop()
        if grown:
            item.changed = part.changed = frames + len(grown)
        text = "".join(grown)
        item.seen = item.given = item.seen + len(text)
        item.tail = (item.tail + text)[-TAIL:]

    def _learn(self, frame: bytes) -> None:
        """Find where in the frames the text being written grows, if it is the last there is and nothing waits."""
        if self._at + 1 != len(self._parts) or self.conversation is None:
            return
        part, item = self._parts[-1], self._writing
        waiting = part.at + 1 != len(part.items) or part.items[-1] is not item
        # In a frame that says nothing of this part, the text in its place is another's.
        waiting = waiting or part.changed != self._frames
        if item is None or waiting or item.kind not in STREAMED or item.seen != item.given or item.passed:
            return
        place = ("parts", part.position, "content", item.index, STREAMED[item.kind])
        self._growth.learn(frame, item.seen, item.tail, place)

    # --- what a frame says of parts and items ----------------------------------------------------------------

    def _take_part(self, position: int, value: dict[str, Any], out: list[Delta]) -> None:
        name = value.get("logic_id")
        key: str | int = name if type(name) is str and name else position
        part = self._by_key.get(key)
        content = value.get("content")
        if part is not None and not part.name and not part.again(value):
            # Known by its place only, this is the next part there.
            part.finished = True
            part = None
        if part is None:
            if not content:
                return
            part = self._by_key[key] = Part(key if type(key) is str else "")
            self._parts.append(part)
        status = value.get("status")
        part.position = position
        part.finished = status == "finish"
        part.stated = status is not None
        if type(content) is list:
            for index, item in enumerate(content):
                self._take_item(part, index, item, value, out)
        elif content is not None:
            out.append(Unknown("malformed content"))

    def _take_item(self, part: Part, index: int, value: Any, holder: dict[str, Any], out: list[Delta]) -> None:
        kind = value.get("type") if type(value) is dict else None
        if type(kind) is not str:
            out.append(Unknown("malformed item"))
            return
        item = part.slots.get(index)
        if item is None or item.kind != kind:
            item = self._turn(part, index, value, holder, out)
        status = value.get("status")
        item.finished = status == "finish"
        item.stated = status is not None
        if kind in self._silenced or kind in QUIET:
            return
        name = TEXTS.get(kind)
        if name is not None:
            self._take_text(part, item, value.get(name), out)
        elif kind in SOURCES:
            self._sources.take(part, item, listed(kind, value, holder))
        elif kind == "image" and found(value, ("image",)):
            # One without an address yet keeps its place.
            item.entries = listed(kind, value, holder)
            self._changed(part, item, len(item.entries) > item.given)

    def _turn(self, part: Part, index: int, value: Any, holder: dict[str, Any], out: list[Delta]) -> Item:
        """Give the item that has taken a place, perhaps for the second time; the one of another kind is over."""
        before = part.slots.get(index)
        if before is not None:
            before.finished = True
        kind = value["type"]
        item = part.known.get((index, kind))
        if item is None or not item.again(value, holder, settled=False):
            item = part.known[index, kind] = Item(kind, index, passed=part.passed)
            part.last = max(part.last, index)
            if kind not in KNOWN:
                out.append(Unknown(whole(kind)))
        part.slots[index] = item
        return item

    def _take_text(self, part: Part, item: Item, value: Any, out: list[Delta]) -> None:
        if type(value) is not str:
            if value is not None:
                out.append(Unknown("malformed item"))
            return
        text = without_open_half(value)
        if not text:
            return
        if not text.startswith(item.tail, item.seen - len(item.tail)):
            out.append(Unknown("rewritten"))
        grown = len(text) != item.seen
        item.text = text
        item.seen = len(text)
        item.tail = text[-TAIL:]
        self._changed(part, item, grown)

    def _changed(self, part: Part, item: Item, changed: bool) -> None:
        if not item.listed:
            item.listed = changed = True
            item.passed = item.passed or part.passed
            part.items.append(item)
        if changed:
            item.changed = part.changed = self._frames
        if item.passed:
            self._late.append(item)

    # --- what leaves -----------------------------------------------------------------------------------------

    def _advance(self, out: list[Delta]) -> None:
        """Give what is new, up to the first item that is still being written."""
        while self._at < len(self._parts):
            part = self._parts[self._at]
            last = self._at + 1 == len(self._parts)
            if not self._drain(part, last, out) or last:
                return
            quiet = self._quiet(part.changed)
            over = part.finished or (not part.stated and all(item.finished for item in part.items))
            if not (over or quiet or not part.items):
                return
            part.passed = True
            self._at += 1
            self._since = self._frames

    def _drain(self, part: Part, last: bool, out: list[Delta]) -> bool:
        """Give what is new in a part; tell whether all its items are over."""
        items = part.items
        while part.at < len(items):
            item = items[part.at]
            followed = part.at + 1 < len(items)
            over = part.finished or item.finished or (followed and not item.stated and not item.empty)
            if not over and (followed or not last):
                over = self._quiet(item.changed)
            self._give(item, over, out)
            if not over:
                return False
            self._pass(item, out)
            part.at += 1
        return True

    def _quiet(self, changed: int) -> bool:
        """Tell whether what last changed then is taken for over; while it stood behind another part, it was not."""
        return self._frames - max(changed, self._since) >= PATIENCE

    def _give_late(self, out: list[Delta]) -> None:
        """Give what items that were taken for over have added, where the answer is now."""
        for item in self._late:
            self._give(item, True, out)
        self._late.clear()

    def _give(self, item: Item, over: bool, out: list[Delta]) -> None:
        """Give what is new of an item; pictures and output of code only when they are over."""
        if item.kind not in STREAMED and not over:
            return
        if item.kind == "image":
            for url in item.entries[item.given :]:
                self._begin(item, out)
                out.append(Image(url))
            item.given = len(item.entries)
        elif item.seen > item.given:
            new = whole(item.text[item.given :])
            item.given = item.seen
            self._write(item, new, out)
        # What has been given need not be kept.
        item.text = ""

    def _write(self, item: Item, new: str, out: list[Delta]) -> None:
        begun = item.begun
        if self._writing is not item or not begun:
            self._begin(item, out)
        if item.kind == "text":
            out += self._marks.feed(new)
        elif item.kind == "think":
            out.append(Thinking(new))
        elif item.kind == "code":
            out.append(Text(new if begun else _FENCE[0] + new))
        else:
            out.append(Text(f"{new}\n"))

    def _begin(self, item: Item, out: list[Delta]) -> None:
        """Turn to an item: with a line end where two items would run together."""
        self._leave(out)
        self._writing = item
        before, self._last_kind = self._last_kind, item.kind
        if item.begun:
            return
        item.begun = True
        if before == "text" or (before == "image" and item.kind in ("text", "think")):
            out.append(Text("\n"))

    def _leave(self, out: list[Delta]) -> None:
        """Leave the item being written: a mark that is not whole is text, a fence is closed."""
        out += self._marks.flush()
        item = self._writing
        if item is not None and item.kind == "code" and item.begun:
            out.append(Text(_FENCE[1]))
            item.begun = False

    def _pass(self, item: Item, out: list[Delta]) -> None:
        """Take an item for over."""
        item.passed = True
        if self._writing is item:
            self._leave(out)
