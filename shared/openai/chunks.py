"""Deltas to what the client reads: `chat.completion.chunk` bytes, or one whole completion.

Both faces take their text from one `Rendering`, so that they never differ.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import orjson
from attrs import define, frozen

from shared.deltas import Cite, Delta, Failed, Finish, FinishReason, Image, Reference, Text, Thinking, Unknown
from shared.errors import ContentBlocked, SiteError, UpstreamUnavailable

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
"""The sites count no tokens; clients of the services before this one know these constant numbers."""

Field = Literal["content", "reasoning_content"]


@frozen
class Style:
    """How the house writes: the `THINKING` and `REFERENCES` settings."""

    thinking: Literal["reasoning", "inline", "hidden"] = "reasoning"
    references: Literal["shown", "hidden"] = "shown"


@define
class _Source:
    number: int
    title: str
    url: str
    start: int | None = None
    end: int | None = None


class Rendering:
    """The text of one reply, piece by piece, in the house's style.

    `finished` is the site's finish reason, `failed` its refusal, each None until its delta came; `over` is whether one
    has come.
    """

    def __init__(self, style: Style, unknown: Callable[[str], None]) -> None:
        self.finished: FinishReason | None = None
        self.failed: SiteError | None = None
        self.over = False
        self._style = style
        self._unknown = unknown
        self._pieces: list[tuple[Field, str]] = []
        self._written = 0
        self._last = ""
        self._reasoned = False
        self._thinking = False
        self._sources: dict[str, _Source] = {}
        self._by_url: dict[str, _Source] = {}
        self._take = _TAKE[style.thinking]

    def pieces(self, deltas: Iterable[Delta]) -> list[tuple[Field, str]]:
        """Give what the deltas add: (field of the message, text), none of them empty."""
        self._pieces = []
        take = self._take
        for delta in deltas:
            take[type(delta)](self, delta)
        return self._pieces

    def ending(self) -> list[tuple[Field, str]]:
        """Give what comes after the last text: an open think tag is closed, the sources are listed."""
        self._pieces = []
        if self._thinking:
            self._end_thinking()
        if self._by_url and self._style.references == "shown":
            lines = [f"{source.number}. {source.title} - {source.url}" for source in self._by_url.values()]
            self._content("\n\n搜索结果来自：\n" + "\n".join(lines))
        return self._pieces

    def reason(self) -> FinishReason:
        """Give the finish reason of a reply that is over; without an end sign of the site it was cut short.

        Raise its refusal if it failed, `ContentBlocked` or `UpstreamUnavailable` if there was no text at all.
        """
        if self.failed is not None:
            raise self.failed
        if self._written or self._reasoned:
            return self.finished or "length"
        if self.finished == "content_filter":
            raise ContentBlocked
        # What held the text may have another name now.
        self._unknown("answer without content")
        raise UpstreamUnavailable("The site ended its answer without any content.")

    def annotations(self) -> list[dict[str, Any]]:
        """Give the sources as OpenAI's `url_citation`s, each at its first mark, or at the end when it has none."""
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": self._written if source.start is None else source.start,
                    "end_index": self._written if source.end is None else source.end,
                    "title": source.title,
                    "url": source.url,
                },
            }
            for source in self._by_url.values()
        ]

    def _content(self, text: str) -> None:
        self._pieces.append(("content", text))
        self._written += len(text)
        self._last = text

    def _text(self, delta: Text) -> None:
        text = delta.text
        if text:
            if self._thinking:
                self._end_thinking()
            # As `_content` does, without the call: nearly every delta is a text.
            self._pieces.append(("content", text))
            self._written += len(text)
            self._last = text

    def _think_reasoning(self, delta: Thinking) -> None:
        if delta.text:
            self._pieces.append(("reasoning_content", delta.text))
            self._reasoned = True

    def _think_inline(self, delta: Thinking) -> None:
        if delta.text:
            self._content(delta.text if self._thinking else "<think>\n" + delta.text)
            self._thinking = True

    def _think_hidden(self, delta: Thinking) -> None:
        pass

    def _end_thinking(self) -> None:
        self._thinking = False
        self._content("</think>\n\n")

    def _reference(self, delta: Reference) -> None:
        source = self._by_url.get(delta.url)
        if source is None:
            source = _Source(len(self._by_url) + 1, delta.title or delta.url, delta.url)
            self._by_url[delta.url] = source
        elif delta.title and source.title == source.url:
            source.title = delta.title
        self._sources[delta.key] = source

    def _cite(self, delta: Cite) -> None:
        source = self._sources.get(delta.key)
        if source is None or self._style.references == "hidden":
            return
        if self._thinking:
            self._end_thinking()
        start = self._written
        self._content(f"[{source.number}]({source.url})")
        if source.start is None:
            source.start, source.end = start, self._written

    def _image(self, delta: Image) -> None:
        if self._thinking:
            self._end_thinking()
        line = f"![图像]({delta.url})\n"
        self._content(line if not self._written or self._last.endswith("\n") else "\n" + line)

    def _count_unknown(self, delta: Unknown) -> None:
        self._unknown(delta.kind)

    def _fail(self, delta: Failed) -> None:
        self.failed = delta.error
        self.over = True

    def _finish(self, delta: Finish) -> None:
        self.finished = delta.reason
        self.over = True


