"""Files and images in messages: uploaded, then named in the message by what the site said of them."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from services.glm.calls import Calls
from services.glm.session import GlmSession
from shared.attachments import Attached, Attachment


async def upload_all(
    calls: Calls, session: GlmSession, account_key: str, attached: Attached
) -> list[Mapping[str, Any]]:
    """Upload a request's files, each once per account; give the site's results in the order of the request."""
    return await attached.uploaded(account_key, partial(upload, calls, session))


async def upload(calls: Calls, session: GlmSession, file: Attachment) -> Mapping[str, Any]:
    """Upload one file for a chat."""
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
