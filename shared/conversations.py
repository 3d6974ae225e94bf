"""Who owns a kept conversation: its account, its API key, and where its next turn attaches."""

from collections import OrderedDict

from attrs import frozen

from shared.terms import Conversation

OWNERS_MOST = 10_000
"""Conversations remembered at once; the ones used longest ago go first."""


@frozen
class Owner:
    """The account (by digest) and the API key (empty without API keys) that a conversation belongs to."""

    account: str
    api_key: str
    conversation: Conversation


class Owners:
    """The owner table."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, Owner] = OrderedDict()

    def get(self, conversation_id: str) -> Owner | None:
        """Give the owner of a conversation, None when it is not known (another service made it, or a restart)."""
        owner = self._owners.get(conversation_id)
        if owner is not None:
            self._owners.move_to_end(conversation_id)
        return owner

    def put(self, conversation_id: str, owner: Owner) -> None:
        """Remember, or bring up to date."""
        self._owners[conversation_id] = owner
        self._owners.move_to_end(conversation_id)
        if len(self._owners) > OWNERS_MOST:
            self._owners.popitem(last=False)