def _take(think: Callable[[Rendering, Thinking], None]) -> dict[type, Callable[[Rendering, Any], None]]:
    return {
        Text: Rendering._text,
        Thinking: think,
        Reference: Rendering._reference,
        Cite: Rendering._cite,
        Image: Rendering._image,
        Unknown: Rendering._count_unknown,
        Failed: Rendering._fail,
        Finish: Rendering._finish,
    }


# Not of bound methods: a rendering that holds its own would be left to the garbage collector, which stops everyone.
_TAKE = {
    "reasoning": _take(Rendering._think_reasoning),
    "inline": _take(Rendering._think_inline),
    "hidden": _take(Rendering._think_hidden),
}


@frozen
class Face:
    """What every chunk and completion of one answer carries. `created` is in Unix seconds."""

    id: str
    model: str
    created: int

    def head(self, kind: str) -> dict[str, Any]:
        """Give the first fields of an object of this kind."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class Chunks:
    """A rendering as server-sent chunks."""

    def __init__(self, rendering: Rendering, face: Face, *, include_usage: bool) -> None:
        self._rendering = rendering
        self._face = face
        self._include_usage = include_usage
        head, _, self._tail = self._chunk([_choice({"?": "?"})]).partition(b'"?":"?"')
        self._heads: dict[Field, bytes] = {
            "content": head + b'"content":',
            "reasoning_content": head + b'"reasoning_content":',
        }
        self._opening = self._chunk([_choice({"role": "assistant", "content": ""})])

    def write(self, pieces: list[tuple[Field, str]]) -> bytes:
        """Give the chunks of the rendering's pieces, the role chunk before the first; empty when there are none."""
        if not pieces:
            return b""
        chunks = []
        if self._opening:
            chunks.append(self._opening)
            self._opening = b""
        for name, text in pieces:
            chunks.append(self._heads[name] + orjson.dumps(text) + self._tail)
        return b"".join(chunks)

    def finish(self, reason: FinishReason, conversation_id: str | None) -> bytes:
        """Give all that ends the answer: sources, finish chunk, usage, `[DONE]`."""
        parts = [self.write(self._rendering.ending())]
        annotations = self._rendering.annotations()
        last = _choice({"annotations": annotations} if annotations else {}, reason)
        more: dict[str, Any] = {} if self._include_usage else {"usage": USAGE}
        if conversation_id is not None:
            more["conversation_id"] = conversation_id
        parts.append(self._chunk([last], **more))
        if self._include_usage:
            parts.append(self._chunk([], usage=USAGE))
        parts.append(DONE)
        return b"".join(parts)

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        chunk = {**self._face.head("chat.completion.chunk"), "choices": choices, **more}
        return b"data: " + orjson.dumps(chunk) + b"\n\n"


class Completion:
    """A rendering folded into one `chat.completion`."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering
        self._texts: dict[Field, list[str]] = {"content": [], "reasoning_content": []}

    def feed(self, deltas: Iterable[Delta]) -> None:
        """Take the next deltas of the reply."""
        self._fold(self._rendering.pieces(deltas))

    def finish(self, face: Face, reason: FinishReason, conversation_id: str | None) -> bytes:
        """Give the whole answer as JSON bytes."""
        self._fold(self._rendering.ending())
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts["content"])}
        if self._texts["reasoning_content"]:
            message["reasoning_content"] = "".join(self._texts["reasoning_content"])
        if annotations := self._rendering.annotations():
            message["annotations"] = annotations
        choice = {"index": 0, "message": message, "finish_reason": reason}
        answer = {**face.head("chat.completion"), "choices": [choice], "usage": USAGE}
        if conversation_id is not None:
            answer["conversation_id"] = conversation_id
        return orjson.dumps(answer)

    def _fold(self, pieces: list[tuple[Field, str]]) -> None:
        for name, text in pieces:
            self._texts[name].append(text)


def _choice(delta: dict[str, Any], reason: FinishReason | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}
