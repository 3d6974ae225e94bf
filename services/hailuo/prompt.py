"""The one text the site is sent: all of a conversation folded into a prompt. Pure."""

from collections.abc import Iterable, Sequence

from attrs import frozen

from shared.openai.messages import Message
from shared.prompts import with_attention, without_pictures
from shared.surrogates import whole
from shared.upstream.json import dumps

NO_SEARCH = "nosearch"
"""In a model name: the site does not search."""

_REPEAT = (
    "user:完整复述以下内容，不要进行任何修改，也不需要进行任何解释。\n{text}\nassistant:好的，我将开始完整复述：\n\n"
)
_UNSPOKEN = str.maketrans({"\n": "。"} | dict.fromkeys("()（）【】[]{}「」『』〖〗《》<>〈〉#", " "))
"""What would make the site format or skip a text rather than read it out."""

_JS_BLANKS = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What the site's own client trims."""

_TEXT_FORM = 1
_IMAGE_FORM = 2
_FILE_FORM = 6
_IMAGE_TYPES = frozenset(
    {
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/ico",
        "image/jpeg",
        "image/jpg",
        "image/png",
        "image/svg+xml",
        "image/tiff",
        "image/vnd.microsoft.icon",
        "image/webp",
        "image/x-icon",
        "image/x-png",
    }
)
"""The types the site takes for images; all else is a document."""


@frozen
class Upload:
    """A file as it is named in a chat. `type` is its media type, None where it is not known; `id` is as received."""

    name: str
    type: str | None
    id: str | int


def prompt(messages: Sequence[Message], *, continued: bool) -> str:
    """Fold the messages into one text.

    A single message, or the new messages of a continued conversation, are given as they are; a whole history is
    written with its roles, without the pictures of earlier answers.
    """
    if continued or len(messages) < 2:
        return whole("".join(f"{text}\n" for message in messages for text in _texts(message)))
    lines = [f"{message.role}:{text}\n" for message in with_attention(messages) for text in _texts(message)]
    return whole(without_pictures(f"{''.join(lines)}assistant:\n".strip(_JS_BLANKS)))


def form(uploads: Iterable[Upload], text: str) -> str:
    """Give the field that names the files of a chat, the text after them; empty when there are none."""
    named = [
        {
            "name": "",
            "formType": _IMAGE_FORM if upload.type in _IMAGE_TYPES else _FILE_FORM,
            "content": upload.name,
            "fileID": upload.id,
        }
        for upload in uploads
    ]
    if not named:
        return ""
    return dumps([*named, {"name": "", "formType": _TEXT_FORM, "content": text}]).decode()


def search_mode(model: str) -> str:
    """Give the field that says whether the site may search: `0` when it may."""
    return "1" if NO_SEARCH in model else "0"


def spoken(text: str) -> str:
    """Give a text as it is to be read out."""
    return whole(text).translate(_UNSPOKEN)


def repeat_prompt(text: str) -> str:
    """Ask for a text (as `spoken` gives it) to be repeated: the site reads out its own words only."""
    return _REPEAT.format(text=text)


def _texts(message: Message) -> Sequence[str]:
    """Give each text part; what was no list of parts is one text, an empty one if it was null."""
    return message.texts if message.listed else ("".join(message.texts),)
