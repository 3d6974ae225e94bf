"""What a file is and what it is called: from its bytes, from what was said of it, from its name. Pure."""

import codecs
import mimetypes
import re
import unicodedata
from contextlib import suppress
from urllib.parse import unquote

import filetype  # type: ignore[import-untyped]

from shared.uuids import Uuids

_HEAD = 8192
"""Bytes that decide; `filetype` looks at no more."""
MAX_NAME = 200
"""Bytes of UTF-8 in a name: file systems take 255, and sites put something of their own before it."""

_TYPE_OF = {
    **{f".{kind.extension}": kind.mime for kind in filetype.types},
    **mimetypes.MimeTypes().types_map[False],
    **mimetypes.MimeTypes().types_map[True],
    ".csv": "text/csv",
    ".gz": "application/gzip",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".rar": "application/vnd.rar",
    ".rtf": "application/rtf",
    ".ts": "text/x-typescript",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
"""Types by extension: only tables that come with the libraries, none of the machine."""

_EXTENSION_OF = {type_: extension for extension, type_ in reversed(_TYPE_OF.items())} | {
    "application/octet-stream": "",
    "application/postscript": ".ps",
    "application/xml": ".xml",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "text/html": ".html",
    "text/javascript": ".js",
    "text/plain": ".txt",
    "video/mp4": ".mp4",
    "video/mpeg": ".mpg",
    "video/quicktime": ".mov",
}

_USUAL = {
    "application/javascript": "text/javascript",
    "application/x-pdf": "application/pdf",
    "application/x-rar-compressed": "application/vnd.rar",
    "application/x-zip-compressed": "application/zip",
    "audio/mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/x-wav": "audio/wav",
    "image/apng": "image/png",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/x-png": "image/png",
}
"""Other spellings, and the one most readers know. An animated PNG is a PNG to those that cannot animate it."""

_SAYS_NOTHING = frozenset(
    {
        "application/binary",
        "application/download",
        "application/force-download",
        "application/octet-stream",
        "application/x-download",
        "application/x-msdownload",
        "binary/octet-stream",
        "text/plain",
    }
)
"""What servers send when they do not know."""

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_TEXT_TYPE = re.compile(
    r"text/.*|.*\+(json|xml|yaml)"
    r"|application/(x-)?(ecmascript|httpd-php|javascript|json|ndjson|jsonlines|perl|python|ruby|sh|sql|tex|toml"
    r"|typescript|xml|yaml)"
)
_ZIP_TYPE = re.compile(r"application/(vnd\.|java-archive|x-).*|.*\+zip")
_uuids = Uuids()
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that no text has, in UTF-8 or in any older encoding of the East or the West."""

_TEXT_SIGNATURES = (
    (re.compile(rb"%PDF-"), "application/pdf"),
    (re.compile(rb"\{\\rtf"), "application/rtf"),
    (re.compile(rb"%!PS"), "application/postscript"),
    (re.compile(rb"<!doctype html|<html[\s>]", re.IGNORECASE), "text/html"),
    (re.compile(rb"<svg[\s>]|<!doctype svg", re.IGNORECASE), "image/svg+xml"),
    (re.compile(rb"<\?xml[^<]*(<[!?][^<]*)*<svg[\s>]"), "image/svg+xml"),
)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)


def type_of(data: bytes, header: str, name: str) -> str:
    """Tell a file's media type: by its bytes, then by the Content-Type, then by the name's extension.

    What is said is believed only where the bytes do not speak against it.
    """
    text = is_text(data)
    found = _text_signature(data) if text else _signature(data)
    if found and found != "application/zip":
        return found
    believable = _TEXT_TYPE if text else _ZIP_TYPE if found else None
    for said in (media_type(header), type_by_name(name)):
        fits = believable.fullmatch(said) if believable else said and not _TEXT_TYPE.fullmatch(said)
        if fits and said not in _SAYS_NOTHING:
            return said
    return found or ("text/plain" if text else "application/octet-stream")


def is_text(data: bytes) -> bool:
    """Tell whether a file reads as text, by its first bytes: UTF-8, UTF-16 with a mark, an older encoding."""
    head = data[:_HEAD]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            head = codecs.getincrementaldecoder("utf-16")().decode(head).encode()
        except UnicodeDecodeError:
            return False
    return _CONTROL.search(head) is None


def media_type(header: str) -> str:
    """Read a Content-Type without its parameters, in its usual spelling; empty when it is none."""
    found = header.partition(";")[0].strip().lower()
    return _USUAL.get(found, found) if _MEDIA_TYPE.fullmatch(found) else ""


def type_by_name(name: str) -> str:
    """Give the type that a name's extension stands for; empty when it is not known."""
    found = _TYPE_OF.get(_extension(name).lower(), "")
    return _USUAL.get(found, found)


def disposition_name(header: str) -> str:
    """Read the file name of a Content-Disposition: `filename*` (RFC 6266), else `filename`; empty without."""
    if found := re.search(r"filename\*\s*=\s*\"?([\w.:+-]*)'[^']*'([^;\"\s]+)", header, re.IGNORECASE):
        # A character set that is none, or that cannot replace what it does not know.
        with suppress(LookupError, UnicodeError):
            return unquote(found[2], found[1] or "utf-8", "replace")
        return unquote(found[2])
    if found := re.search(r'filename\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;\s]+))', header, re.IGNORECASE):
        return unquote(re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2])
    return ""


def safe_name(name: str, type_: str) -> str:
    """Make a file name of what a client or a server says: no path, nothing that ends a header, not too long.

    The type's extension is added where there is none; an empty name becomes `<uuid>.<extension>`.
    """
    name = re.split(r"[\\/]", name[-4 * MAX_NAME :])[-1]
    name = "".join(letter for letter in name if unicodedata.category(letter) not in _INVISIBLE)
    name = " ".join(re.sub(r'[<>:"|?*;]', "_", name).split()).strip(". ")
    extension = _extension(name)
    stem = name.removesuffix(extension)
    if _lacks_extension(extension, type_):
        stem, extension = name, _EXTENSION_OF.get(type_, "")
    room = MAX_NAME - len(extension.encode())
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(". ")
    return f"{stem or _uuids.dashed()}{extension}"


def _lacks_extension(extension: str, type_: str) -> bool:
    # The end of "report.v2" or "picture.php" would make a site refuse the file; a text may end as it likes.
    return not extension or (extension.lower() not in _TYPE_OF and not _TEXT_TYPE.fullmatch(type_))


def _extension(name: str) -> str:
    found = re.search(r"\.[A-Za-z0-9]{1,10}\Z", name)
    return found[0] if found else ""


def _signature(data: bytes) -> str:
    found: str = filetype.guess_mime(data[:_HEAD]) or ""
    if not found and b"%PDF-" in data[:1024]:
        return "application/pdf"
    return "" if found == "application/octet-stream" else _USUAL.get(found, found)


def _text_signature(data: bytes) -> str:
    head = _COMMENT.sub(b"", data[:_HEAD].removeprefix(codecs.BOM_UTF8)).lstrip()
    return next((type_ for pattern, type_ in _TEXT_SIGNATURES if pattern.match(head)), "")
