"""The site of the toy provider: plays scenes, and records what it was asked and how many outputs ran at once."""

import asyncio
import itertools
import json
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web
from attrs import define, field

EVENTS = "text/event-stream"

HELLO = ({"conversation": "*"}, {"text": "Hello"}, {"text": " world"}, {"finish": "stop"})
"""A conversation of `*` gets a new id, or the one that is continued."""


@define
class Scene:
    """What the site does with one call. Gates are waited for: `head` before the head, `gates[i]` before frame i."""

    frames: Sequence[Mapping[str, Any]] = HELLO
    refuse: Mapping[str, Any] | None = None
    status: int = 200
    content_type: str = EVENTS
    body: bytes | None = None
    split: int = 0
    ending: str = "clean"
    head: asyncio.Event | None = None
    gates: Mapping[int, asyncio.Event] = field(factory=dict)


def refuses(kind: str, message: str = "", retry_after: float | None = None) -> Scene:
    """A refusal before any stream."""
    return Scene(refuse={"refuse": kind, "message": message, "retry_after": retry_after})


def fails(kind: str, *before: Mapping[str, Any], retry_after: float | None = None) -> Scene:
    """A refusal inside the stream, after these frames."""
    return Scene((*before, {"refuse": kind, "retry_after": retry_after}))


