"""Who owns a kept conversation: its account, its API key, and where its next turn attaches."""

from collections import OrderedDict

import attrs
import orjson
from attrs import frozen

from shared.common.contract import Alone, Common
from shared.terms import Conversation

OWNERS_MOST = 10_000
"""Conversations remembered at once; the ones used longest ago go first."""

OWNERS_LIFE = 30 * 86_400.0
"""Seconds an owner is remembered for all replicas after the last turn."""


@frozen
class Owner:
    """The account (by digest) and the API key (empty without API keys) that a conversation belongs to."""

    account: str
    api_key: str
    conversation: Conversation


class Owners:
    """The owner table: this replica's, which is brought up to date from what all have in common."""

    def __init__(self, common: Common | None = None) -> None:
        self._common = common or Alone()
        self._owners: OrderedDict[str, Owner] = OrderedDict()

    async def find(self, conversation_id: str) -> Owner | None:
        """Give the owner as the replica that wrote last knows it, None when it is not known to any."""
        owner = _read(await self._common.fetch("conversation", conversation_id)) or self._owners.get(conversation_id)
        if owner is not None:
            self._remember(conversation_id, owner)
        return owner

    async def put(self, conversation_id: str, owner: Owner) -> None:
        """Remember, or bring up to date."""
        self._remember(conversation_id, owner)
        await self._common.store("conversation", conversation_id, orjson.dumps(attrs.asdict(owner)), OWNERS_LIFE)

    def _remember(self, conversation_id: str, owner: Owner) -> None:
        self._owners[conversation_id] = owner
        self._owners.move_to_end(conversation_id)
        if len(self._owners) > OWNERS_MOST:
            self._owners.popitem(last=False)


def _read(text: bytes | None) -> Owner | None:
    """Read an owner; None when there is none, or another version's."""
    if text is None:
        return None
    try:
        told = orjson.loads(text)
        return Owner(told["account"], told["api_key"], Conversation(**told["conversation"]))
    except (TypeError, KeyError, ValueError):
        return None
