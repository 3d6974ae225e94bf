"""Frames of one answer, to deltas. Pure.

A frame carries one event, of yuewen.cn as it is or of stepfun.com under `data.event`. Texts are what is new.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from services.step.refusals import CHAT, Named, refusal_in
from shared.deltas import Delta, Failed, Finish, Reference, Text, Thinking, Unknown
from shared.errors import SiteError
from shared.marks import Marks, MarkStyle
from shared.surrogates import Halves, whole
from shared.terms import Conversation
from shared.upstream.connect import ConnectFrame
from shared.upstream.json import loads
from shared.upstream.refusals import unreadable
from shared.upstream.shapes import as_address, as_list, as_object, as_text, inner

_DONE = "doneEvent"

QUIET = frozenset(
    {
        "startEvent",
        "messageEvent",
        "sourcingEvent",
        "heartBeatEvent",
        "messageDoneEvent",
        _DONE,
        "metadata",
    }
)
"""Known events, and fields of an end frame, with nothing for the reader."""

_THINKING = "TEXT_STAGE_THINKING"

# A tag's name is the key of what it cites: `web_1` is the first search result; nothing says what the others mean.
_TAGS = MarkStyle(
    whole=re.compile("<((?:web|url|unknown)_[0-9a-zA-Z]+)>"),
    begun=re.compile("<(?:(?:web|url|unknown)_[0-9a-zA-Z]*|w|we|web|u|ur|url|un|unk|unkn|unkno|unknow|unknown)?"),
    opener="<",
    longest=64,
)


class StepDecoder:
    """Decodes one answer. Its frames name no conversation: the site gives that before.

    `named`: what the client named in what is answered.
    """

    def __init__(self, named: Named = CHAT) -> None:
        self.conversation: Conversation | None = None
        self._named = named
        self._marks = Marks(_TAGS)
        self._halves = Halves()
        self._thinking = False
        self._results = 0
        self._over = False

    def feed(self, frame: ConnectFrame) -> list[Delta]:
        """Take the next frame, give what it adds. A refusal or an end is the last delta."""
        out: list[Delta] = []
        if self._over:
            return out
        message = _message(frame)
        if message is None:
            return self._close(out, Failed(unreadable(frame)))
        events = _events(message)
        refused = _refused(message, frame.end, self._named) or _refused(events, frame.end, self._named)
        if refused is not None:
            return self._close(out, Failed(refused))
        self._take(events, out)
        done = frame.end or events.get(_DONE) is not None
        return self._close(out, Finish()) if done else out

    def end(self) -> list[Delta]:
        """The body is over: give what was held back."""
        out: list[Delta] = []
        return out if self._over else self._close(out)

    def _take(self, events: Mapping[str, Any], out: list[Delta]) -> None:
        """Take the events of a frame in the site's own order: a text cites what was found before."""
        # A frame holds one event, nearly always.
        for name in events if len(events) == 1 else sorted(events, key=_place):
            event = events[name]
            if name in _TAKE and type(event) is dict:
                _TAKE[name](self, event, out)
            elif event is not None and name not in QUIET:
                out.append(Unknown(whole(name)))

    def _take_text(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        self._say(event.get("text"), event.get("stage") == _THINKING, out)

    def _take_reasoning(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        self._say(event.get("text"), True, out)

    def _take_search(self, event: Mapping[str, Any], out: list[Delta]) -> None:
        """Give the results of a search: they are counted over all searches of the answer."""
        for result in as_list(inner(event, "eventSearch", "results")):
            self._results += 1
            if url := as_address(inner(result, "url")):
                out.append(Reference(f"web_{self._results}", as_text(inner(result, "title")), url))

    def _say(self, text: Any, thinking: bool, out: list[Delta]) -> None:
        if thinking != self._thinking:
            self._flush(out)
            self._thinking = thinking
        if type(text) is str:
            self._give(self._marks.feed(self._halves.feed(text)), out)
        elif text is not None:
            out.append(Unknown("malformed text"))

    def _flush(self, out: list[Delta]) -> None:
        self._give(self._marks.feed(self._halves.flush()) + self._marks.flush(), out)

    def _give(self, deltas: list[Delta], out: list[Delta]) -> None:
        """Add what a text gave; a citation in the thinking vanishes."""
        if not self._thinking:
            out += deltas
            return
        out += (Thinking(delta.text) for delta in deltas if type(delta) is Text)

    def _close(self, out: list[Delta], last: Delta | None = None) -> list[Delta]:
        """Give all that is held back, then `last`."""
        self._over = True
        self._flush(out)
        if last is not None:
            out.append(last)
        return out


_TAKE: Mapping[str, Callable[[StepDecoder, Mapping[str, Any], list[Delta]], None]] = {
    "pipelineEvent": StepDecoder._take_search,
    "reasoningEvent": StepDecoder._take_reasoning,
    "textEvent": StepDecoder._take_text,
}


def _place(name: str) -> int:
    """Give the place of an event in its frame."""
    return [*_TAKE, name].index(name)


def _message(frame: ConnectFrame) -> dict[str, Any] | None:
    """Read a frame, None when it cannot be read; the last one need not hold anything."""
    if not frame.whole:
        return None
    try:
        message = loads(frame.data or b"{}" if frame.end else frame.data)
    except ValueError:
        return None
    return message if type(message) is dict else {"malformed frame": message}


def _events(message: dict[str, Any]) -> dict[str, Any]:
    """Give the events of a frame by name: of either generation of the site."""
    data = message.get("data")
    if type(data) is dict and type(data.get("event")) is dict:
        events: dict[str, Any] = data["event"]
        return events
    return message


def _refused(said: Mapping[str, Any], last: bool, named: Named) -> SiteError | None:
    """Say what a frame refuses, or the event in it: by its error or itself, whichever has a code.

    In the `last` frame an error without a code is a refusal, too.
    """
    error = said.get("error")
    if error is None and "code" not in said:
        return None
    told = as_object(error)
    if code := told.get("code"):
        return refusal_in({**told, "code": str(code)}, named)
    if (code := said.get("code")) and type(code) is str:
        return refusal_in(said, named)
    return refusal_in({**told, "code": "unknown"}, named) if last and error is not None else None
