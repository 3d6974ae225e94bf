"""The newest credentials, which must outlive a session: in memory, and in `STATE_FILE` when it is set."""

import asyncio
import fcntl
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from shared.logs import get_logger
from shared.settings import SettingsError

log = get_logger(__name__)


TOKENS_MOST = 10_000
"""Accounts of a service whose newest token is remembered; beyond, those that changed longest ago are forgotten."""


class CredentialFile:
    """Newest tokens by account digest, of one service. Several services may share the file, and several of one.

    `_unwritten` are the changes that the file has not, None for a token that is to be forgotten.
    """

    def __init__(self, path: str | None, service: str) -> None:
        self._path = None if path is None else Path(path)
        self._service = service
        self._tokens: dict[str, str] = {}
        self._unwritten: dict[str, str | None] = {}
        self._writing = asyncio.Lock()

    def load(self) -> None:
        """Read the file; a missing one is empty, a broken one is said in the log and then replaced.

        Raise `SettingsError` where none could be written.
        """
        if self._path is None:
            return
        try:
            usable = self._path.name and not self._path.is_dir()
            if usable:
                os.close(_locked(self._path))
        except OSError:
            usable = False
        if not usable:
            raise SettingsError("STATE_FILE takes a file that can be written.")
        self._tokens = _read(self._path).get(self._service, {})

    def get(self, digest: str) -> str | None:
        """Give the newest token of an account, None if it never changed."""
        return self._tokens.get(digest)

    async def put(self, digest: str, token: str) -> None:
        """Keep the newest token of an account."""
        if self._tokens.get(digest) != token:
            await self._change(digest, token)

    async def drop(self, digest: str) -> None:
        """Forget the newest token of an account: the site refused it."""
        if digest in self._tokens:
            await self._change(digest, None)

    async def _change(self, digest: str, token: str | None) -> None:
        changes = {digest: token}
        _apply(changes, self._tokens)
        if self._path is None:
            return
        self._unwritten |= changes
        async with self._writing:
            changes = dict(self._unwritten)
            if not changes:
                return
            try:
                await asyncio.to_thread(_write, self._path, self._service, changes)
            except OSError as error:
                log.warning("state_file_not_written", reason=error.strerror)
                return
            for digest, token in changes.items():
                if self._unwritten[digest] == token:
                    del self._unwritten[digest]


def _apply(changes: Mapping[str, str | None], tokens: dict[str, str]) -> None:
    """Change tokens by digest, the newest last, and forget the oldest of too many."""
    for digest, token in changes.items():
        tokens.pop(digest, None)
        if token is not None:
            tokens[digest] = token
    for digest in list(islice(tokens, max(0, len(tokens) - TOKENS_MOST))):
        del tokens[digest]


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        state = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        log.warning("state_file_not_read", reason=type(error).__name__)
        return {}
    if not isinstance(state, dict) or not all(map(_is_tokens, state.values())):
        log.warning("state_file_not_read", reason="shape")
        return {}
    return state


def _is_tokens(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(token, str) for token in value.values())


def _locked(path: Path) -> int:
    """Give the lock of the file: until it is closed, nobody else has it."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _write(path: Path, service: str, changes: Mapping[str, str | None]) -> None:
    """Replace the file in one step, readable by its owner alone, with these changes and no others."""
    lock = _locked(path)
    try:
        state = _read(path)
        _apply(changes, state.setdefault(service, {}))
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(state))
        draft.replace(path)
    finally:
        os.close(lock)
