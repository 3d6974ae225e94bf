"""The images: built, small, alike but for the last layer, with one service inside, running without a shell."""

import asyncio
import time

from tests.deploy.engine import IMAGES, SERVICES, UID, Checkout, docker, inspect, run, say, status

INSIDE = """
import os
folders = [entry.name for entry in os.scandir("/app/services") if entry.is_dir() and entry.name != "__pycache__"]
print(os.getuid(), *folders)
""".strip()
START_LIMIT = 10.0
"""Seconds a service may take to answer on a busy machine."""


async def build(checkout: Checkout) -> None:
    """Build every image as the README says; print its size, its own part of it, and how long it takes to start."""
    for name in SERVICES:
        began = time.monotonic()
        await docker(
            "build", "--quiet", "--network", "host", "--file", str(checkout.deploy / "Dockerfile"),
            "--build-arg", f"BASE={checkout.base}", "--build-arg", f"PROVIDER={name}",
            "--tag", f"{IMAGES}/{name}:latest", str(checkout.path),
        )  # fmt: skip
        say(f"  {name}: built in {time.monotonic() - began:.1f} s")
    for name in SERVICES:
        await check(checkout, name)
    layers = [(await inspect(f"{IMAGES}/{name}:latest"))["RootFS"]["Layers"] for name in SERVICES]
    assert all(found[:-1] == layers[0][:-1] for found in layers), "the images do not share their layers"
    say(f"  the images share {len(layers[0]) - 1} of {len(layers[0])} layers")


async def check(checkout: Checkout, name: str) -> None:
    """Look into one image, and start it as on a machine without a shell."""
    image = await inspect(f"{IMAGES}/{name}:latest")
    base = await inspect(checkout.base)
    assert image["Config"]["User"] == f"{UID}:{UID}"
    assert image["Config"]["Entrypoint"] == ["python", "-m", "services"]
    assert image["Config"]["Labels"]["org.opencontainers.image.title"] == f"chat-services {name}"
    inside = await docker("run", "--rm", "--entrypoint", "python", f"{IMAGES}/{name}", "-c", INSIDE)
    assert inside == f"{UID} {name}", f"inside the image of {name}: {inside}"
    own = await docker(
        "history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", f"{IMAGES}/{name}"
    )
    last = next(int(line.split()[0]) for line in own.splitlines() if "/app/services" in line)
    seconds = await start(checkout, name)
    added = image["Size"] - base["Size"]
    say(f"  {name}: {added / 1e6:.0f} MB over its base, {last / 1e3:.0f} kB its own; answers after {seconds:.2f} s")
    assert seconds < START_LIMIT


async def start(checkout: Checkout, name: str) -> float:
    """Run the image with everything taken away that is not needed; give the seconds until it answers."""
    no_shell = [f"--volume=/dev/null:{path}:ro" for path in ("/usr/bin/sh", "/usr/bin/dash", "/usr/bin/bash")]
    hard = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=bridge"]
    began = time.monotonic()
    container = await docker("run", "--detach", *hard, *no_shell, f"{IMAGES}/{name}")
    try:
        address = (await inspect(container))["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        while await status(checkout.session, f"http://{address}:8000/readyz") != 200:
            if time.monotonic() - began > START_LIMIT:
                raise AssertionError(await run("docker", "logs", container, messages=True))
            await asyncio.sleep(0.02)
        return time.monotonic() - began
    finally:
        await docker("rm", "--force", container)
