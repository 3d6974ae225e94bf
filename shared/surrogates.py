"""Lone surrogates: half characters that JSON escapes can smuggle into a text. None may leave a decoder. Pure."""


def without_open_half(text: str) -> str:
    """Leave out a high surrogate at the end: its other half comes with the next piece."""
    return text[:-1] if text and "\ud800" <= text[-1] <= "\udbff" else text


def whole(text: str) -> str:
    """Join surrogate pairs to characters, and put U+FFFD for every half that is alone."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
