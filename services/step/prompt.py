"""The one text the site is sent: all of a conversation, a line for each part. Pure."""

from collections.abc import Sequence

from shared.openai.messages import Message, TextPart

HINT = Message("system", (TextPart("以上为历史消息，关注以下用户消息"),))
FILES_HINT = Message("system", (TextPart("以上为历史消息，关注以下用户发送的文件和消息"),))
"""Put before the last message, which may carry files."""

ANSWER = "assistant:"
"""After the last message."""


def prompt(messages: Sequence[Message], *, continued: bool) -> str:
    """Fold the messages into one text, each line with its role; of a continued conversation the last alone, without."""
    *earlier, last = messages
    if continued:
        return "\n".join(last.texts)
    hint = FILES_HINT if last.files else HINT
    return "".join(map(_lines, [*earlier, hint, last])) + ANSWER


def _lines(message: Message) -> str:
    # A content that is null is an empty one; a list without texts is nothing.
    texts = message.texts if message.parts or message.listed else ("",)
    return "".join(f"{message.role}:{text}\n" for text in texts)
