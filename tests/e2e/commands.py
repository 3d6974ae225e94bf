"""Commands, run as a user runs them, on loopback alone."""

import asyncio
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 50.0


async def run(*command: str | Path, **environ: str) -> tuple[int, str]:
    """Run to the end, with `environ`, without this machine's proxies; give the exit code and all that was written."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=ROOT,
        env={**kept, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            written, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, written.decode()
