"""Payloads of the sites, read with a check of their shape: never a `KeyError`. Pure."""

from collections.abc import Mapping
from typing import Any

from shared.errors import UpstreamChanged
from shared.logs import shape
from shared.surrogates import whole


def inner(value: Any, *names: str) -> Any:
    """Follow names through objects in objects; None where the way ends before."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def as_object(value: Any) -> Mapping[str, Any]:
    """Give a JSON object; an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Give a JSON array; an empty one in the place of anything else."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Give a text, lone surrogates made good; an empty one in the place of anything else."""
    return whole(value) if isinstance(value, str) else ""


def as_address(value: Any) -> str:
    """Give an http(s) address; empty when it is none."""
    text = as_text(value)
    return text if text.startswith(("https://", "http://")) else ""


def text_of(value: Mapping[str, Any], *names: str) -> str:
    """Give the text that a reply must have under one of these names, also where it is a number.

    It is an id, a token, an address: raise `UpstreamChanged` when there is none, or it has what these cannot have.
    """
    for name in names:
        text = value.get(name)
        if isinstance(text, str) and text and text.isprintable():
            return text
        if type(text) is int:
            return str(text)
    raise UpstreamChanged(f"The site left out `{names[0]}` in its reply.", shape=shape(value))


def id_of(value: Mapping[str, Any], name: str) -> str | int:
    """Give an id that a reply must have, as it came; raise `UpstreamChanged` when it is missing."""
    found = value.get(name)
    return found if type(found) is int else text_of(value, name)