class World:
    """The site. `scenes` are used up in order, an account's own (by token) before everybody's (under "")."""

    def __init__(self) -> None:
        self.scenes: dict[str, deque[Scene]] = defaultdict(deque)
        self.asked: list[tuple[str, str, Any]] = []
        """Calls: (path, token, body)."""
        self.headers: list[Mapping[str, str]] = []
        self.left: list[str] = []
        """Paths of calls that the service ended before the site did."""
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.conversations: dict[str, str] = {}
        self.deleted: list[str] = []
        self.sessions: dict[str, str] = {}
        self.expired: set[str] = set()
        self.newest: dict[str, str] = {}
        self.seconds = 3600.0
        self.hold_forget: asyncio.Event | None = None
        self.hold_film: asyncio.Event | None = None
        self.forgetting: Counter[str] = Counter()
        self.url = ""
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()

    def play(self, *scenes: Scene, token: str = "") -> None:
        self.scenes[token].extend(scenes)

    def tokens(self, path: str = "chat") -> list[str]:
        """The accounts of the calls to a path, in order."""
        return [token for asked, token, _ in self.asked if asked == path]

    def change(self) -> None:
        self._changed.set()

    async def until(self, reached: Callable[[], Any], seconds: float = 10) -> None:
        """Wait until something is so; looked at whenever the site did something."""
        async with asyncio.timeout(seconds):
            while not reached():
                self._changed.clear()
                with suppress(TimeoutError):
                    # What happens inside the service tells nobody: look again soon.
                    async with asyncio.timeout(0.01):
                        await self._changed.wait()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["World"]:
        app = web.Application(client_max_size=0)
        app.router.add_post("/https/toy.test/{path:.+}", self._answer)
        app.router.add_get("/https/{host}/{path:.+}", self._file)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _file(self, request: web.Request) -> web.Response:
        self.asked.append((request.raw_path, "", None))
        self.headers.append(request.headers)
        return web.Response(body=b"picture")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, body = request.match_info["path"], await request.json()
        token = self.sessions.get(request.headers.get("Authorization", ""), body.get("token", ""))
        self.asked.append((path, token, body))
        self.headers.append(request.headers)
        self.change()
        try:
            if path != "session" and request.headers.get("Authorization") not in self.sessions:
                return _json({"refuse": "SessionRefused"})
            handler: Any = getattr(self, "_" + path.replace("/", "_"))
            response: web.StreamResponse = await handler(request, token, body)
        except asyncio.CancelledError:
            self.left.append(path)
            raise
        finally:
            self.change()
        return response

    async def _session(self, _: web.Request, token: str, body: Any) -> web.StreamResponse:
        if scene := self._scene("session:" + token):
            return await self._refused(scene)
        if token in self.expired:
            return _json({"refuse": "AccountExpired"})
        access = f"s{next(self._ids)}"
        self.sessions[access] = token
        return _json({"access": access, "seconds": self.seconds, "token": self.newest.get(token, token)})

    async def _chat(self, request: web.Request, token: str, body: Any) -> web.StreamResponse:
        scene = self._scene(token) or self._scene("") or Scene()
        known = body["conversation"] is None or self.conversations.get(body["conversation"]) == token
        if scene.refuse is None and not known:
            scene = refuses("ConversationUnknown")
        if scene.head is not None:
            await scene.head.wait()
        if scene.refuse is not None:
            return await self._refused(scene)
        if scene.body is not None:
            return web.Response(body=scene.body, status=scene.status, content_type=scene.content_type)
        self.running[token] += 1
        self.most[token] = max(self.most[token], self.running[token])
        try:
            return await self._stream(request, token, body["conversation"], scene)
        finally:
            self.running[token] -= 1

    async def _stream(
        self, request: web.Request, token: str, conversation: str | None, scene: Scene
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=scene.status, headers={"Content-Type": scene.content_type})
        response.set_cookie("whose", token)
        await response.prepare(request)
        conversation = conversation or f"c{next(self._ids)}"
        for index, frame in enumerate(scene.frames):
            if index in scene.gates:
                await scene.gates[index].wait()
            told = dict(frame)
            if told.get("conversation") == "*":
                told["conversation"] = conversation
                self.conversations[conversation] = token
            await _send(response, b"data: " + json.dumps(told).encode() + b"\n\n", scene.split)
            self.change()
        if scene.ending == "stall":
            await asyncio.Event().wait()
        if scene.ending == "cut":
            assert request.transport is not None
            request.transport.close()
        return response

    async def _forget(self, _: web.Request, token: str, body: Any) -> web.StreamResponse:
        self.forgetting[token] += 1
        self.most["forget:" + token] = max(self.most["forget:" + token], self.forgetting[token])
        try:
            if self.hold_forget is not None:
                await self.hold_forget.wait()
            if scene := self._scene("forget"):
                return await self._refused(scene)
        finally:
            self.forgetting[token] -= 1
        conversation = body["conversation"]
        if self.conversations.get(conversation) != token:
            return _json({"refuse": "ConversationUnknown"})
        del self.conversations[conversation]
        self.deleted.append(conversation)
        return _json({})

    async def _check(self, _: web.Request, token: str, body: Any) -> web.StreamResponse:
        scene = self._scene(token)
        return await self._refused(scene) if scene else _json({"live": True})

    async def _draw(self, _: web.Request, token: str, body: Any) -> web.StreamResponse:
        if scene := self._scene(token) or self._scene(""):
            if scene.head is not None:
                await scene.head.wait()
            if scene.refuse is not None:
                return await self._refused(scene)
        return _json({"conversation": self._made(token), "urls": ["https://files.test/a%27b.png?x=1+2"]})

    async def _film(self, _: web.Request, token: str, body: Any) -> web.StreamResponse:
        if scene := self._scene(token) or self._scene(""):
            return await self._refused(scene)
        return _json({"conversation": body["conversation"] or self._made(token)})

    async def _film_look(self, _: web.Request, token: str, body: Any) -> web.StreamResponse:
        if self.hold_film is not None:
            await self.hold_film.wait()
        if scene := self._scene("look"):
            return await self._refused(scene)
        return _json({"url": "https://files.test/film.mp4", "conversation": body["conversation"]})

    def _made(self, token: str) -> str:
        conversation = f"c{next(self._ids)}"
        self.conversations[conversation] = token
        return conversation

    def _scene(self, name: str) -> Scene | None:
        scenes = self.scenes[name]
        return scenes.popleft() if scenes else None

    async def _refused(self, scene: Scene) -> web.StreamResponse:
        if scene.body is not None:
            return web.Response(body=scene.body, status=scene.status, content_type=scene.content_type)
        return _json(scene.refuse)


async def _send(response: web.StreamResponse, data: bytes, split: int) -> None:
    for start in range(0, len(data), split or len(data)):
        await response.write(data[start : start + (split or len(data))])
        if split:
            # The service runs in this loop: it reads what is there before the next piece is written.
            await asyncio.sleep(0)
            await asyncio.sleep(0)


def _json(value: Any) -> web.Response:
    return web.json_response(value, headers={"Set-Cookie": "whose=site"})
