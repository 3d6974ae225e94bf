"""The table of owners has an end: what is still used stays in it."""

import pytest

from shared import conversations
from shared.conversations import Owner, Owners
from shared.terms import Conversation


def owner(name: str) -> Owner:
    return Owner("digest", "key", Conversation(name))


@pytest.mark.parametrize("last_used", ["put", "find"])
async def test_the_one_used_longest_ago_is_forgotten(last_used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "OWNERS_MOST", 2)
    owners = Owners()
    await owners.put("a", owner("a"))
    await owners.put("b", owner("b"))
    if last_used == "put":
        await owners.put("a", owner("a2"))
    else:
        await owners.find("a")
    await owners.put("c", owner("c"))
    assert [await owners.find(name) is not None for name in "abc"] == [True, False, True]
