"""A fake Emohaa: it checks what the site checks, refuses like the site, and keeps what the site keeps."""

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from multidict import CIMultiDict

from tests.simulators.answers import HTML_TYPE, SSE_TYPE, Answer, Do, Send, Step, Wait
from tests.simulators.base import Call, RefusedError, Route, Simulator
from tests.simulators.faults import Fault, Reply

__all__ = ["EmohaaSite", "Events", "Says", "problem", "refused"]

SITE = "ai-role.cn"
BASE = "/echo-prod"
CLOCK_TOLERANCE_MS = 300_000
"""Milliseconds that a caller's clock may differ from the site's."""
ADDRESS_LIMIT = 64 * 1024
"""Bytes of an address above which the web server before the site refuses it."""
LETTERS_PER_EVENT = 4
EXCERPT = 40
"""Letters of the prompt that an answer repeats."""

CONSTANT_HEADERS = {
    "Accept": "application/json, text/plain, */*",
    "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
    "Origin": "https://echo.turing-world.com",
    "Referer": "https://echo.turing-world.com/",
    "Sec-Ch-Ua": '"Chromium";v="122", "Not(A:Brand";v="24", "Google Chrome";v="122"',
    "Sec-Ch-Ua-Mobile": "?0",
    "Sec-Ch-Ua-Platform": '"Windows"',
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/122.0.0.0 Safari/537.36",
}
XSS_HEADERS = ("X-Xss-Id", "X-Xss-Ts", "X-Xss-Real")
HEADER_ORDER = [
    name.lower() for name in ("Accept", "Authorization", "Accept-Encoding", *list(CONSTANT_HEADERS)[1:], *XSS_HEADERS)
]
TRANSPORT_HEADERS = {"host", "connection", "content-length"}
CODINGS = {"gzip", "deflate", "br", "zstd"}
QUERIES = {
    "open": ("create",),
    "chat": ("token", "cid", "prompt", "role", "xts", "xid", "xreal"),
    "delete": ("cid",),
    "check": ("role",),
}
CONSTANT_QUERY = {"create": "true", "role": "echo"}

ID_FORMS: dict[str, Callable[[str], Answer]] = {
    "text": lambda name: Answer(content_type="text/plain", steps=(Send(name.encode()),)),
    "json": Answer.json,
    "object": lambda name: Answer.json({"id": name}),
}
"""How the site may write a new conversation's id."""


def problem(status: int, title: str, detail: str = "") -> dict[str, Any]:
    """Give an error object of the site."""
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


@dataclass(eq=False)
class Conversation:
    """A conversation and the prompts of its turns."""

    id: str
    owner: str
    turns: list[str] = field(default_factory=list)
    deleted: bool = False


