"""What is kept for an account: its exchanged session, and the newest form of its credential."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from math import inf
from typing import Any

import attrs
import orjson

from shared.common.contract import Alone, Common
from shared.errors import AccountExpired, SessionRefused
from shared.redaction import protect
from shared.state import CredentialFile
from shared.terms import Credential, Session

SESSIONS_MOST = 10_000
"""Sessions kept at once; the ones that expire first go first."""


Exchange = Callable[[Any], Awaitable[tuple[Any, Any]]]
"""A credential to its session, and to the newest credential."""


class Sessions:
    """Sessions by account digest, exchanged one flight at a time.

    `exchange` and `read` are the provider's own: a credential to its session, a token to its credential. With other
    replicas, what one of them was given all use: `session_type` is made of what is kept in `common`, and
    `_common_tokens` are the newest tokens that this replica knows to have been there.
    """

    def __init__(
        self,
        exchange: Exchange,
        read: Callable[[str], Credential],
        newest: CredentialFile,
        common: Common | None = None,
        session_type: type[Session] = Session,
    ) -> None:
        self._exchange = exchange
        self._read = read
        self._newest = newest
        self._common = common or Alone()
        self._session_type = session_type
        self._common_tokens: dict[str, str] = {}
        self._sessions: dict[str, Session] = {}
        self._flights: dict[str, asyncio.Task[Session]] = {}

    def credential(self, digest: str, own: Credential) -> Credential:
        """Give the newest credential of an account; `own` is the one the client sent."""
        token = self._newest.get(digest)
        try:
            return own if token is None else self._read(token)
        except AccountExpired:
            # What the file holds is none of this version's tokens.
            return own

    async def get(self, digest: str, own: Credential) -> Session:
        """Give the account's session, exchanging it if there is none or it has expired.

        The exchange is a task of its own: all who wait share its outcome, and one who leaves cancels nothing.
        Raise what the exchange raises; a failure is never kept.
        """
        session = self._sessions.get(digest)
        if session is not None and session.expires_at > time.time():
            return session
        return await self._fly(digest, self._exchanged(digest, own, self._exchange, anew=False))

    async def renew(self, digest: str, own: Credential, exchange: Exchange) -> Session:
        """Exchange anew by `exchange`, whatever session there is; keep what it gives, raise what it raises."""
        return await self._fly(digest, self._exchanged(digest, own, exchange, anew=True))

    def drop(self, digest: str, session: Session | None) -> None:
        """Forget a session the site refused, unless a newer one has taken its place."""
        refused = session or self._sessions.get(digest)
        if self._sessions.get(digest) is refused:
            self._sessions.pop(digest, None)
        if refused is not None:
            self._common.discard("session", digest, _write(refused))

    async def close(self) -> None:
        """Wait for the exchanges under way: a rotated credential must not be lost."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def _fly(self, digest: str, exchanged: Coroutine[Any, Any, Session]) -> Session:
        flight = self._flights.get(digest)
        if flight is not None:
            exchanged.close()
        else:
            flight = asyncio.create_task(exchanged)
            self._flights[digest] = flight
            flight.add_done_callback(lambda task: self._landed(digest, task))
        await asyncio.wait((flight,))
        return flight.result()

    async def _exchanged(self, digest: str, own: Credential, exchange: Exchange, *, anew: bool) -> Session:
        """Take over the session another replica was given, unless it is to be had `anew`, or else exchange."""
        async with self._common.flight(digest):
            await self._newest.look(digest)
            told = await self._common.fetch("credential", digest)
            if told is not None:
                protect(told.decode())
            session = await self._common.fetch("session", digest)
            kept = None if anew else self._read_session(session)
            if kept is None:
                return await self._exchanged_here(digest, own, exchange, told)
            # What is known here alone may be newer than what Redis has, from a backup or before an outage.
            if told is not None and self._newest.get(digest) in (None, self._common_tokens.get(digest)):
                await self._newest.put(digest, told.decode())
                self._note_common(digest, told.decode())
            _protect(kept)
            self._keep(digest, kept)
            return kept

    async def _exchanged_here(self, digest: str, own: Credential, exchange: Exchange, told: bytes | None) -> Session:
        """Exchange what the others tell, what is known here, or what the client sent: the first the site takes."""
        session: Session
        refused: list[Credential] = []
        for credential in [*self._stored(digest, own, told), own]:
            try:
                session, newest = await exchange(credential)
                break
            except (AccountExpired, SessionRefused):
                if credential is own:
                    raise
                refused.append(credential)
        _protect(session, newest)
        # What was refused is forgotten only now: a site that takes none may be unwell, and take the newest again.
        if newest != own:
            await self._newest.put(digest, newest.token)
            await self._common.store("credential", digest, newest.token.encode(), None)
            self._note_common(digest, newest.token)
        else:
            for credential in refused:
                await self._newest.drop(digest, credential.token)
                self._common.discard("credential", digest, credential.token.encode())
        # One without an end is made without a call.
        if session.expires_at < inf:
            await self._common.store("session", digest, _write(session), session.expires_at - time.time())
        self._keep(digest, session)
        return session

    def _stored(self, digest: str, own: Credential, told: bytes | None) -> list[Credential]:
        """Read the tokens that are known beside the client's own; those of another version are none."""
        found: list[Credential] = []
        for token in (told and told.decode(), self._newest.get(digest)):
            with suppress(AccountExpired):
                if token and (credential := self._read(token)) not in (own, *found):
                    protect(token)
                    found.append(credential)
        return found

    def _note_common(self, digest: str, token: str) -> None:
        self._common_tokens[digest] = token
        if len(self._common_tokens) > SESSIONS_MOST:
            del self._common_tokens[next(iter(self._common_tokens))]

    def _keep(self, digest: str, session: Session) -> None:
        if len(self._sessions) >= SESSIONS_MOST:
            oldest = min(self._sessions, key=lambda key: self._sessions[key].expires_at)
            del self._sessions[oldest]
        self._sessions[digest] = session

    def _read_session(self, text: bytes | None) -> Session | None:
        """Read what `_write` wrote; None when it has expired, or is another version's."""
        if text is None:
            return None
        try:
            session = self._session_type(**orjson.loads(text))
            return session if session.expires_at > time.time() else None
        except (TypeError, ValueError):
            return None

    def _landed(self, digest: str, task: asyncio.Task[Session]) -> None:
        del self._flights[digest]
        # Everyone may have left: the outcome is looked at so that nobody is told of it later.
        if not task.cancelled():
            task.exception()


def _write(session: Session) -> bytes:
    return orjson.dumps(attrs.asdict(session))


def _protect(*secrets: Any) -> None:
    """Keep what an exchange gave out of the log: every field that does not show itself."""
    for value in secrets:
        for item in attrs.fields(type(value)):
            text = getattr(value, item.name)
            if not item.repr and isinstance(text, str):
                protect(text)
