"""The same file as a Swarm stack."""

from tests.deploy.chat import Answer
from tests.deploy.engine import Checkout, docker, run, say, status, until
from tests.deploy.serving import KEY
from tests.simulators.chatglm import GlmSite

STACK = "deploy-test-stack"
REPLICAS = 2


async def stack(checkout: Checkout, site: GlmSite) -> None:
    """Deploy two replicas of glm on a Swarm of this one node, and ask them."""
    tokens = ",".join(site.account(f"swarm-{number}") for number in range(2))
    checkout.configure(
        GLM_REPLICAS=str(REPLICAS),
        API_KEYS_FILE=checkout.secret("api_keys", KEY),
        GLM_ACCOUNTS_FILE=checkout.secret("glm", tokens),
    )
    ours = await docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    if ours:
        await docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        await run(
            "docker", "stack", "deploy", "--resolve-image", "never", "--compose-file", "compose.ha.yaml", STACK,
            cwd=checkout.deploy, env=checkout.env,
        )  # fmt: skip
        await serves(checkout)
    finally:
        await docker("stack", "rm", STACK)
        await until("the stack is gone", gone, 60)
        if ours:
            await docker("swarm", "leave", "--force")
            # Made by the engine for Swarm, and left behind.
            await docker("network", "rm", "docker_gwbridge")
        await docker("volume", "rm", "--force", f"{STACK}_valkey")


async def serves(checkout: Checkout) -> None:
    """Wait for both replicas, and for an answer through nginx."""

    async def running() -> bool:
        return await docker("service", "ls", "--filter", f"name={STACK}_glm", "--format", "{{.Replicas}}") == "2/2"

    async def ready() -> bool:
        return await status(checkout.session, f"{checkout.url}/glm/readyz") == 200

    await until("two replicas run", running, 90)
    await until("nginx answers for them", ready, 60)
    mode = await docker("service", "inspect", f"{STACK}_glm", "--format", "{{.Spec.EndpointSpec.Mode}}")
    assert mode == "dnsrr"
    for _ in range(4):
        answer = await Answer().read(checkout.session, f"{checkout.url}/glm", KEY)
        assert (answer.status, answer.done) == (200, True)
    say("  two replicas (endpoint_mode dnsrr) serve through nginx")


async def gone() -> bool:
    """Whether no container and no network of the stack is left."""
    label = f"label=com.docker.stack.namespace={STACK}"
    left = await docker("ps", "--all", "--quiet", "--filter", label)
    return not left and not await docker("network", "ls", "--quiet", "--filter", label)
