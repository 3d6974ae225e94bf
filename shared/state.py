"""The newest credentials, which must outlive a session: in memory, and in `STATE_FILE` when it is set."""

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Any

import orjson

from shared.logs import get_logger
from shared.settings import SettingsError

log = get_logger(__name__)


class CredentialFile:
    """Newest tokens by account digest, of one service. Several services may share the file."""

    def __init__(self, path: str | None, service: str) -> None:
        self._path = None if path is None else Path(path)
        self._service = service
        self._tokens: dict[str, str] = {}
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
            self._tokens[digest] = token
            await self._save()

    async def drop(self, digest: str) -> None:
        """Forget the newest token of an account: the site refused it."""
        if self._tokens.pop(digest, None) is not None:
            await self._save()

    async def _save(self) -> None:
        if self._path is None:
            return
        async with self._writing:
            try:
                await asyncio.to_thread(_write, self._path, self._service, dict(self._tokens))
            except OSError as error:
                log.warning("state_file_not_written", reason=error.strerror)


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


def _write(path: Path, service: str, tokens: dict[str, str]) -> None:
    """Replace the file in one step, readable by its owner alone, other services' part untouched."""
    lock = _locked(path)
    try:
        state = _read(path) | {service: tokens}
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(state))
        draft.replace(path)
    finally:
        os.close(lock)
