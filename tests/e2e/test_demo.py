"""The demo, as `make demo ONCE=1` runs it."""

import sys

from tests.e2e.commands import run

NOBODY = "http://127.0.0.1:9"


async def test_the_demo_shows_everything_and_ends() -> None:
    # The way of newcomers to the world, which the demo does not take.
    code, written = await run(sys.executable, "-m", "tests.demo", "--once", http_proxy=NOBODY, all_proxy=NOBODY)
    assert code == 0, written
    glm = written.partition("== glm (")[2].partition("\n==")[0]
    assert "这是模拟站点的回答" in glm
    assert "picture: https://" in glm
    assert "token check: {'live': True}" in glm
    assert "curl -N http://127.0.0.1:" in written
    assert "FAILED" not in written
    assert "Traceback" not in written
