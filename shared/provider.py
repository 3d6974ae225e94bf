"""The contract between `shared` and a service: what a provider is, and what it is handed."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Generic, Protocol, get_args, get_origin, runtime_checkable

from shared.accounts import Account, Lease
from shared.openai.requests import ChatRequest, ImageRequest, SpeechRequest, TranscriptionRequest, VideoRequest
from shared.reply import Reply
from shared.terms import C, Conversation, Film, Picture, S, Session, Site
from shared.upstream.client import Upstream


class Provider(ABC, Generic[C, S]):
    """One site. Everything above this contract is the same for all of them."""

    name: ClassVar[str]
    """Path, image name, metric label."""
    models: ClassVar[tuple[str, ...]]
    """The names of `GET /v1/models`."""
    default_model: ClassVar[str]
    """What `model` echoes when the request names none."""
    slots: ClassVar[int] = 1
    """Outputs at once per account, all kinds together."""
    attachments: ClassVar[bool] = True
    """Whether the site reads files and images in messages."""
    deletes: ClassVar[bool] = True
    """Whether the site lets a conversation be deleted; where it does not, all stay there and `forget` is not called."""
    continues: ClassVar[bool] = True
    """Whether the site goes on with a conversation; where it does not, every request stands for itself."""
    site_type: ClassVar[type[Site]]
    """The class of `site.py` that holds what the site changes often."""

    def __init__(self, site: Any, upstream: Upstream) -> None:
        self.site = site
        self.upstream = upstream

    @abstractmethod
    def credential(self, token: str) -> C:
        """Take a token apart, without a call. Raise `AccountExpired` when it is malformed."""

    @abstractmethod
    async def exchange(self, credential: C) -> tuple[S, C]:
        """Exchange the credential for a session; the credential returned is the newest one."""

    def read_id(self, text: str) -> Conversation | None:
        """Read a client's `conversation_id` (full match), None if it is none of this site's. Pure."""
        raise NotImplementedError

    def write_id(self, conversation: Conversation) -> str:
        """Write what `read_id` reads. Pure."""
        return conversation.id

    def has_model(self, name: str) -> bool:
        """Tell whether `GET /v1/models/{name}` knows this name."""
        return name in self.models

    def check_chat(self, request: ChatRequest) -> None:
        """Refuse, before an account is leased, what this site cannot do: raise `RequestRefused`."""

    @abstractmethod
    def chat(self, request: ChatRequest, lease: Lease[C, S]) -> AbstractAsyncContextManager[Reply]:
        """Ask, in the calls of this site; entering ends when the site has accepted."""

    async def forget(self, conversation: Conversation, account: Account[C, S]) -> None:
        """Stop and delete a conversation."""
        raise NotImplementedError

    @abstractmethod
    async def check(self, account: Account[C, S]) -> bool:
        """Tell whether the account's token works; raise when that could not be found out."""


def session_type(provider_type: type[Provider[Any, Any]]) -> type[Session]:
    """Give the class of a provider's sessions: it is said where the provider is declared."""
    declared = [base for base in provider_type.__orig_bases__ if get_origin(base) is Provider]  # type: ignore[attr-defined]
    found: type[Session] = get_args(declared[0])[1]
    return found


@runtime_checkable
class Draws(Protocol):
    """A provider with `POST /v1/images/generations`."""

    async def draw(self, request: ImageRequest, lease: Lease[Any, Any]) -> list[Picture]:
        """Draw; at least one picture, else raise what happened."""
        ...

    async def picture(self, url: str) -> bytes:
        """Fetch a drawn picture's bytes, for `b64_json`."""
        ...


@runtime_checkable
class Films(Protocol):
    """A provider with `POST /v1/videos/generations`."""

    def check_film(self, request: VideoRequest) -> None:
        """Refuse options this site does not have, before an account is leased."""
        ...

    async def film(self, request: VideoRequest, lease: Lease[Any, Any]) -> Film:
        """Make a video; once it is ordered, `lease.commit`: it is not ordered again."""
        ...


@runtime_checkable
class Speaks(Protocol):
    """A provider with `POST /v1/audio/speech`."""

    def check_speech(self, request: SpeechRequest) -> None:
        """Refuse a voice or text this site does not read, before an account is leased."""
        ...

    def speak(
        self, request: SpeechRequest, lease: Lease[Any, Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Speak; gives mp3 files in order, each as soon as it is there."""
        ...


@runtime_checkable
class Transcribes(Protocol):
    """A provider with `POST /v1/audio/transcriptions`."""

    async def transcribe(self, request: TranscriptionRequest, lease: Lease[Any, Any]) -> str:
        """Give the words heard, empty when there were none. The sound is mp3, unless nothing could convert it."""
        ...
