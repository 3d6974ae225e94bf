"""Lone surrogates: half characters that JSON escapes can smuggle into a text. None may leave a decoder. Pure."""


def without_open_half(text: str) -> str:
    """Leave out a high surrogate at the end: its other half comes with the next piece."""
    return text[:-1] if text and "\ud800" <= text[-1] <= "\udbff" else text


class Halves:
    """Joins a text that arrives in pieces, which may end inside a character."""

    def __init__(self) -> None:
        self._open = ""

    def feed(self, text: str) -> str:
        """Take the next piece; give the characters that are whole."""
        if self._open:
            text = self._open + text
            self._open = ""
        # Not by `without_open_half`: this is asked of every piece of an answer.
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._open = text[-1]
            text = text[:-1]
        return whole(text)

    def flush(self) -> str:
        """The text ends here: give what was held back."""
        held, self._open = self._open, ""
        return whole(held)


def whole(text: str) -> str:
    """Join surrogate pairs to characters, and put U+FFFD for every half that is alone."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
