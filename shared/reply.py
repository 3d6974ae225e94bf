"""A reply on its way: the body of a call, to frames, to deltas."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

from shared.deltas import Delta, Failed, Finish
from shared.errors import SiteError
from shared.terms import Conversation
from shared.upstream.client import Answer, Call

Refuse = Callable[[Answer], SiteError]
"""A provider's `refusals.py`: turns a reply that is no stream into the class of what went wrong."""


class Decoder(Protocol):
    """Frames of one reply to deltas: pure, no await, no clock, no I/O."""

    conversation: Conversation | None
    """The conversation, as soon as a frame has named it."""

    def feed(self, frame: Any) -> list[Delta]:
        """Take the next frame, give what it adds."""
        ...

    def end(self) -> list[Delta]:
        """The body is over: give what was held back."""
        ...


class Framer(Protocol):
    """A framing: bytes to frames, pure."""

    content_type: ClassVar[str]
    """Of a body that is framed so."""

    def feed(self, data: bytes) -> list[Any]:
        """Take the next bytes; give the frames they complete."""
        ...

    def end(self) -> list[Any]:
        """The body is over: give what was left."""
        ...


class Frames(Protocol):
    """Where a reply's frames come from: a stream, or something polled."""

    async def read(self) -> list[Any] | None:
        """Give the next frames, None at the clean end; raise `SiteError` when it breaks."""
        ...

    def finish(self) -> None:
        """The answer is whole: no frame is read any more."""
        ...


class FrameStream:
    """The frames of one streamed call."""

    def __init__(self, call: Call, framer: Framer, refuse: Refuse, begun: bytes = b"") -> None:
        self._call = call
        self._framer = framer
        self._refuse = refuse
        self._begun = begun
        self._judged = False
        self._over = False

    @classmethod
    async def open(cls, call: Call, framer: Framer, *, refuse: Refuse) -> Self:
        """Accept a call as a stream of the framer's content type; raise what `refuse` makes of any other reply.

        Sites lie about the type, both ways: a reply of status 200 is judged by its first bytes, now if it calls
        itself something else, else when they come.
        """
        if call.status != 200:
            raise refuse(await call.answer())
        begun = b""
        if call.content_type != framer.content_type:
            begun = await _beginning(call, b"")
            if not begun.strip(_BLANK) or _is_document(begun):
                raise refuse(await call.answer(begun))
        return cls(call, framer, refuse, begun)

    async def read(self) -> list[Any] | None:
        """Give the frames of the next read of the body."""
        if self._over:
            return None
        data = await (self._call.read() if self._judged else self._first())
        if data:
            return self._framer.feed(data)
        self._over = True
        return self._framer.end()

    def finish(self) -> None:
        """The answer is whole: no frame is read any more."""
        self._call.finish()

    async def _first(self) -> bytes:
        data = await _beginning(self._call, self._begun)
        if _is_document(data):
            raise self._refuse(await self._call.answer(data))
        self._judged = True
        return data


class Reply:
    """The deltas of one answer, one list for each network read.

    A refusal or break is a last `Failed` delta, never an exception; what follows a `Finish` or `Failed` is dropped.
    """

    def __init__(self, frames: Frames, decoder: Decoder, made: Callable[[Conversation], None]) -> None:
        self._frames = frames
        self._decoder = decoder
        self._made = made
        self._named: Conversation | None = None
        self._over = False

    def __aiter__(self) -> Self:
        """Iterate once."""
        return self

    async def __anext__(self) -> list[Delta]:
        """Give what the next read adds, perhaps nothing."""
        if self._over:
            raise StopAsyncIteration
        deltas: list[Delta] = []
        try:
            frames = await self._frames.read()
            if frames is None:
                self._over = True
                deltas += self._decoder.end()
            for frame in frames or ():
                deltas += self._decoder.feed(frame)
                if deltas and type(deltas[-1]) in _LAST:
                    self._over = True
                    if type(deltas[-1]) is Finish:
                        self._frames.finish()
                    break
        except SiteError as error:
            self._over = True
            # An end that the decoder guesses from the end of the body is none: the body broke off.
            deltas += (delta for delta in self._decoder.end() if type(delta) not in _LAST)
            deltas.append(Failed(error))
        conversation = self._decoder.conversation
        if conversation is not self._named and conversation is not None:
            self._named = conversation
            self._made(conversation)
        return deltas


_LAST = (Finish, Failed)
_BLANK = b" \t\r\n\xef\xbb\xbf"
"""What may stand before a document: white space, and the bytes of a byte order mark."""
_BLANK_MOST = 64 * 1024
"""Bytes of that after which no document is looked for."""


async def _beginning(call: Call, begun: bytes) -> bytes:
    """Read on until there is a byte that tells a document from a stream, or nothing more comes."""
    while len(begun) < _BLANK_MOST and not begun.strip(_BLANK) and (part := await call.read()):
        begun += part
    return begun


def _is_document(data: bytes) -> bool:
    """Tell JSON and HTML from every framing: no event line and no frame head begins like them."""
    return data.lstrip(_BLANK)[:1] in (b"{", b"[", b"<")
