"""JSON as the sites and clients send it: orjson first, the standard library for what orjson refuses."""

import json
from typing import Any

import orjson

JSON = "application/json"


def loads(data: bytes | str, *, strict: bool = False) -> Any:
    """Read JSON text. Lone surrogates come through as they are. Raise `ValueError` when it is not JSON.

    Bytes that are no UTF-8 become U+FFFD, as in the sites' own pages; when `strict`, they are no JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    text = data if isinstance(data, str) else data.decode("utf-8-sig", "strict" if strict else "replace")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def loads_any(data: bytes) -> Any:
    """Read JSON text; None when it is not JSON."""
    try:
        return loads(data)
    except ValueError:
        return None


def dumps(value: Any) -> bytes:
    """Write compact JSON; lone surrogates become escapes, which are valid JSON text."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
