"""All that one running service is made of, and its life from start to drained."""

import asyncio
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from aiohttp import web

from shared.accounts import Account, Accounts, Caller
from shared.attachments import Fetcher
from shared.audio import CONVERSIONS
from shared.cleanup import Cleanup
from shared.common.contract import Alone, Common
from shared.conversations import Owner, Owners
from shared.errors import ConversationUnknown
from shared.logs import get_logger
from shared.metrics import Metrics
from shared.openai.chunks import Style
from shared.openai.errors import Draining
from shared.provider import Provider, session_type
from shared.sessions import Sessions
from shared.settings import Settings
from shared.state import CredentialFile
from shared.terms import Conversation, Site
from shared.tries import Tries
from shared.upstream.client import Upstream

log = get_logger(__name__)

SERVICE: web.AppKey["Service"] = web.AppKey("service")

CLEANUP_TIMEOUT = 20.0
ERROR_FRAME_TIMEOUT = 5.0
"""Seconds at the end of a drain: for the clean-ups, and for the cut outputs to write their error frame."""

KEEP = frozenset({"new", "none"})
"""What a client sends as `conversation_id` to open a conversation that is kept."""

_ID = re.compile("[!-~]{1,256}")
"""What a `conversation_id` that a service handed out can look like."""


class Service:
    """One provider with everything around it."""

    def __init__(self, provider_type: type[Provider[Any, Any]], site: Site, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(provider_type.name)
        self.upstream = Upstream(site.hosts, settings, self.metrics)
        self.provider = provider_type(site, self.upstream)
        self.fetcher = Fetcher(settings)
        self.converting = asyncio.Semaphore(CONVERSIONS)
        self.style = Style(settings.thinking, settings.references)
        self.draining = False
        self._newest = CredentialFile(settings.state_file, provider_type.name)
        slots = settings.slots or provider_type.slots
        self.common = _common(settings, provider_type.name, slots, self.metrics)
        self._sessions = Sessions(
            self.provider.exchange, self.provider.credential, self._newest, self.common, session_type(provider_type)
        )
        self.accounts = Accounts(self.provider.credential, slots, settings, self.metrics, self._sessions, self.common)
        self._owners = Owners(self.common)
        self.cleanup = Cleanup(self.provider, self.metrics)
        self._serving = 0
        self._limits: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.metrics.watch_accounts(self.accounts.slots.states)

    async def start(self) -> None:
        """Open what needs the running loop; raise `SettingsError` for what a setting cannot be used for."""
        self._newest.load()
        self.accounts.check_own()
        await self.common.start(self.accounts.hear)
        await self.upstream.start()
        await self.fetcher.start()

    async def close(self) -> None:
        """Close what `start` opened, after the last exchange has come home."""
        await self._sessions.close()
        await self._newest.write()
        await self.common.close()
        await self.fetcher.close()
        await self.upstream.close()

    def log_text(self, texts: Iterable[str]) -> None:
        """Log what a request says, if `LOG_MESSAGES` asks for it: nothing else may."""
        if self.settings.log_messages:
            log.info("asked", text="\n".join(texts))

    def caller(self, request: web.Request) -> Caller:
        """Tell who a request speaks for; raise the 401 that says why not."""
        return self.accounts.caller(request.headers.get("Authorization"))

    async def continued(self, conversation_id: str, caller: Caller) -> tuple[Conversation | None, bool, Owner | None]:
        """Read a `conversation_id`: (the conversation to continue, whether it is kept, its owner where that is known).

        Raise `ConversationUnknown` when it belongs to another account or API key.
        """
        if not self.provider.continues:
            return None, False, None
        if conversation_id in KEEP:
            return None, True, None
        conversation = self.provider.read_id(conversation_id) if conversation_id else None
        # What was handed out here is known, whatever form the site gave it.
        owner = await self._owners.find(conversation_id) if _ID.fullmatch(conversation_id) else None
        if owner is None:
            return conversation, conversation is not None or self.settings.keep_conversations, None
        mine = any(account.digest == owner.account for account in caller.accounts)
        if owner.api_key != caller.api_key or not mine:
            raise ConversationUnknown
        return owner.conversation, True, owner

    def tries(self, caller: Caller, conversation: Conversation | None = None, owner: Owner | None = None) -> Tries:
        """Give the tries of one request; a continued conversation never leaves the account that owns it."""
        candidates = [a for a in caller.accounts if owner is None or a.digest == owner.account]
        return Tries(
            self.accounts,
            self.cleanup,
            self.settings,
            self.metrics,
            candidates,
            owner_known=owner is not None,
            keep=conversation is not None,
        )

    async def keep(self, caller: Caller, account: Account[Any, Any], conversation: Conversation) -> None:
        """Remember who owns a kept conversation, and its newest tip."""
        owner = Owner(account.digest, caller.api_key, conversation)
        await self._owners.put(self.provider.write_id(conversation), owner)

    def running(self) -> "Cuttable":
        """Do work on a request, which the end of a drain cuts; raise `Draining` when one has begun."""
        if self.draining:
            raise Draining
        return self.cuttable()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold from a request to the last byte of its answer: a drain waits for it."""
        self._serving += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._serving -= 1
            if not self._serving:
                self._idle.set()

    def cuttable(self) -> "Cuttable":
        """Do what the end of a drain cuts, with `Draining`."""
        return Cuttable(self._limits)

    async def drain(self) -> None:
        """Refuse new and queued work, let what runs go on to `DRAIN_TIMEOUT`, cut the rest, finish the clean-ups."""
        self.draining = True
        self.accounts.slots.close(Draining)
        log.info("draining", requests=self._serving)
        if not await self._until_idle(self.settings.drain_timeout):
            self.cut()
            await self._until_idle(ERROR_FRAME_TIMEOUT)
        await self.cleanup.drain(CLEANUP_TIMEOUT)

    def cut(self) -> None:
        """End every running output now, each with an error."""
        now = asyncio.get_running_loop().time()
        # Once each: what is being cut may still write its error.
        while self._limits:
            self._limits.pop().reschedule(now)

    async def _until_idle(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


class Cuttable:
    """What can be cut, while it is in this context."""

    def __init__(self, limits: set[asyncio.Timeout]) -> None:
        self._limits = limits
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        """Can be cut from here on."""
        await self._limit.__aenter__()
        self._limits.add(self._limit)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise `Draining` if it was cut."""
        self._limits.discard(self._limit)
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            raise Draining from None


def _common(settings: Settings, service: str, slots: int, metrics: Metrics) -> Common:
    """Give what this replica shares with others; the client for Redis is loaded only where there is a Redis."""
    if settings.redis_url is None:
        return Alone()
    from shared.common.replicas import Replicas

    return Replicas(settings.redis_url, service, slots, metrics.redis_up)
