"""The site-free pieces of a reply: what every decoder gives and every face of the API renders."""

from typing import Literal

from attrs import define

from shared.errors import SiteError

FinishReason = Literal["stop", "length", "content_filter"]


@define
class Text:
    """Words of the answer, to be appended to what came before."""

    text: str


@define
class Thinking:
    """Words of the reasoning, to be appended to the reasoning that came before."""

    text: str


@define
class Reference:
    """A source the site names. `key` is what a `Cite` of the same reply calls it by."""

    key: str
    title: str
    url: str


@define
class Cite:
    """A citation mark, at this place of the text, of the `Reference` with that key (which may never come)."""

    key: str


@define
class Image:
    """A picture the site drew, by its address."""

    url: str


@define
class Unknown:
    """A frame or item this decoder does not know: skipped, and counted under `kind`."""

    kind: str


@define
class Failed:
    """The site refused or broke off inside the stream: the last delta of a reply."""

    error: SiteError


@define
class Finish:
    """The site said that the answer is whole: the last delta of a reply."""

    reason: FinishReason = "stop"


Delta = Text | Thinking | Reference | Cite | Image | Unknown | Failed | Finish
