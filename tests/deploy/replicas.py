"""Several replicas of a service behind nginx, with common state in Valkey."""

import asyncio
import shutil
import time
from collections import Counter

import aiohttp

from tests.deploy.chat import Answer
from tests.deploy.engine import SHARES_STATE, Checkout, docker, inspect, run, say, until
from tests.deploy.serving import KEY
from tests.simulators import Stall
from tests.simulators.chatglm import GlmSite

FILE = ("--file", "compose.ha.yaml")
REPLICAS = 2
REQUESTS = 200
AT_ONCE = 40
PACE = 0.01
LEASE_LIFE = 30.0
"""Seconds after which the leases of a killed replica are free."""


async def replicate(checkout: Checkout, site: GlmSite) -> None:
    """Start two replicas of glm with Valkey, and check what happens when one of them, or Valkey, is killed."""
    checkout.configure(
        GLM_REPLICAS=str(REPLICAS),
        # More waiting than 40 requests on 4 accounts need on a slow machine.
        ACCOUNT_WAIT="110",
        API_KEYS_FILE=checkout.secret("api_keys", KEY),
        GLM_ACCOUNTS_FILE=checkout.secret("glm", ",".join(site.account(f"replicas-{n}") for n in range(4))),
    )
    await checkout.compose(*FILE, "up", "--detach", "glm", "nginx")
    try:
        await both_serve(checkout)
        if SHARES_STATE:
            await under_load(checkout, site)
            await valkey_killed(checkout)
        await replica_killed(checkout, site)
    except AssertionError:
        say(await checkout.compose(*FILE, "logs", "--tail", "20"))
        raise
    finally:
        await checkout.compose(*FILE, "down", "--volumes", "--timeout", "5")


async def addresses(checkout: Checkout) -> list[str]:
    """Give the addresses of the replicas themselves."""
    found = []
    for container in await checkout.containers("glm"):
        networks = (await inspect(container))["NetworkSettings"]["Networks"]
        found += [f"http://{network['IPAddress']}:8000" for network in networks.values()]
    return found


async def both_serve(checkout: Checkout) -> None:
    """Wait until both replicas get requests through nginx."""
    assert len(await checkout.containers("glm")) == REPLICAS
    seen: Counter[str] = Counter()

    async def shared() -> bool:
        await Answer().read(checkout.session, f"{checkout.url}/glm", KEY)
        for address in await addresses(checkout):
            seen[address] = await answered(checkout.session, address)
        return len(seen) == REPLICAS and min(seen.values()) > 0

    await until("both replicas serve", shared, 60)
    say("  nginx gives requests to both replicas")


async def answered(session: aiohttp.ClientSession, address: str) -> int:
    """Give how many chat requests a replica has answered, from its metrics; 0 while it does not answer."""
    try:
        async with session.get(f"{address}/metrics") as response:
            text = await response.text()
    except aiohttp.ClientError:
        return 0
    route = 'route="/v1/chat/completions"'
    return sum(int(float(line.split()[-1])) for line in text.splitlines() if route in line and "requests_total" in line)


async def common_state(session: aiohttp.ClientSession, address: str) -> str:
    """Give what a replica says of its common state; nothing while it does not answer."""
    try:
        async with session.get(f"{address}/readyz") as response:
            told: str = (await response.json()).get("redis", "")
    except aiohttp.ClientError:
        return ""
    return told


async def load(checkout: Checkout, requests: int) -> list[Answer]:
    """Ask so often, `AT_ONCE` at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Answer:
        async with gate:
            return await Answer().read(checkout.session, f"{checkout.url}/glm", KEY)

    return list(await asyncio.gather(*(one() for _ in range(requests))))


async def under_load(checkout: Checkout, site: GlmSite) -> None:
    """Check that two outputs never ran on one account at once: the site would have refused the second."""
    refused = site.outcomes("stream")["busy"]
    # Slow enough that outputs overlap; without common state the site then refuses some of them.
    site.pace = PACE
    answers = await load(checkout, REQUESTS)
    site.pace = 0.0
    assert all(answer.done for answer in answers), Counter(answer.status for answer in answers)
    assert site.outcomes("stream")["busy"] == refused, "two outputs ran on one account at once"
    say(f"  {REQUESTS} requests on 4 accounts, {AT_ONCE} at a time: all answered, never two on one account")


async def valkey_killed(checkout: Checkout) -> None:
    """Kill Valkey: requests go on; started again, it is used again."""
    (valkey,) = await checkout.containers("valkey")
    await docker("kill", "--signal", "KILL", valkey)
    answers = await load(checkout, 8)
    assert all(answer.done for answer in answers), Counter(answer.status for answer in answers)
    await docker("start", valkey)

    async def used() -> bool:
        return all([await common_state(checkout.session, address) == "ok" for address in await addresses(checkout)])

    await until("Valkey is used again", used, 40)
    say("  Valkey killed: requests went on; started again: it is used again")


async def replica_killed(checkout: Checkout, site: GlmSite) -> None:
    """Kill a replica in the middle of its answers: the other one serves, on all accounts once its leases are over."""
    stalls = [Stall(after=2500) for _ in range(4)] if SHARES_STATE else []
    site.script("stream", *stalls)
    held = [asyncio.create_task(Answer().read(checkout.session, f"{checkout.url}/glm", KEY)) for _ in stalls]
    for stall in stalls:
        await asyncio.wait_for(stall.reached.wait(), 15)
    victim = await busiest(checkout)
    before = len(site.conversations)
    began = time.monotonic()
    await docker("kill", "--signal", "KILL", victim)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)

    async def serves_on_all() -> bool:
        await load(checkout, 4)
        return len({made.owner for made in list(site.conversations.values())[before:]}) == 4

    await until("the other replica serves on all accounts", serves_on_all, LEASE_LIFE + 5)
    say(f"  a replica killed: the other one serves on all four accounts after {time.monotonic() - began:.0f} s")


async def busiest(checkout: Checkout) -> str:
    """Give the replica with the most answers under way."""
    open_streams = {}
    for container, address in zip(await checkout.containers("glm"), await addresses(checkout), strict=True):
        async with checkout.session.get(f"{address}/metrics") as response:
            text = await response.text()
        line = next(line for line in text.splitlines() if line.startswith("chat_service_open_streams{"))
        open_streams[container] = float(line.split()[-1])
    say(f"  answers under way: {' and '.join(f'{number:.0f}' for number in open_streams.values())}")
    return max(open_streams, key=lambda container: open_streams[container])


async def render(checkout: Checkout, _: GlmSite) -> None:
    """Build the Kubernetes manifests, where there is kubectl."""
    if shutil.which("kubectl") is None:
        say("  there is no kubectl here: left out")
        return
    text = await run("kubectl", "kustomize", "deploy/kubernetes/example", cwd=checkout.path)
    kinds = Counter(line.removeprefix("kind: ") for line in text.splitlines() if line.startswith("kind: "))
    assert kinds["Deployment"] >= 3
    say(f"  {', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}")
