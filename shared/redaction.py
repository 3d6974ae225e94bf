"""What must never be read in a log, and how it is hidden.

Redaction prefers to hide too much. It knows secrets in three ways: by value (`protect`), by the name they are
given (`token=...`, `Cookie: ...`, keys of mappings) and by their looks (JWTs, long random runs, queries of URLs).
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from urllib.parse import quote

MASK = "[redacted]"
TEXT_LIMIT = 16 * 1024
"""Characters of one logged text; what is longer is cut at a space, so that no half secret stays."""

_SECRETS_LIMIT = 10_000
_SECRETS_SIZE = 4 * 1024 * 1024
"""Secrets remembered by value: their number, and their characters in all (a JWT has about a thousand)."""

_SECRET_LENGTH = 8 * 1024
_TAIL = 6
"""Characters a secret is looked up by, hence of the shortest: hiding shorter ones would hide all else."""

_PIECE = range(16, 40)
"""Lengths of a secret's parts that are secrets too (`uid-sid`); longer ones are seen by their looks."""


_versions = count()


class _Secrets:
    """The texts that must never be logged. Finding them costs the same for ten and for ten thousand.

    `version` changes with each: what was masked before may hold the new one.
    """

    def __init__(self) -> None:
        self.version = next(_versions)
        self._forms: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._by_tail: dict[str, list[str]] = {}
        self._size = 0

    def add(self, secret: str) -> None:
        secret = secret[:_SECRET_LENGTH]
        if secret in self._forms:
            self._forms.move_to_end(secret)
            return
        forms = self._forms[secret] = tuple(_forms(secret))
        for form in forms:
            self._by_tail.setdefault(form[-_TAIL:], []).append(form)
        self.version = next(_versions)
        self._size += sum(map(len, forms))
        while len(self._forms) > _SECRETS_LIMIT or self._size > _SECRETS_SIZE:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, forms = self._forms.popitem(last=False)
        for form in forms:
            same_tail = self._by_tail[form[-_TAIL:]]
            same_tail.remove(form)
            if not same_tail:
                del self._by_tail[form[-_TAIL:]]
        self._size -= sum(map(len, forms))

    def mask(self, text: str) -> str:
        # Other threads log too: what is iterated here is never the dictionary that `add` changes.
        if len(self._by_tail) < len(text):
            tails = [tail for tail in list(self._by_tail) if tail in text]
        else:
            tails = [text[i : i + _TAIL] for i in range(len(text) - _TAIL + 1)]
        found = {form for tail in tails for form in self._by_tail.get(tail, ()) if form in text}
        return _without(text, found) if found else text


def _forms(secret: str) -> Iterator[str]:
    """Give a secret as it can come up: as it is, escaped, quoted, and the parts it is glued together from."""
    parts = (part for part in re.split(r"[^A-Za-z0-9]+", secret) if len(part) in _PIECE)
    escaped = (
        quote(secret, safe="", errors="replace"),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
    )
    yield from (form for form in dict.fromkeys((secret, *escaped, *parts)) if len(form) >= _TAIL)


def _without(text: str, found: set[str]) -> str:
    """Mask every occurrence of these texts, overlapping ones as one."""
    spans = sorted(span for form in found for span in _occurrences(text, form))
    pieces, end = [], 0
    for start, stop in spans:
        if start >= end:
            pieces += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*pieces, text[end:]])


