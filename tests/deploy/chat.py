"""A client that asks a service through nginx and notes when each piece of the answer arrives."""

import time

import aiohttp
import orjson
from attrs import define, field


@define
class Answer:
    """What came: the status, the text, when each of its pieces arrived, and whether it ended as it should."""

    status: int = 0
    pieces: list[tuple[float, str]] = field(factory=list)
    done: bool = False
    request_id: str = ""
    body: bytes = b""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(text for _, text in self.pieces)

    @property
    def first(self) -> float:
        """When the first piece arrived, by `time.monotonic()`."""
        return self.pieces[0][0]

    async def read(self, session: aiohttp.ClientSession, url: str, key: str, question: str = "你好") -> "Answer":
        """Ask for a stream and read it to its end; connection errors are raised."""
        body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": question}]}
        headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "deploy-test"}
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
            self.status = response.status
            self.request_id = response.headers.get("X-Request-Id", "")
            async for line in response.content:
                self._line(line.strip())
        return self

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data: "):
            self.body += line
            return
        data = line.removeprefix(b"data: ")
        if data == b"[DONE]":
            self.done = True
            return
        for choice in orjson.loads(data).get("choices", ()):
            if text := choice["delta"].get("content"):
                self.pieces.append((time.monotonic(), text))
