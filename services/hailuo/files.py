"""Files and images in messages: put into the site's store, then made known to the site."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from services.hailuo import refusals, sign
from services.hailuo.calls import Calls
from services.hailuo.prompt import Upload
from services.hailuo.session import HailuoSession
from shared.attachments import Attachment
from shared.upstream.refusals import check_size
from shared.upstream.shapes import id_of, text_of

_UNTYPED = "application/octet-stream"


async def upload(calls: Calls, session: HailuoSession, file: Attachment) -> Upload:
    """Upload a file, under a name of its own; give it as it is named in a chat."""
    name = calls.fresh_uuid() + PurePosixPath(file.name).suffix
    type_ = None if file.type == _UNTYPED else file.type
    policy = await calls.get(session, calls.site.policy_path, kind="policy")
    directory, bucket = text_of(policy, "dir"), text_of(policy, "bucketName")
    endpoint = text_of(policy, "endpoint").partition("://")
    host = endpoint[2] or endpoint[0]
    path = f"{directory}/{name}"
    answer = await calls.upstream.fetch(
        f"https://{bucket}.{host}/{quote(path)}",
        kind="upload",
        method="PUT",
        headers={
            "User-Agent": calls.site.upload_user_agent,
            **_store_headers(policy, f"/{bucket}/{path}", type_, file.data),
        },
        body=file.data,
    )
    check_size(answer)
    if answer.status != HTTPStatus.OK:
        raise refusals.not_stored(answer)
    made = await calls.post(
        session,
        calls.site.callback_path,
        {
            "fileName": name,
            "originFileName": name,
            "dir": directory,
            "endpoint": policy["endpoint"],
            "bucketName": bucket,
            "size": str(len(file.data)),
            "mimeType": type_,
        },
        kind="callback",
    )
    return Upload(name, type_, id_of(made, "fileID"))


def _store_headers(policy: Mapping[str, Any], resource: str, type_: str | None, data: bytes) -> dict[str, str]:
    token, date, md5 = text_of(policy, "securityToken"), formatdate(usegmt=True), sign.content_md5(data)
    secret, key = text_of(policy, "accessKeySecret"), text_of(policy, "accessKeyId")
    signature = sign.store_signature(secret, md5=md5, type_=type_ or "", date=date, token=token, resource=resource)
    return {
        "x-oss-date": date,
        "x-oss-security-token": token,
        **({"Content-Type": type_} if type_ else {}),
        "Content-MD5": md5,
        "Authorization": f"OSS {key}:{signature}",
    }
