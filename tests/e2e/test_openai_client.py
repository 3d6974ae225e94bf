"""The official client against the running service: the newest, and one of the first generation."""

import sys
from pathlib import Path

import pytest

from tests.e2e.commands import ROOT, run
from tests.services.glm.world import World
from tests.simulators import Cut, html
from tests.simulators.chatglm import Filter

CLIENTS = {
    "newest": Path(sys.executable),
    "1.x": ROOT / ".venv-openai1" / "bin" / "python",
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_official_client(client: str) -> None:
    python = CLIENTS[client]
    assert python.exists(), "`make test` makes the environment with the older client"
    async with World.start(RETRIES="0", ACCOUNT_WAIT="1") as world:
        site = world.site
        tokens = [site.account(name) for name in ("ann", "bob", "cem")]
        site.expire_refresh("bob")
        world.occupy("cem")
        site.script("stream", Filter(notice=""), Cut(after=2000), html())
        script = Path(__file__).with_name("openai_script.py")
        code, written = await run(python, script, f"{world.house.url}/v1", *tokens)
        assert code == 0, written
        assert "all well with openai " + ("1." if client == "1.x" else "") in written
        # The one that was opened to be continued.
        world.kept = 1
