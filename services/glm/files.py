"""Files and images in messages: uploaded, then named in the message by what the site said of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.glm.calls import Calls
from shared.attachments import Attachment
from shared.terms import TokenSession


async def upload(calls: Calls, session: TokenSession, file: Attachment) -> Mapping[str, Any]:
    """Upload a file; give what the site says of it."""
    return await calls.upload(session, file, path=calls.site.upload_path, referer="/")


def elements(uploads: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give the elements of a message for what was uploaded: the files, then the images, which are what has a size."""
    files: list[Mapping[str, Any]] = []
    images: list[Mapping[str, Any]] = []
    for uploaded in uploads:
        if uploaded.get("width") or uploaded.get("height"):
            images.append({**uploaded, "image_url": uploaded.get("file_url")})
        else:
            files.append(uploaded)
    named = (("file", files), ("image", images))
    return [{"type": kind, kind: of_kind} for kind, of_kind in named if of_kind]
