"""Events of one answer, to deltas. Pure.

The answer comes in pieces of text, with marks `[[3]]` for the sources, which come as lists: one before the text,
sometimes others later.
"""

import re
from typing import Any

from services.metaso.refusals import event_problem, problem, unreadable
from services.metaso.sources import Sources
from shared.deltas import Delta, Failed, Finish, Unknown
from shared.marks import Marks, MarkStyle
from shared.surrogates import Halves, whole
from shared.terms import Conversation
from shared.upstream.json import loads
from shared.upstream.sse import SseFrame

_DONE = b"[DONE]"
_ALL_SOURCES, _MORE_SOURCES = "set-reference", "update-reference"
_QUIET = frozenset({"query", "answer-link-num-highlights", "recommended-question", "heartbeat"})
"""Known types of events with nothing for the reader."""

_DIGITS = "[0-9]{1,9}"
_MARK_STYLE = MarkStyle(
    whole=re.compile(rf"\[\[({_DIGITS})\]\]"),
    begun=re.compile(rf"\[(?:\[(?:{_DIGITS}\]?)?)?"),
    opener="[",
    longest=13,
    key=lambda match: str(int(match[1])),
)


def _beginnings(literal: str, then: str) -> str:
    """Write a pattern of every beginning of a literal, and of the whole of it with `then` after it."""
    for character in reversed(literal):
        then = f"(?:{re.escape(character)}{then})?"
    return then


class Label:
    """The tag `<span ...>[AI生成]</span>` at the end of a text: taken off, however the text is cut."""

    _WHOLE = re.compile(r"<span(?:\s[^<>]{0,400})?>\[AI生成\]</span>\s*")
    _BEGUN = re.compile(_beginnings("<span", r"(?:\s[^<>]{0,400})?" + _beginnings(">[AI生成]</span>", r"\s*")))

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Take the next piece; give all but what may turn out to be the tag."""
        if self._held:
            text = self._held + text
            self._held = ""
        at = text.find("<")
        while at >= 0:
            if self._BEGUN.fullmatch(text, at):
                self._held = text[at:]
                return text[:at]
            at = text.find("<", at + 1)
        return text

    def flush(self) -> str:
        """The text ends here: give what was held back, unless it is the tag."""
        held, self._held = self._held, ""
        return "" if self._WHOLE.fullmatch(held) else held


class MetasoDecoder:
    """Decodes one answer. The conversation has its name before."""

    conversation: Conversation | None = None

    def __init__(self) -> None:
        self._sources = Sources()
        self._label = Label()
        self._marks = Marks(_MARK_STYLE)
        self._halves = Halves()
        self.begun = False

    def feed(self, frame: SseFrame) -> list[Delta]:
        """Take the next event, give what it adds. A refusal or an end is the last delta."""
        try:
            event = loads(frame.data)
        except ValueError:
            return self._bare(frame)
        if type(event) is not dict:
            return [Unknown("malformed event")]
        kind = event.get("type")
        if kind == "append-text":
            return self._write(event.get("text"))
        if kind in (_ALL_SOURCES, _MORE_SOURCES):
            return self._refer(event.get("list"), anew=kind == _ALL_SOURCES)
        error = event_problem(event) if kind == "error" else problem(event)
        if error is not None:
            return [*self.end(), Failed(error)]
        if type(kind) is not str:
            return [Unknown("event without a type")]
        return [] if kind in _QUIET else [Unknown(whole(kind))]

    def end(self) -> list[Delta]:
        """The body is over: give what was held back, and the sources that no text came after."""
        text = self._label.feed(self._halves.flush()) + self._label.flush()
        return [*self._sources.due(), *self._marks.feed(text), *self._marks.flush()]

    def _write(self, text: Any) -> list[Delta]:
        if type(text) is not str:
            return [Unknown("malformed text")] if text is not None else []
        text = self._label.feed(self._halves.feed(text))
        if not text:
            return []
        if self.begun:
            return self._marks.feed(text)
        # Until now a list may have been replaced: what the reader has seen stays.
        self.begun = True
        return [*self._sources.due(), *self._marks.feed(text)]

    def _refer(self, entries: Any, *, anew: bool) -> list[Delta]:
        if type(entries) is not list:
            return [Unknown("malformed list")]
        self._sources.take(entries, anew=anew)
        return [*self._sources.due()] if self.begun else []

    def _bare(self, frame: SseFrame) -> list[Delta]:
        """Take an event that is not JSON: nothing, the end sign, or a refusal."""
        if frame.blank:
            return []
        return [*self.end(), Finish() if frame.data.strip() == _DONE else Failed(unreadable(frame))]
