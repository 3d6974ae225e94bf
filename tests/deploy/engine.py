"""Docker and Compose as commands, and what the steps of the test share."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from attrs import define, field

from shared.settings import describe

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))
SHARES_STATE = any(name == "REDIS_URL" for name, _, _ in describe())
"""Whether replicas of a service can have common state."""

IMAGES = "localhost/deploy-test"
PROJECT = "deploy-test"
COMPOSE_PLUGIN = "/usr/libexec/docker/cli-plugins/docker-compose"
"""Where Debian has docker compose v2; in the image of servers, because older releases have only 1.29."""

UID = 10001


class CommandError(Exception):
    """A command has failed; the message is its output."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def run(
    *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, messages: bool = False
) -> str:
    """Run a command to its end; give its output, its messages only if wanted. Raise `CommandError`."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, "DOCKER_BUILDKIT": "0", **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        text = (out + err).decode(errors="replace")[-3000:]
        raise CommandError(f"{' '.join(command)} ended with {process.returncode}:\n{text}")
    return (out + err if messages else out).decode(errors="replace").strip()


async def docker(*arguments: str) -> str:
    """Run `docker`; give its output. Raise `CommandError`."""
    return await run("docker", *arguments)


async def inspect(name: str) -> Any:
    """Give what the engine knows of a container or an image."""
    return orjson.loads(await docker("inspect", name))[0]


async def until(what: str, condition: Callable[[], Awaitable[object]], within: float) -> float:
    """Ask again until the condition holds; give the seconds it took. Raise `AssertionError` when it does not."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < within, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def status(session: aiohttp.ClientSession, url: str) -> int:
    """Give the status a GET is answered with; 0 when nobody answers."""
    try:
        async with session.get(url) as response:
            return response.status
    except (aiohttp.ClientError, OSError, TimeoutError):
        return 0


@define
class Checkout:
    """A copy of what is deployed, in which the test has a `.env` of its own; `gateway` is where the sites are."""

    path: Path
    gateway: str
    base: str
    servers: str
    valkey: str
    session: aiohttp.ClientSession
    port: int = 0
    env: dict[str, str] = field(factory=dict)

    @property
    def deploy(self) -> Path:
        """The folder the commands of the README are given in."""
        return self.path / "deploy"

    @property
    def url(self) -> str:
        """The address of nginx."""
        return f"http://127.0.0.1:{self.port}"

    def copy(self) -> None:
        """Copy the deployed files from the working tree."""
        for name in ("shared", "services", "deploy"):
            shutil.copytree(ROOT / name, self.path / name, ignore=shutil.ignore_patterns("__pycache__", ".env"))
        for name in ("requirements.lock", ".dockerignore"):
            shutil.copy(ROOT / name, self.path / name)

    def configure(self, **values: str) -> None:
        """Do `cp .env.example .env` and set some of it."""
        common = {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "IMAGES": IMAGES,
            "BASE": self.base,
            "NGINX_IMAGE": self.servers,
            "VALKEY_IMAGE": self.valkey,
            "NGINX_PORT": str(self.port),
            "UPSTREAM_GATEWAY": self.gateway,
            "CPUS": "1",
        }
        self.env = {**common, **values}
        lines = [f"{name}={value}" for name, value in self.env.items()]
        example = (self.deploy / ".env.example").read_text("utf-8")
        (self.deploy / ".env").write_text("\n".join([example, *lines, ""]), "utf-8")

    def secret(self, name: str, text: str) -> str:
        """Write a secret's file; give its path as `.env` has it."""
        path = self.deploy / "secrets" / name
        path.write_text(text, "utf-8")
        os.chown(path, UID, UID)
        path.chmod(0o400)
        return f"./secrets/{name}"

    async def compose(self, *arguments: str) -> str:
        """Run docker compose v2: this machine's, or else the one in the image of servers."""
        try:
            await run("docker", "compose", "version")
        except CommandError:
            return await self._compose_in_container(*arguments)
        return await run("docker", "compose", *arguments, cwd=self.deploy)

    async def _compose_in_container(self, *arguments: str) -> str:
        socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        here = str(self.path)
        mounts = ["-v", f"{socket}:/var/run/docker.sock", "-v", f"{here}:{here}", "-w", str(self.deploy)]
        return await docker(
            "run", "--rm", "--network", "host", *mounts, "--entrypoint", COMPOSE_PLUGIN, self.servers, *arguments
        )

    async def compose1(self, *arguments: str) -> str:
        """Run docker-compose 1.29."""
        return await run("docker-compose", *arguments, cwd=self.deploy)

    async def containers(self, service: str) -> list[str]:
        """Give the running containers of a service of the project."""
        found = await docker(
            "ps", "-q",
            "--filter", f"label=com.docker.compose.project={PROJECT}",
            "--filter", f"label=com.docker.compose.service={service}",
        )  # fmt: skip
        return found.split()
