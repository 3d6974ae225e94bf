"""Every service, run as users run it, over the simulated sites: `make demo`; `make demo ONCE=1` ends by itself."""

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import openai
from attrs import frozen

from shared.settings import describe
from tests.simulators import Gateway, discover

SERVICES = Path(__file__).resolve().parent.parent / "services"
FIRST_PORT = 8001
PACE = 0.03
"""Seconds between two frames of a simulated site: about as fast as one reads."""

START_TIMEOUT = 20.0
CURL = """\
  curl -N {service.url}/v1/chat/completions -H 'Authorization: Bearer {service.token}' \\
    -d '{{"model": "{service.name}", "stream": true, "messages": [{{"role": "user", "content": "Hi"}}]}}'"""
QUESTION = "Hello! Who are you, and what is new today?"


@frozen
class Running:
    """A started service: where it is, the token of a simulated account, and the routes its front page names.

    Files may be put into `folder`.
    """

    name: str
    url: str
    token: str
    routes: str
    folder: Path

    def client(self) -> openai.AsyncOpenAI:
        """Give the official client, pointed at the service, past any proxy: all of it is on this machine."""
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.token, max_retries=0, http_client=http)


async def show_chat(service: Running) -> None:
    """Show a streamed answer as it is typed."""
    async with service.client() as client:
        stream = await client.chat.completions.create(
            model=service.name, messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        typed = 0
        async for chunk in stream:
            text = chunk.choices[0].delta.content or "" if chunk.choices else ""
            typed += len(text)
            print(text, end="", flush=True)
        print()
        assert typed, "the answer was empty"


async def show_image(service: Running) -> None:
    """Show a drawn picture's address."""
    async with service.client() as client:
        pictures = await client.images.generate(prompt="一只可爱的猫")
        assert pictures.data, "no picture came"
        print("picture:", pictures.data[0].url)


async def show_speech(service: Running) -> None:
    """Speak to a file, and have it heard again."""
    path = service.folder / f"{service.name}.mp3"
    async with service.client() as client:
        async with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input="早上好！今天天气很好。"
        ) as speech:
            await speech.stream_to_file(path)
        print("speech:", path, f"({path.stat().st_size} bytes)")
        heard = await client.audio.transcriptions.create(model="whisper-1", file=path)
        assert heard.text, "nothing was heard"
        print("heard:", heard.text)


async def show_check(service: Running) -> None:
    """Show a token check."""
    url, body = f"{service.url}/token/check", {"token": service.token}
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        told = await response.json()
    print("token check:", told)
    assert told == {"live": True}, "the token should be live"


SHOWS: dict[str, Callable[[Running], Awaitable[None]]] = {
    "/v1/chat/completions": show_chat,
    "/v1/images/generations": show_image,
    "/v1/audio/speech": show_speech,
    "/token/check": show_check,
}
"""What is shown for each route a service has."""


async def show(service: Running) -> list[str]:
    """Show all a service can do; give what failed."""
    print(f"\n== {service.name} ({service.url})")
    failed = []
    for route, step in SHOWS.items():
        if route not in service.routes:
            continue
        try:
            await step(service)
        except (AssertionError, openai.OpenAIError, aiohttp.ClientError, OSError) as error:
            print(f"{route} FAILED: {error}")
            failed.append(f"{service.name} {route}")
    return failed


@asynccontextmanager
async def started(name: str, port: int, token: str, gateway: str, folder: Path) -> AsyncIterator[Running]:
    """Run `python -m services.<name>` until left; SIGTERM ends it, as it does in a container."""
    environ = {
        **_own_environment(),
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "UPSTREAM_GATEWAY": gateway,
        "LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", f"services.{name}", env=environ)
    try:
        url = f"http://127.0.0.1:{port}"
        yield Running(name, url, token, await _front_page(url), folder)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def _own_environment() -> dict[str, str]:
    """Give the environment without what is set for services of one's own: the demo uses none of it."""
    shared = {name for name, _, _ in describe()}
    prefixes = tuple(f"{name.upper()}_" for name in names())
    return {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in shared and name not in shared and not name.startswith(prefixes)
    }


def names() -> list[str]:
    """Give the names of all services."""
    return sorted(folder.name for folder in SERVICES.iterdir() if (folder / "__main__.py").exists())


def _port(wanted: int) -> int:
    """Give the wanted port if it is free, else any."""
    with socket.socket() as probe:
        # As a server does: connections that have just ended on a port do not take it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _front_page(url: str) -> str:
    async with asyncio.timeout(START_TIMEOUT), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    return await response.text()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.1)


async def demo(*, once: bool) -> int:
    """Run the demo; give the exit code."""
    sites = [site() for site in discover()]
    for site in sites:
        site.pace = PACE
    tokens = {site.name: site.demo_tokens()[0] for site in sites}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateway = await stack.enter_async_context(Gateway.start(*sites))
        services = [
            await stack.enter_async_context(started(name, _port(FIRST_PORT + place), tokens[name], gateway.url, folder))
            for place, name in enumerate(names())
        ]
        failed = [failure for service in services for failure in await show(service)]
        print("\nThe services stay up, over simulated sites. Try:" if not once else "\nAll shown.")
        for service in services:
            print(CURL.format(service=service))
        for line in [*failed, *gateway.violations]:
            print("FAILED:", line)
        if not once:
            await _interrupted()
        return 1 if failed or gateway.violations else 0


async def _interrupted() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("Ctrl-C ends it.", flush=True)
    await stop.wait()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after everything has been shown")
    sys.exit(asyncio.run(demo(once=parser.parse_args().once)))


if __name__ == "__main__":
    main()
