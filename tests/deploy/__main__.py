"""`python -m tests.deploy CHECKOUT [STEP ...]`: run the deployment on this machine's engine; `run` calls it."""

import argparse
import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from tests.deploy import images, options, replicas, serving, swarm
from tests.deploy.engine import IMAGES, SERVICES, Checkout, docker, run, say
from tests.simulators import Gateway, discover
from tests.simulators.chatglm import GlmSite

Step = Callable[[Checkout, GlmSite], Awaitable[None]]


async def build(checkout: Checkout, _: GlmSite) -> None:
    """Build and check the images."""
    await images.build(checkout)


STEPS: dict[str, tuple[str, Step]] = {
    "images": ("the images", build),
    "compose": ("two services and nginx, with docker compose v2", serving.serve),
    "compose1": ("the same with docker-compose 1.29", serving.serve_with_1_29),
    "options": ("nginx with its options", options.switched_on),
    "replicas": ("several replicas", replicas.replicate),
    "swarm": ("a Swarm stack", swarm.stack),
    "kubernetes": ("the Kubernetes manifests", replicas.render),
}
"""What is done, in this order; each step but the last needs the images of the first."""


def free_port() -> int:
    """Give a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def deploy(path: Path, steps: list[str]) -> None:
    """Start the simulated sites where containers reach them, and run the steps."""
    bridge = await docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    host = bridge or "172.17.0.1"
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        Gateway.start(*(site() for site in discover()), host=host) as gateway,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
    ):
        checkout = Checkout(
            path,
            gateway.url,
            os.environ["BASE"],
            os.environ.get("NGINX_IMAGE") or "nginx:1.28-alpine",
            os.environ.get("VALKEY_IMAGE") or "valkey/valkey:8-alpine",
            session,
            free_port(),
        )
        checkout.copy()
        for step in steps:
            what, do = STEPS[step]
            began = time.monotonic()
            say(f"{what}:")
            await do(checkout, gateway.site(GlmSite))
            say(f"  done in {time.monotonic() - began:.0f} s")
        assert not gateway.violations, gateway.violations


async def clean() -> None:
    """Remove the images of the test."""
    await run("docker", "rmi", "--force", *(f"{IMAGES}/{name}:latest" for name in SERVICES))


def main() -> None:
    """Read the command line; the exit code says whether all holds."""
    parser = argparse.ArgumentParser(prog="tests/deploy/run", description=__doc__)
    parser.add_argument("checkout", type=Path, help="an empty folder for a copy of what is deployed")
    parser.add_argument("steps", nargs="*", help=f"only these of {', '.join(STEPS)}")
    options = parser.parse_args()
    try:
        asyncio.run(deploy(options.checkout, options.steps or list(STEPS)))
    finally:
        asyncio.run(clean())
    say("The deployment works.")


if __name__ == "__main__":
    main()