class Says(Fault):
    """Exactly these pieces of text instead of the site's own, then its end sign."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces


class Events(Fault):
    """Exactly these bytes as the body of the stream."""

    def __init__(self, *events: bytes) -> None:
        self.events = events


class EmohaaSite(Simulator):
    """The site's API host.

    `new_id` makes the ids of new conversations; `id_form` is how they are written: a key of `ID_FORMS`.
    """

    name = "emohaa"
    hosts: ClassVar[set[str]] = {SITE}
    routes = (
        Route("open", "GET", SITE, f"{BASE}/generate/id"),
        Route("chat", "GET", SITE, f"{BASE}/chat"),
        Route("delete", "DELETE", SITE, f"{BASE}/conv"),
        Route("check", "GET", SITE, f"{BASE}/convs"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.new_id: Callable[[], str] = lambda: str(uuid.uuid4())
        self.id_form = "text"
        self.tokens: dict[str, str] = {}
        self.conversations: dict[str, Conversation] = {}
        self._nonces: set[str] = set()

    def demo_tokens(self) -> list[str]:
        """Give the tokens of two accounts."""
        return [self.account("demo-1"), self.account("demo-2")]

    def account(self, name: str) -> str:
        """Give the token of an account, which is opened when it does not exist."""
        # The last piece has every character a careless caller might not escape.
        token = f"eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.{name}.{hashlib.md5(name.encode()).hexdigest()}+/=&#%"
        self.tokens[token] = name
        return token

    def expire(self, name: str) -> None:
        """Make the token of an account expired."""
        del self.tokens[self.account(name)]

    def live_conversations(self, name: str | None = None) -> list[Conversation]:
        """Give the conversations that were not deleted, of all accounts or of one."""
        kept = [conversation for conversation in self.conversations.values() if not conversation.deleted]
        return [conversation for conversation in kept if name in (None, conversation.owner)]

    def prompts(self) -> list[str]:
        """Give the prompt of every question, in order."""
        return [unquote(call.params["prompt"]) for call in self.calls_of("chat")]

    def on_open(self, call: Call) -> Answer:
        """Open a conversation and give its id."""
        owner = self._entitled(call)
        self.interrupt(call)
        conversation = Conversation(self.new_id(), owner)
        self.conversations[conversation.id] = conversation
        return ID_FORMS[self.id_form](conversation.id)

    def on_chat(self, call: Call) -> Answer:
        """Answer a prompt with a stream."""
        if len(call.query) > ADDRESS_LIMIT:
            page = Send(b"<html><head><title>414 Request-URI Too Large</title></head></html>")
            raise RefusedError(Answer(414, HTML_TYPE, steps=(page,)), "too long")
        conversation = self._conversation(call, self._entitled(call))
        self.interrupt(call)
        prompt = unquote(call.params["prompt"])
        own = Says(*_pieces(prompt, len(conversation.turns)))
        events = call.fault.find(Events) or Events(*_events((call.fault.find(Says) or own).pieces))
        begin = Do(partial(conversation.turns.append, prompt))
        return Answer(200, SSE_TYPE, steps=(begin, *self._steps(events.events)), chunked=True)

    def on_delete(self, call: Call) -> Answer:
        """Delete a conversation, which can be done once."""
        conversation = self._conversation(call, self._entitled(call))
        self.interrupt(call)
        conversation.deleted = True
        return Answer(200, "text/plain")

    def on_check(self, call: Call) -> Answer:
        """List the account's conversations."""
        owner = self._entitled(call)
        self.interrupt(call)
        return Answer.json([{"id": one.id, "title": "".join(one.turns)} for one in self.live_conversations(owner)])

    def _steps(self, events: Sequence[bytes]) -> list[Step]:
        pause = [Wait(self.pace)] * (self.pace > 0)
        return [step for event in events for step in (Send(event), *pause)]

    def _entitled(self, call: Call) -> str:
        """Check all that every call has, and give the account it is for, or refuse as the site does."""
        fields = [field.partition("=") for field in call.query.split("&")]
        call.params = {name: value for name, _, value in fields}
        problems = _query_problems(call.kind, call.params, [name for name, _, _ in fields])
        problems += _header_problems(call.headers)
        problems += [f"a body: {call.body!r}"] * bool(call.body)
        nonce = call.headers.get("X-Xss-Id", "")
        problems += [f"the nonce {nonce} was used before"] * (nonce in self._nonces)
        self._nonces.add(nonce)
        bearer = call.headers.get("Authorization", "").removeprefix("Bearer ")
        if call.kind == "chat":
            said = [call.params.get(name) for name in ("xid", "xts", "xreal")]
            problems += ["query and headers are signed differently"] * (
                said != [call.headers.get(name) for name in XSS_HEADERS]
            )
            problems += ["the token is another one"] * (unquote(call.params.get("token", "")) != bearer)
        self._require(call, problems)
        if bearer not in self.tokens:
            raise RefusedError(Answer.json(problem(401, "Unauthorized", "token invalid"), 401), "unauthorized")
        return self.tokens[bearer]

    def _conversation(self, call: Call, owner: str) -> Conversation:
        found = self.conversations.get(call.params["cid"])
        if found is None or (found.deleted and call.kind == "chat"):
            raise RefusedError(Answer.json(problem(404, "Not Found", "no such conv"), 404), "conversation unknown")
        problems = [f"the conversation of {found.owner} used by {owner}"] * (found.owner != owner)
        self._require(call, problems + ["deleted for the second time"] * found.deleted)
        return found

    def _require(self, call: Call, problems: Sequence[str]) -> None:
        """Record problems as violations and refuse the call when there are any."""
        self.violations += [f"{call.kind}: {one}" for one in problems]
        if problems:
            raise RefusedError(Answer.json(problem(400, "Bad Request"), 400), "violation")


