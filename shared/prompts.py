"""What several sites' prompts have in common. Pure."""

import re
from collections.abc import Sequence

from shared.openai.messages import Message, TextPart

# The sites' own clients cut with JavaScript's `.`, which stops at more line ends than Python's.
REST_OF_LINE = "[^\n\r\u2028\u2029]+"
"""A pattern: what stands on one line."""

ATTENTION = Message("system", (TextPart("关注用户最新发送文件和消息"),))
"""Put before a last message that carries files."""

_LINE = re.compile(REST_OF_LINE)


def with_attention(messages: Sequence[Message]) -> list[Message]:
    """Give a whole history, its last message called to attention if that carries files."""
    *earlier, last = messages
    return [*earlier, *([ATTENTION] if last.files else ()), last]


def without_pictures(text: str) -> str:
    """Delete each line's text from its first `![` to its last `)`, if `](` lies between.

    The same as deleting what matches `![`, some characters, `](`, some characters, `)`, but in linear time: the
    pattern takes cubic time on a hostile line.
    """
    return _LINE.sub(_cut_pictures, text) if "](" in text else text


def _cut_pictures(match: re.Match[str]) -> str:
    line = match[0]
    close = line.rfind(")")
    # One character at least stands inside each pair of brackets.
    middle = line.rfind("](", 0, max(close - 1, 0))
    start = line.find("![", 0, max(middle - 1, 0))
    return line if start < 0 else line[:start] + line[close + 1 :]