def _occurrences(text: str, form: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


_secrets = _Secrets()

_HEADER_NAMES = r"authori[sz]ation|cookie|morsel"
_NAMES = r"token|secret|passw(?:or)?d|api[-_]?key|credential|ticket|session[-_]?id|jwt"
_SECRET_NAME = re.compile(rf"{_HEADER_NAMES}|{_NAMES}", re.IGNORECASE)

_NAMED = re.compile(
    rf"""
    ((?:({_HEADER_NAMES})|{_NAMES})[\w-]{{0,40}}    # the end of a name, a header's in group 2
    (?:\\*["'])?\s{{0,4}}                           # its closing quote, perhaps escaped
    (?:[:=]|(?<=["']),)\s{{0,4}})                   # of `name: `, `name=` or `('name', `
    (?: b?(["'])(?:\\.|(?!\3)[^\\])*\3?             # a quoted value
      | b?(\\+["']).*?(?:\4|$)                      # a value whose quotes are escaped
      | (?!\[redacted\])[\[({{][^\r\n]*             # a list or mapping: the rest of the line
      | (?(2)[^\r\n]+                               # a header: the rest of the line
        | (?:\[redacted\]|[^\s,;&"'<>)\]}}])+)      # a word, perhaps masked in part
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_BEARER = re.compile(r"(bearer|basic)\s+[^\s,\"'<>]+(?:\s*,\s*[^\s,\"'<>]+)*", re.IGNORECASE)
_URL = re.compile(r"://([^\s/?#@\"'<>]*(?:@[^\s/?#@\"'<>]*)*@)?([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?")
_QUERY = re.compile(r"\?[\w.~%\[\]-]{1,80}=[^\s\"'<>]*")
_JWT = re.compile(r"eyJ[A-Za-z0-9._~+/=%-]*")
_JOINT = re.compile(r"[? \t=:,]")
_RUN_LENGTH = 40
_RUN = re.compile(rf"[A-Za-z0-9+/_=%-]{{{_RUN_LENGTH},}}")
_UNBROKEN = re.compile(r"[A-Za-z0-9]{40,}")
_DIGIT, _LOWER, _UPPER = re.compile("[0-9]"), re.compile("[a-z]"), re.compile("[A-Z]")


def protect(secret: str) -> None:
    """Never log this text (an account token, an API key): wherever it comes up, it is masked.

    To be called whenever one is seen; a known one costs a look-up. Texts under 6 characters are not masked.
    """
    _secrets.add(secret)


def mask(text: str) -> str:
    """Give a text without the secrets that are known by value."""
    return _secrets.mask(text)


def redact(text: str) -> str:
    """Give a text without what is or may be secret, and no longer than `TEXT_LIMIT`."""
    if len(text) < _RUN_LENGTH:
        # Most texts of a log line are a word or two, and nearly all of them have been there before.
        return _redact_short(text, _secrets.version)
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT].rpartition(' ')[0]} [cut]"
    return _without_looks(_secrets.mask(text))


@lru_cache(maxsize=1024)
def _redact_short(text: str, _version: int) -> str:
    text = _secrets.mask(text)
    plain = "eyJ" not in text and _JOINT.search(text) is None
    return text if plain else _without_looks(text)


def _without_looks(text: str) -> str:
    """Mask what looks like a secret."""
    if "eyJ" in text:
        text = _JWT.sub(MASK, text)
    if "://" in text:
        text = _URL.sub(_short_url, text)
    if "?" in text:
        text = _QUERY.sub("?...", text)
    if " " in text or "\t" in text:
        text = _BEARER.sub(rf"\1 {MASK}", text)
    if "=" in text or ":" in text or "," in text:
        text = _NAMED.sub(rf"\1\3\4{MASK}\4\3", text)
    return _RUN.sub(_mask_random, text)


def _short_url(match: re.Match[str]) -> str:
    user, place, query = match.groups()
    return f"://{MASK + '@' if user else ''}{place}{query[0] + '...' if query else ''}"


def _mask_random(match: re.Match[str]) -> str:
    """Mask base64 and hex; leave paths, identifiers and `chatcmpl-<32 hex digits>`."""
    run = match[0]
    mixed = _DIGIT.search(run) and _LOWER.search(run) and _UPPER.search(run)
    return MASK if mixed or _UNBROKEN.search(run) else run


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Tell whether what has this name, a field or a header, is a secret."""
    return _SECRET_NAME.search(name) is not None
