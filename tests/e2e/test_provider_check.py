"""The compatibility checker of a gateway that many providers stand behind, run on the service."""

import json
import sys
from pathlib import Path

from tests.e2e.commands import run
from tests.services.glm.world import World

TIER = 4
"""Catalog, callability, chat, streaming. The tiers above ask for tools and benchmarks: no site here has such."""


async def test_the_provider_check_passes(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    async with World.start() as world:
        # One write for all of an answer would not count as a stream.
        world.site.pace = 0.002
        code, written = await run(
            Path(sys.executable).with_name("trustedrouter-provider-check"),
            *("--base-url", f"{world.house.url}/v1", "--api-key", world.site.account("ann")),
            *("--tier", str(TIER), "--json", report),
        )
        assert code == 0, written
        checks = json.loads(report.read_bytes())["checks"]
        assert {check["status"] for check in checks} <= {"pass", "skip"}
        # There is no catalog of a marketplace here.
        assert [check["id"] for check in checks if check["status"] == "skip"] == ["catalog.declared-v2"]
        assert {check["tier"] for check in checks} == set(range(1, TIER + 1))
        assert "Conformance gate (Tiers 1-4): PASS" in written
        await world.deleted()
