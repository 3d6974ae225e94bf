"""What is off by default in nginx, switched on: TLS and keys of its own; and nginx outside of a container's files."""

import ssl

import aiohttp

from tests.deploy.engine import Checkout, docker, inspect, run, say, until
from tests.deploy.serving import configure
from tests.simulators.chatglm import GlmSite

KEY = "replace-me-by-a-long-random-text"
"""The key in the example."""

PLAIN = """
ln -s /etc/nginx/chat/server.conf /etc/nginx/conf.d/chat.conf
ln -s /etc/nginx/chat/local/upstreams.conf /etc/nginx/conf.d/chat-upstreams.conf
nginx -t
"""
"""What the README says for an nginx that is already there."""


async def switched_on(checkout: Checkout, site: GlmSite) -> None:
    """Enable the examples and ask with and without a key, over TLS."""
    nginx = checkout.deploy / "nginx"
    await docker(
        "run", "--rm", "--volume", f"{nginx}:/etc/nginx/chat:ro", "--entrypoint", "sh", checkout.servers, "-ec", PLAIN
    )  # fmt: skip
    say("  an nginx that is already there takes the files")
    for example in sorted(nginx.glob("*.d/*.conf.example")):
        example.with_suffix("").write_bytes(example.read_bytes())
    certs = nginx / "certs"
    certs.mkdir()
    await run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-keyout", str(certs / "privkey.pem"), "-out", str(certs / "fullchain.pem"),
    )  # fmt: skip
    (certs / "privkey.pem").chmod(0o444)
    configure(checkout, site)
    await checkout.compose("up", "--detach", "--no-build")
    try:
        await asked(checkout)
    finally:
        await checkout.compose("--profile", "*", "down", "--volumes", "--timeout", "5")
        for enabled in nginx.glob("*.d/*.conf"):
            enabled.unlink()


async def asked(checkout: Checkout) -> None:
    """Ask nginx over TLS, at the address of its container, which publishes no port for it."""
    (nginx,) = await checkout.containers("nginx")
    (network,) = (await inspect(nginx))["NetworkSettings"]["Networks"].values()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def status(path: str, **headers: str) -> int:
        url = f"https://{network['IPAddress']}:8443{path}"
        try:
            async with checkout.session.get(url, ssl=context, headers=headers) as response:
                return response.status
        except aiohttp.ClientError:
            return 0

    async def ready() -> bool:
        return await status("/glm/readyz", **{"X-Api-Key": KEY}) == 200

    await until("nginx answers over TLS", ready, 20)
    assert await status("/glm/readyz") == 401
    assert await status("/healthz") == 200
    say("  TLS and nginx's own API keys: 401 without a key, 200 with it")
