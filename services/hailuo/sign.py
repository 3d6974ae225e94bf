"""The site's request signature, and that of the store its files go to. Pure: the clock comes from the caller."""

import base64
import hashlib
import hmac
from urllib.parse import quote

_VOICE_HEAD = 1024
"""Bytes of a sound that its signature covers."""


def signature(target: str, content: str, unix: str, secret: str) -> str:
    """Give the header `Yy` of one call.

    `target` is its path and query, `content` what stands for its body: the JSON text (of GET and DELETE too), or what
    `chat_content` or `sound_content` give. `unix` is the time in its query, `secret` the site's constant.
    """
    # What JavaScript's encodeURIComponent leaves as it is.
    encoded = quote(target, safe="!*'()")
    return _md5(f"{encoded}_{content}{_md5(unix)}{secret}")


def chat_content(character: str, text: str, chat: str, form: str) -> str:
    """Give what stands for the body of a chat: nothing when its text is empty."""
    if not text:
        return ""
    line = text.replace("\r", "").replace("\n", "")
    return _md5(character) + _md5(line) + _md5(chat) + _md5(form)


def sound_content(character: str, chat: str, sound: bytes) -> str:
    """Give what stands for the body of a call that is spoken."""
    return _md5(character) + _md5(chat) + hashlib.md5(sound[:_VOICE_HEAD]).hexdigest()


def store_signature(secret: str, *, md5: str, type_: str, date: str, token: str, resource: str) -> str:
    """Give the signature of an upload (Aliyun OSS, header signature V1).

    `md5` and `type_` are the headers of that name (the type may be empty), `resource` is `/<bucket>/<object>`.
    """
    text = f"PUT\n{md5}\n{type_}\n{date}\nx-oss-date:{date}\nx-oss-security-token:{token}\n{resource}"
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode("ascii")


def content_md5(data: bytes) -> str:
    """Give the header `Content-MD5` of an upload."""
    return base64.b64encode(hashlib.md5(data).digest()).decode("ascii")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
