"""Two chosen services and nginx, as most people run them."""

import asyncio
import re
import time
from typing import Any

import orjson

from tests.deploy.chat import Answer
from tests.deploy.engine import DEPLOY, SERVICES, UID, Checkout, CommandError, docker, inspect, run, say, status, until
from tests.simulators import Stall
from tests.simulators.chatglm import GlmSite

KEY = "deploy-test-key"
ROUTED = frozenset(re.findall(r"^    ([a-z0-9-]+) +\1:8000;$", (DEPLOY / "nginx" / "upstreams.conf").read_text(), re.M))
"""The services nginx knows."""

CHOSEN = ["glm", *[name for name in SERVICES if name != "glm"][:1]]
FIRST_FRAMES = 2500
"""Bytes of the site's answer after which it falls silent: some frames, with the beginning of the text in them."""

FRAME_LIMIT = 0.2
"""Seconds a frame may take from the site through the service and nginx to the client."""

PACE = 0.1
WRITE = """
try:
    open("/app/written", "w")
except OSError as error:
    print(error.strerror)
"""


def configure(checkout: Checkout, site: GlmSite) -> list[str]:
    """Choose two services and nginx, with secrets in files; give the account tokens."""
    tokens = [site.account(f"deploy-{number}") for number in range(4)]
    checkout.configure(
        COMPOSE_PROFILES=",".join([*CHOSEN, "nginx"]),
        API_KEYS_FILE=checkout.secret("api_keys", KEY),
        GLM_ACCOUNTS_FILE=checkout.secret("glm", ",".join(tokens)),
    )
    return tokens


async def serve(checkout: Checkout, site: GlmSite) -> None:
    """Start two services and nginx, and check all that is promised of them."""
    tokens = configure(checkout, site)
    await checkout.compose("config", "--quiet")
    await checkout.compose("build", "--quiet", "glm")
    await checkout.compose("up", "--detach", "--no-build")
    try:
        await answers(checkout)
        await hardened(checkout)
        await absent(checkout)
        await streams(checkout, site)
        await found_again(checkout)
        await quiet(checkout, tokens)
        await stopped(checkout, site)
    finally:
        await checkout.compose("--profile", "*", "down", "--volumes", "--timeout", "5")


async def serve_with_1_29(checkout: Checkout, site: GlmSite) -> None:
    """Start the same with docker-compose 1.29, which reads the files too."""
    configure(checkout, site)
    try:
        version = await checkout.compose1("version", "--short")
    except (FileNotFoundError, CommandError):
        say("  there is no docker-compose 1.29 here: left out")
        return
    await checkout.compose1("up", "--detach", "--no-build")
    try:
        await answers(checkout)
        say(f"  docker-compose {version} starts the same")
    finally:
        await checkout.compose1("down", "--volumes", "--timeout", "5")


async def answers(checkout: Checkout) -> None:
    """Wait until every chosen service answers through nginx."""
    for name in CHOSEN:
        url = f"{checkout.url}/{name}/readyz"

        async def ready(url: str = url) -> bool:
            return await status(checkout.session, url) == 200

        seconds = await until(f"{name} answers through nginx", ready, 30)
        say(f"  {name} answers through nginx ({seconds:.1f} s)")


async def hardened(checkout: Checkout) -> None:
    """Check that every container is anybody but root, on a root it cannot write."""
    for name in [*CHOSEN, "nginx"]:
        (container,) = await checkout.containers(name)
        host = (await inspect(container))["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"], name
        assert host["PidsLimit"], name
        users = {line.strip() for line in (await docker("top", container, "-eo", "uid,pid")).splitlines()[1:]}
        expected = "101" if name == "nginx" else str(UID)
        assert {line.split()[0] for line in users} == {expected}, f"{name} runs as {users}"
    (glm,) = await checkout.containers("glm")
    assert await docker("exec", glm, "python", "-c", WRITE) == "Read-only file system"
    say("  every container: not root, read-only root, no capabilities, limits")


async def absent(checkout: Checkout) -> None:
    """Check what nginx says of a service that was not chosen, of an unknown name, and of too much."""
    for path, expected, code in (
        (f"/{min(ROUTED - set(CHOSEN))}/v1/models", 503, "service_unavailable"),
        ("/nothing/v1/models", 404, "not_found"),
        ("/glm/metrics", 404, "not_found"),
        ("/", 404, "not_found"),
    ):
        async with checkout.session.get(checkout.url + path) as response:
            error = error_of(await response.read())
            assert (response.status, error["code"]) == (expected, code), (path, response.status, error)
    assert await too_large(checkout) == 413
    say("  a service that does not run: 503; unknown addresses: 404; too large: 413, all in OpenAI's envelope")


def error_of(body: bytes) -> dict[str, Any]:
    """Give the error in OpenAI's envelope."""
    error: dict[str, Any] = orjson.loads(body)["error"]
    assert {"message", "type", "param", "code"} == error.keys()
    return error


