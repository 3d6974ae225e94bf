"""`python -m tests.simulators`: every fake site behind one address, until SIGINT or SIGTERM.

Prints `UPSTREAM_GATEWAY=<address>`, and for each site `<NAME>_TOKENS=<token>,<token>`, once it listens.
"""

import argparse
import asyncio
import signal
import sys

from tests.simulators import Gateway, discover

PACE = 0.03
"""Seconds between two frames: as fast as a site writes."""


async def serve(host: str, port: int, pace: float) -> None:
    """Start every site, print where and with which tokens, and serve until told to stop."""
    sites = [kind() for kind in discover()]
    for site in sites:
        site.pace = pace
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Gateway.start(*sites, host=host, port=port) as gateway:
        lines = [f"UPSTREAM_GATEWAY={gateway.url}"]
        lines += [f"{site.name.upper()}_TOKENS={','.join(site.demo_tokens())}" for site in sites]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        await stop.wait()
        sys.stdout.writelines(f"violation: {text}\n" for text in gateway.violations)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulators", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100, help="0 takes any free port")
    parser.add_argument("--pace", type=float, default=PACE, help="seconds between two frames of an answer")
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.port, options.pace))


if __name__ == "__main__":
    main()
