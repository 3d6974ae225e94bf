"""What a model name asks for. Pure."""

from attrs import frozen

SWITCHES = {"-nosearch": False, "-search": True}
"""Ends of a model name that switch the site's web search off and on."""


@frozen
class Choice:
    """A model name taken apart: the name without its switch, and the switch, None for the account's own setting."""

    name: str
    search: bool | None = None


def choice(model: str) -> Choice:
    """Take a model name apart."""
    for end, search in SWITCHES.items():
        if model.endswith(end):
            return Choice(model.removesuffix(end), search)
    return Choice(model)
