"""The newest credentials, which must outlive a session: in memory, and in `STATE_FILE` when it is set."""

import asyncio
import fcntl
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from attrs import frozen

from shared.logs import get_logger
from shared.settings import SettingsError

log = get_logger(__name__)


TOKENS_MOST = 10_000
"""Accounts of a service whose newest token is remembered; beyond, those that changed longest ago are forgotten."""


@frozen
class _Change:
    """A token to be kept, or, with None, one that was `refused` and is to be forgotten."""

    token: str | None
    refused: str = ""


class CredentialFile:
    """Newest tokens by account digest, of one service. Several services may share the file, and several of one.

    `_unwritten` are the changes that the file has not.
    """

    def __init__(self, path: str | None, service: str) -> None:
        self._path = None if path is None else Path(path)
        self._service = service
        self._tokens: dict[str, str] = {}
        self._unwritten: dict[str, _Change] = {}
        self._writing = asyncio.Lock()

    def load(self) -> None:
        """Read the file; a missing one is empty, a broken one is said in the log and then replaced.

        Raise `SettingsError` where none could be read and written.
        """
        if self._path is None:
            return
        try:
            usable = self._path.name and not self._path.is_dir()
            if usable:
                os.close(_locked(self._path))
                self._tokens = _read(self._path).get(self._service, {})
        except OSError:
            usable = False
        if not usable:
            raise SettingsError("STATE_FILE takes a file that can be written.")

    def get(self, digest: str) -> str | None:
        """Give the newest token of an account, None if it never changed."""
        return self._tokens.get(digest)

    async def look(self, digest: str) -> None:
        """See whether another instance has written a newer token of an account."""
        if self._path is None or digest in self._unwritten:
            return
        try:
            token = (await asyncio.to_thread(_read, self._path)).get(self._service, {}).get(digest)
        except OSError as error:
            log.warning("state_file_not_read", reason=type(error).__name__)
            return
        if token is not None and digest not in self._unwritten:
            _apply({digest: _Change(token)}, self._tokens)

    async def put(self, digest: str, token: str) -> None:
        """Keep the newest token of an account."""
        if self._tokens.get(digest) != token:
            await self._change(digest, _Change(token))

    async def drop(self, digest: str, refused: str) -> None:
        """Forget a token of an account that the site refused, unless there is a newer one."""
        if self._tokens.get(digest) == refused:
            await self._change(digest, _Change(None, refused))

    async def write(self) -> None:
        """Write what the file has not."""
        if self._path is None:
            return
        async with self._writing:
            changes = dict(self._unwritten)
            if not changes:
                return
            try:
                await asyncio.to_thread(_write, self._path, self._service, changes)
            except OSError as error:
                log.warning("state_file_not_written", reason=error.strerror)
                return
            for digest, change in changes.items():
                if self._unwritten[digest] is change:
                    del self._unwritten[digest]

    async def _change(self, digest: str, change: _Change) -> None:
        _apply({digest: change}, self._tokens)
        if self._path is not None:
            self._unwritten[digest] = change
            await self.write()


def _apply(changes: Mapping[str, _Change], tokens: dict[str, str]) -> None:
    """Change tokens by digest, the newest last, and forget the oldest of too many."""
    for digest, change in changes.items():
        if change.token is not None:
            tokens.pop(digest, None)
            tokens[digest] = change.token
        elif tokens.get(digest) == change.refused:
            del tokens[digest]
    for digest in list(islice(tokens, max(0, len(tokens) - TOKENS_MOST))):
        del tokens[digest]


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Read all of a file: tokens by digest by service. Raise `OSError` where it cannot be read now."""
    try:
        state = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except orjson.JSONDecodeError as error:
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


def _write(path: Path, service: str, changes: Mapping[str, _Change]) -> None:
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
