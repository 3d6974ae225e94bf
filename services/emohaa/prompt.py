"""The one text the site is sent: all of a conversation folded into a prompt, and the query it travels in. Pure."""

from collections.abc import Sequence
from urllib.parse import quote

from services.emohaa.site import EmohaaSite
from shared.openai.messages import Message

TAGS = {"assistant": "emohaa"}
"""Role tags that are not the role's own name."""

INSTRUCTIONS = ("system", "developer")
"""Roles of what a client says about the conversation, which is no part of it."""


def prompt(site: EmohaaSite, messages: Sequence[Message], *, continued: bool) -> str:
    """Fold the messages, or of a continued conversation the last one, into one line for each."""
    chosen = messages[-1:] if continued else _chosen(site, messages) or messages
    return "".join(f"{TAGS.get(message.role, message.role)}:{''.join(message.texts)}\n" for message in chosen)


def query(**values: str) -> str:
    """Write a query in the order given, escaped as the site's page does it."""
    return "&".join(f"{name}={quote(value, safe='-_.~!*()')}" for name, value in values.items())


def _chosen(site: EmohaaSite, messages: Sequence[Message]) -> Sequence[Message]:
    if site.prompt == "last":
        return [message for message in messages if message.role == "user"][-1:]
    if site.prompt == "dialogue":
        return [message for message in messages if message.role not in INSTRUCTIONS]
    return messages
