"""Multipart forms taken apart strictly: exactly one field, exactly the two headers a browser writes."""

import re
from dataclasses import dataclass

from multidict import CIMultiDict

_BOUNDARY = re.compile(r'multipart/form-data; boundary="?([^";\s]{1,70})"?')
_DISPOSITION = re.compile(r'form-data; name="file"; filename="([^"\r\n]+)"')

_FIELD = re.compile(r'form-data; name="([^"\r\n]+)"(?:; filename="([^"\r\n]+)")?')


class FormError(ValueError):
    """The body is not the form it should be; the text says why."""


@dataclass(frozen=True)
class FormFile:
    """The file of an upload."""

    name: str
    content_type: str
    data: bytes


def only_file(content_type: str, body: bytes) -> FormFile:
    """Give the file of a form whose only field is `file`; raise `FormError` for any other body."""
    boundary = _BOUNDARY.fullmatch(content_type)
    if boundary is None:
        raise FormError(f"Content-Type is {content_type!r}")
    line = b"--" + boundary[1].encode()
    if not body.startswith(line + b"\r\n") or not body.rstrip(b"\r\n").endswith(b"\r\n" + line + b"--"):
        raise FormError("the form does not begin and end with its boundary")
    inner = body[len(line) + 2 : body.rindex(b"\r\n" + line + b"--")]
    if b"\r\n" + line in inner:
        raise FormError("the form has more than one field")
    head, separator, data = inner.partition(b"\r\n\r\n")
    if not separator:
        raise FormError("the field has no body")
    headers = _part_headers(head.decode())
    disposition = _DISPOSITION.fullmatch(headers.get("Content-Disposition", ""))
    if disposition is None or {name.lower() for name in headers} != {"content-disposition", "content-type"}:
        raise FormError(f"the field's headers are {list(headers.items())}")
    return FormFile(disposition[1], headers["Content-Type"], data)


def fields_of(content_type: str, body: bytes) -> dict[str, FormFile]:
    """Give every field of a form, in order; one that is text has neither a file name nor a content type."""
    boundary = _BOUNDARY.fullmatch(content_type)
    if boundary is None:
        raise FormError(f"Content-Type is {content_type!r}")
    line = b"\r\n--" + boundary[1].encode()
    before, *parts, after = (b"\r\n" + body).split(line)
    if before or after not in (b"--", b"--\r\n"):
        raise FormError("the form does not begin and end with its boundary")
    fields: dict[str, FormFile] = {}
    for part in parts:
        head, _, data = part.partition(b"\r\n\r\n")
        headers = _part_headers(head.decode().removeprefix("\r\n"))
        disposition = _FIELD.fullmatch(headers.get("Content-Disposition", ""))
        if disposition is None:
            raise FormError(f"the field's headers are {list(headers.items())}")
        fields[disposition[1]] = FormFile(disposition[2] or "", headers.get("Content-Type", ""), data)
    return fields


def _part_headers(head: str) -> CIMultiDict[str]:
    pairs = (line.partition(":") for line in head.split("\r\n"))
    return CIMultiDict((name, value.strip()) for name, _, value in pairs)
