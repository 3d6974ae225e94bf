"""What yuewen.cn and stepfun.com look at in a call, as pure functions: each gives what is wrong, in words."""

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from multidict import CIMultiDict

JSON = "application/json"
CONNECT = "application/connect+json"

CONSTANT_HEADERS = {
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "zh-CN,zh;q=0.9,en-US;q=0.8,en;q=0.7",
    "Origin": "{base}",
    "Connect-Protocol-Version": "1",
    "Oasis-Appid": "10200",
    "Oasis-Mode": "2",
    "Oasis-Platform": "web",
    "Sec-Ch-Ua": '"Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"',
    "Sec-Ch-Ua-Mobile": "?0",
    "Sec-Ch-Ua-Platform": '"Windows"',
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36",
    "X-Waf-Client-Type": "fetch_sdk",
}
TRANSPORT_HEADERS = {"host", "content-length", "connection", "transfer-encoding"}
SIZE = "undefined"
MODEL_IDS = (2, 4, 5, 6)


def lowered(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give headers with their names in small letters: a server does not get to see how they were written."""
    return [(name.lower(), value) for name, value in headers]


def header_problems(
    headers: CIMultiDict[str], base: str, own: Mapping[str, str], last: Mapping[str, str] | None = None
) -> list[str]:
    """Compare a call's headers, and their order, with its own ones and the constant ones; `last` come at the end."""
    constant = {name: value.format(base=base) for name, value in CONSTANT_HEADERS.items()}
    wanted = lowered({"Accept": "*/*", **own, **constant, **(last or {})}.items())
    given = [(name, value) for name, value in lowered(headers.items()) if name not in TRANSPORT_HEADERS]
    if given == wanted:
        return []
    wrong = [f"{name}: {value!r}" for name, value in given if (name, value) not in wanted]
    missing = [f"no {name}: {value!r}" for name, value in wanted if (name, value) not in given]
    return wrong + missing or [f"the headers are in the order {[name for name, _ in given]}"]


def fields_problems(what: str, value: object, *orders: Sequence[str]) -> list[str]:
    """Check that an object has exactly these fields, in one of these orders."""
    if isinstance(value, dict) and list(value) in [list(order) for order in orders]:
        return []
    return [f"{what} has the fields {list(value) if isinstance(value, dict) else value!r}"]


def only_frame(body: bytes) -> bytes | None:
    """Give the payload of a body that is exactly one frame without flags, else None."""
    if len(body) < 5:
        return None
    flags, length = struct.unpack_from(">BI", body)
    return body[5:] if flags == 0 and length == len(body) - 5 else None


def compact_problems(payload: bytes) -> list[str]:
    """Check that JSON is written as a page writes it: no spaces, nothing escaped that need not be."""
    value = orjson.loads(payload)
    return [] if orjson.dumps(value) == payload else ["the JSON is not compact"]


def message_problems(body: Mapping[str, Any]) -> list[str]:
    """Check the message of yuewen.cn, its attachments excepted."""
    old = ("chatId", "messageInfo")
    problems = fields_problems("body", body, old, (*old, "messageMode", "modelId"))
    if problems:
        return problems
    info, newer = body["messageInfo"], "modelId" in body
    names = ("text", "author") if newer else ("text",)
    return [
        *fields_problems("messageInfo", info, names, (*names, "attachments")),
        *([] if isinstance(info.get("text"), str) else ["messageInfo.text is no text"]),
        *([] if not newer or info.get("author") == {"role": "user"} else ["messageInfo.author is not the user"]),
        *([] if not newer or body["messageMode"] == "SEND_MESSAGE" else ["messageMode is another"]),
        *([] if not newer or body["modelId"] in MODEL_IDS else [f"modelId is {body['modelId']!r}"]),
        *([] if info.get("attachments") != [] else ["messageInfo.attachments is empty"]),
    ]


def stream_problems(body: Mapping[str, Any]) -> list[str]:
    """Check the message of stepfun.com, its attachments excepted."""
    problems = fields_problems("body", body, ("message", "config"))
    if problems:
        return problems
    message, config = body["message"], body["config"]
    names = ("model", "enableReasoning")
    problems = [
        *fields_problems("config", config, names, (*names, "enableSearch")),
        *fields_problems("message", message, ("chatSessionId", "content")),
    ]
    question = {} if problems else message["content"].get("userMessage", {}).get("qa")
    return [
        *problems,
        *fields_problems("qa", question, ("content",), ("content", "attachments")),
        *([] if config.get("model") in ("step-auto", "deepseek-r1") else [f"model is {config.get('model')!r}"]),
        *([] if config.get("enableReasoning") is True else ["enableReasoning is another"]),
    ]


def question_of(text: str) -> str:
    """Give what the user said last, of a folded prompt or a text that continues a chat."""
    said = re.split(r"system:以上为历史消息，关注以下用户(?:发送的文件和)?消息\n", text)[-1]
    if said != text:
        said = re.sub(r"^[a-z]+:", "", said.removesuffix("assistant:"), flags=re.MULTILINE)
    return said.strip()
