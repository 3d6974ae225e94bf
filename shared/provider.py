"""The contract between `shared` and a service: what a provider is, and what it is handed."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from attrs import field, frozen

from shared.deltas import Delta

if TYPE_CHECKING:
    from shared.accounts import Account, Lease
    from shared.openai.requests import (
        ChatRequest,
        ImageRequest,
        SpeechRequest,
        TranscriptionRequest,
        VideoRequest,
    )
    from shared.reply import Reply
    from shared.upstream.client import Upstream


@frozen
class Credential:
    """One account token taken apart. `token` reads back through `Provider.credential`."""

    token: str = field(repr=False)


@frozen
class Session:
    """What a credential is exchanged for. `expires_at` is in Unix seconds."""

    expires_at: float


@frozen
class Conversation:
    """A conversation at the site.

    `id` is stable, `tip` is where the next turn attaches (empty where the site needs none), `about` is what else
    continuing or deleting it needs.
    """

    id: str
    tip: str = ""
    about: Mapping[str, str] = field(factory=dict, hash=False)


@frozen
class Model:
    """A name for `GET /v1/models`."""

    id: str


@frozen
class Site:
    """What a site changes often. A provider's `site.py` extends it; every field can be set from the environment."""

    hosts: frozenset[str]


class Decoder(Protocol):
    """Frames of one reply to deltas: pure, no await, no clock, no I/O."""

    conversation: Conversation | None
    """The conversation, as soon as a frame has named it."""

    def feed(self, frame: Any) -> list[Delta]:
        """Take the next frame, give what it adds."""
        ...

    def end(self) -> list[Delta]:
        """The body is over: give what was held back."""
        ...


C = TypeVar("C", bound=Credential)
S = TypeVar("S", bound=Session)


class Provider(ABC, Generic[C, S]):
    """One site. Everything above this contract is the same for all of them."""

    name: ClassVar[str]
    """Path, image name, metric label."""
    models: ClassVar[tuple[Model, ...]]
    default_model: ClassVar[str]
    """What `model` echoes when the request names none."""
    slots: ClassVar[int] = 1
    """Outputs at once per account, all kinds together."""
    attachments: ClassVar[bool] = True
    """Whether the site reads files and images in messages."""
    site_type: ClassVar[type[Site]]
    """The class of `site.py` that holds what the site changes often."""

    def __init__(self, site: Any, upstream: "Upstream") -> None:
        self.site = site
        self.upstream = upstream

    @abstractmethod
    def credential(self, token: str) -> C:
        """Take a token apart, without a call. Raise `AccountExpired` when it is malformed."""

    @abstractmethod
    async def exchange(self, credential: C) -> tuple[S, C]:
        """Exchange the credential for a session; the credential returned is the newest one."""

    @abstractmethod
    def read_id(self, text: str) -> Conversation | None:
        """Read a client's `conversation_id` (full match), None if it is none of this site's. Pure."""

    def write_id(self, conversation: Conversation) -> str:
        """Write what `read_id` reads. Pure."""
        return conversation.id

    def has_model(self, name: str) -> bool:
        """Tell whether `GET /v1/models/{name}` knows this name."""
        return any(model.id == name for model in self.models)

    def check_chat(self, request: "ChatRequest") -> None:
        """Refuse, before an account is leased, what this site cannot do: raise `RequestRefused`."""

    @abstractmethod
    def chat(self, request: "ChatRequest", lease: "Lease[C, S]") -> AbstractAsyncContextManager["Reply"]:
        """Ask, in the calls of this site; entering ends when the site has accepted."""

    async def forget(self, conversation: Conversation, account: "Account[C, S]") -> None:
        """Stop and delete a conversation."""
        raise NotImplementedError

    @abstractmethod
    async def check(self, account: "Account[C, S]") -> bool:
        """Tell whether the account's token works; raise when that could not be found out."""


@frozen
class Picture:
    """A drawn picture, by its address."""

    url: str


@frozen
class Film:
    """A finished video: its addresses, and what the site says of it (duration, resolution, ...)."""

    url: str
    about: Mapping[str, str] = field(factory=dict)


@runtime_checkable
class Draws(Protocol):
    """A provider with `POST /v1/images/generations`."""

    async def draw(self, request: "ImageRequest", lease: "Lease[Any, Any]") -> list[Picture]:
        """Draw; at least one picture, else `UpstreamUnavailable`."""
        ...

    async def picture(self, url: str) -> bytes:
        """Fetch a drawn picture's bytes, for `b64_json`."""
        ...


@runtime_checkable
class Films(Protocol):
    """A provider with `POST /v1/videos/generations`."""

    def check_film(self, request: "VideoRequest") -> None:
        """Refuse options this site does not have, before an account is leased."""
        ...

    async def film(self, request: "VideoRequest", lease: "Lease[Any, Any]") -> Film:
        """Make a video."""
        ...


@runtime_checkable
class Speaks(Protocol):
    """A provider with `POST /v1/audio/speech`."""

    def check_speech(self, request: "SpeechRequest") -> None:
        """Refuse a voice or text this site does not read, before an account is leased."""
        ...

    def speak(
        self, request: "SpeechRequest", lease: "Lease[Any, Any]"
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Speak; gives mp3 files in order, each as soon as it is there."""
        ...


@runtime_checkable
class Transcribes(Protocol):
    """A provider with `POST /v1/audio/transcriptions`."""

    async def transcribe(self, request: "TranscriptionRequest", lease: "Lease[Any, Any]") -> str:
        """Give the words heard, empty when there were none. The sound is mp3, unless nothing could convert it."""
        ...