def refused(status: int, title: str, detail: str = "", http_status: int | None = None) -> Reply:
    """Give an error object as a scripted answer; its HTTP status is the same unless given."""
    return Reply(problem(status, title, detail), status if http_status is None else http_status)


def _pieces(prompt: str, turns: int) -> list[str]:
    """Give the site's own answer to a prompt: the same to the same one, in a few letters each."""
    asked = re.sub(r"^\w+:", "", prompt.rstrip("\n").rpartition("\n")[2])[:EXCERPT]
    again = f"这是我们的第 {turns + 1} 次谈话。" * (turns > 0)
    text = f"你好啊！我是Emohaa，{again}你说的是「{asked}」。 I am here. 想和我聊点什么吗？😊"
    return [text[start : start + LETTERS_PER_EVENT] for start in range(0, len(text), LETTERS_PER_EVENT)]


def _events(pieces: Sequence[str]) -> list[bytes]:
    lines = ["".join(f"data: {line}\n" for line in piece.split("\n")) for piece in pieces]
    return [f"{line}\n".encode() for line in (*lines, "data:[DONE]\n")]


def _query_problems(kind: str, query: dict[str, str], names: list[str]) -> list[str]:
    """Compare the raw query with what the site's page sends: names, their order, escapes."""
    return [
        *([] if tuple(names) == QUERIES[kind] else [f"the query is {names}"]),
        *(f"{name} is {query[name]}" for name, value in CONSTANT_QUERY.items() if query.get(name, value) != value),
        *(f"{name} is escaped as {raw}" for name, raw in query.items() if quote(unquote(raw), safe="-_.~!*()") != raw),
    ]


def _header_problems(headers: CIMultiDict[str]) -> list[str]:
    """Compare a call's headers with the constant set and the computed ones."""
    nonce, stamp, sign = (headers.get(name, "") for name in XSS_HEADERS)
    late = abs(int(stamp) - time.time() * 1000) if re.fullmatch("[0-9]{13}", stamp) else CLOCK_TOLERANCE_MS
    codings = set(headers.get("Accept-Encoding", "").replace(" ", "").split(","))
    # The parser of the gateway writes some names in its own way.
    names = [name.lower() for name in headers if name.lower() not in TRANSPORT_HEADERS]
    return [
        *(f"{name} is {headers.get(name)!r}" for name, value in CONSTANT_HEADERS.items() if headers.get(name) != value),
        *([] if names == HEADER_ORDER else [f"the headers are {names}"]),
        *([] if codings <= CODINGS else [f"Accept-Encoding is {codings}"]),
        *([] if re.fullmatch(r"Bearer \S+", headers.get("Authorization", "")) else ["Authorization is malformed"]),
        *([] if re.fullmatch(r"0\.[0-9]{1,18}", nonce) else [f"X-Xss-Id is {nonce!r}"]),
        *([] if late < CLOCK_TOLERANCE_MS else [f"X-Xss-Ts is {stamp!r}"]),
        *([] if sign == hashlib.md5(f"{stamp}-_-{nonce}".encode()).hexdigest() else ["X-Xss-Real is wrong"]),
    ]