async def too_large(checkout: Checkout) -> int:
    """Announce more than the services take; give the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", checkout.port)
    writer.write(b"POST /glm/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
    try:
        head = await reader.readline()
        return int(head.split()[1])
    finally:
        writer.close()


async def streams(checkout: Checkout, site: GlmSite) -> None:
    """Check that frames come one by one: text is here while the site is silent, and the pieces come at its pace."""
    stall = Stall(after=FIRST_FRAMES, until=asyncio.Event())
    site.script("stream", stall)
    answer = Answer()
    reading = asyncio.create_task(answer.read(checkout.session, f"{checkout.url}/glm", KEY))
    await asyncio.wait_for(stall.reached.wait(), 15)
    written = time.monotonic()
    while not answer.pieces:
        assert time.monotonic() - written < FRAME_LIMIT, "the first text did not come while the site was silent"
        await asyncio.sleep(0.005)
    # Counted from the call's arrival at the site, which is a little before its first byte.
    late = answer.first - site.calls_of("stream")[-1].started
    assert late < FRAME_LIMIT, f"the first text came {late:.2f} s after the site's"
    say(f"  first text at the client {late * 1000:.0f} ms after the site was asked, which was then silent")
    assert stall.until is not None
    stall.until.set()
    await asyncio.wait_for(reading, 30)
    assert (answer.status, answer.done, answer.request_id) == (200, True, "deploy-test")
    assert "模拟站点" in answer.text
    site.pace = PACE
    paced = await Answer().read(checkout.session, f"{checkout.url}/glm", KEY)
    site.pace = 0.0
    gaps = [later - earlier for (earlier, _), (later, _) in zip(paced.pieces, paced.pieces[1:], strict=False)]
    assert len(gaps) >= 5, "too few pieces to tell"
    assert max(gaps) < PACE + FRAME_LIMIT, f"a frame was held back for {max(gaps):.2f} s"
    say(f"  {len(paced.pieces)} pieces, {min(gaps) * 1000:.0f} to {max(gaps) * 1000:.0f} ms apart (the site: 100 ms)")


async def found_again(checkout: Checkout) -> None:
    """Re-create a container so that it gets another address, and wait until nginx has found it."""
    (old,) = await checkout.containers("glm")
    networks = (await inspect(old))["NetworkSettings"]["Networks"]
    (network, before), *_ = networks.items()
    await checkout.compose("rm", "--stop", "--force", "glm")
    # Somebody else takes the first address that has become free.
    taker = await docker("run", "--detach", "--network", network, "--entrypoint", "sleep", checkout.servers, "60")
    try:
        await checkout.compose("up", "--detach", "--no-build", "glm")
        (new,) = await checkout.containers("glm")
        after = (await inspect(new))["NetworkSettings"]["Networks"][network]["IPAddress"]
        assert after != before["IPAddress"]

        async def ready() -> bool:
            return await status(checkout.session, f"{checkout.url}/glm/readyz") == 200

        seconds = await until("nginx finds the re-created container", ready, 15)
    finally:
        await docker("rm", "--force", taker)
    say(f"  re-created with another address, found again after {seconds:.1f} s")


async def quiet(checkout: Checkout, tokens: list[str]) -> None:
    """Check that no log has a token or a key in it, and that the engine finds the services healthy."""
    for name in [*CHOSEN, "nginx"]:
        (container,) = await checkout.containers(name)
        log = await run("docker", "logs", container, messages=True)
        assert not any(secret in log for secret in [*tokens, KEY]), f"the log of {name} has a secret in it"
    for name in CHOSEN:
        (container,) = await checkout.containers(name)

        async def healthy(container: str = container) -> bool:
            return bool((await inspect(container))["State"]["Health"]["Status"] == "healthy")

        await until(f"{name} is healthy", healthy, 45)
    say("  the engine finds them healthy; no secret is in a log")


async def stopped(checkout: Checkout, site: GlmSite) -> None:
    """Stop the container in the middle of a stream: the stream ends as it should, new work is refused."""
    stall = Stall(after=FIRST_FRAMES, until=asyncio.Event())
    site.script("stream", stall)
    answer = Answer()
    reading = asyncio.create_task(answer.read(checkout.session, f"{checkout.url}/glm", KEY))
    await asyncio.wait_for(stall.reached.wait(), 15)
    (container,) = await checkout.containers("glm")
    stopping = asyncio.create_task(docker("stop", container))

    async def draining() -> bool:
        return await status(checkout.session, f"{checkout.url}/glm/readyz") == 503

    await until("glm is being stopped", draining, 10)
    assert not reading.done()
    refused = await Answer().read(checkout.session, f"{checkout.url}/glm", KEY)
    assert (refused.status, error_of(refused.body)["code"]) == (503, "shutting_down")
    assert stall.until is not None
    stall.until.set()
    await asyncio.wait_for(reading, 30)
    assert answer.done, "the stream was cut"
    await asyncio.wait_for(stopping, 60)
    assert (await inspect(container))["State"]["ExitCode"] == 0
    say("  docker stop during a stream: the stream finished, new work got 503, exit code 0")
