"""Events of one answer, to deltas. Pure.

The text is cumulative: each `message_result` carries all of the answer so far, in which a character that is only
half written may stand as U+FFFD.
"""

import re
from typing import Any

from services.hailuo.refusals import refused, status_of
from shared.deltas import Delta, Failed, Finish, Reference, Text, Unknown
from shared.surrogates import whole, without_open_half
from shared.terms import Conversation
from shared.upstream.growth import TAIL, Growth
from shared.upstream.json import loads
from shared.upstream.refusals import code_of, unreadable
from shared.upstream.shapes import as_address, as_list, as_text, inner
from shared.upstream.sse import SseFrame

_TEXT_EVENT = "message_result"
_PLACE = ("data", "messageResult", "content")
_END_EVENT = "close_chunk"
_ENDS = 8
_HEARTBEAT = 3
"""Values of `type`: the two that may come without a status."""
_QUIET = frozenset({"send_result", "follow_up_question_result", "heartbeat"})
"""Known events with nothing for the reader."""

_HALF = "\ufffd"
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class HailuoDecoder:
    """Decodes one answer. `message` is the site's id of it, empty until an event has named it.

    `named`: what is answered named a conversation.
    """

    def __init__(self, *, named: bool = False) -> None:
        self._named = named
        self.conversation: Conversation | None = None
        self.message = ""
        self._content = ""
        self._given = 0
        self._growth = Growth()
        self._answering = False
        self._urls: set[str] = set()
        self._over = False

    def feed(self, frame: SseFrame) -> list[Delta]:
        """Take the next event, give what it adds. A refusal or an end is the last delta."""
        if self._over:
            return []
        new = self._growth.added(frame.data)
        if new is not None and frame.event == _TEXT_EVENT and _HALF not in new:
            self._given += len(new)
            return [Text(new)] if new else []
        self._growth.forget()
        try:
            payload = loads(frame.data)
        except ValueError:
            return [] if frame.blank else self._close(Failed(unreadable(frame)))
        if type(payload) is not dict:
            return [Unknown("malformed event")]
        type_ = code_of(payload.get("type"))
        if type_ == _ENDS or frame.event == _END_EVENT:
            return self._close(Finish())
        if type_ == _HEARTBEAT:
            return []
        status = status_of(payload)
        if status is not None and status.code != 0:
            return self._close(Failed(refused(status, named=self._named)))
        return self._take(frame, payload)

    def end(self) -> list[Delta]:
        """The body is over: give what was held back."""
        return [] if self._over else self._close(None)

    def _take(self, frame: SseFrame, payload: dict[str, Any]) -> list[Delta]:
        event, data = frame.event, payload.get("data")
        if type(data) is dict:
            if event == _TEXT_EVENT and type(result := data.get("messageResult")) is dict:
                return self._take_result(result, frame.data)
            if type(sent := data.get("sendResult")) is dict:
                self._name(sent.get("chatID"), sent.get("systemMsgID"))
        return [] if event in _QUIET else [Unknown(event or "event without a name")]

    def _take_result(self, result: dict[str, Any], frame: bytes) -> list[Delta]:
        if not self._answering:
            self._answering = True
            self._name(result.get("chatID"), result.get("msgID"))
        out: list[Delta] = []
        if (extra := result.get("extra")) is not None:
            self._refer(extra, out)
        content = result.get("content")
        if type(content) is str:
            self._content = content
            half = content.find(_HALF)
            self._give(without_open_half(content if half < 0 else content[:half]), out)
            if half < 0 and self._given == len(content):
                self._growth.learn(frame, len(content), content[-TAIL:], _PLACE)
        elif content is not None:
            out.append(Unknown("malformed content"))
        if code_of(result.get("isEnd")) == 0:
            out += self._close(Finish())
        return out

    def _give(self, text: str, out: list[Delta]) -> None:
        """Give what is new of the text; what has been given cannot be taken back."""
        if len(text) > self._given:
            out.append(Text(whole(text[self._given :])))
            self._given = len(text)

    def _close(self, last: Delta | None) -> list[Delta]:
        """Give what was held back, then `last`. Without an end, half a character will never be whole."""
        self._over = True
        out: list[Delta] = []
        self._give(self._content if type(last) is Finish else self._content.rstrip(_HALF), out)
        if last is not None:
            out.append(last)
        return out

    def _name(self, chat: Any, message: Any) -> None:
        """Note what the site calls the conversation, and the answer: what the answer itself says counts more."""
        if self.conversation is None and (name := _id(chat)):
            self.conversation = Conversation(name)
        self.message = _id(message) or self.message

    def _refer(self, extra: Any, out: list[Delta]) -> None:
        """Give the sources of the site's search, each once."""
        for link in as_list(inner(extra, "netSearchStatus", "linkDetail")):
            url = as_address(inner(link, "url"))
            if url and url not in self._urls:
                self._urls.add(url)
                out.append(Reference(url, as_text(inner(link, "detail")), url))


def _id(value: Any) -> str:
    """Give an id as it may stand in an address; empty when it is none. `0` stands for no conversation."""
    text = str(value) if type(value) in (str, int) else ""
    return text if text != "0" and _ID.fullmatch(text) else ""
