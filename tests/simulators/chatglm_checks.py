"""What chatglm.cn looks at in a call, as pure functions: each gives the list of what is wrong, in words."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDict

SECRET = "8a1317a7468aa3ad86e997d08f3f31cb"
MAIN_ASSISTANT = "65940acff94777010aa6b796"
DRAWING_ASSISTANT = "65a232c082ff90a2ad2f15e2"
MAIN_PAGE = "https://chatglm.cn/main/alltoolsdetail"
AGENT_PAGE = "https://chatglm.cn/main/gdetail/"
VIDEO_PAGE = "https://chatglm.cn/video"
CLOCK_TOLERANCE = 300.0
"""Seconds that a caller's clock may differ from the site's."""

CONSTANT_HEADERS = {
    "Accept": "application/json, text/plain, */*",
    "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
    "Cache-Control": "no-cache",
    "App-Name": "chatglm",
    "Origin": "https://chatglm.cn",
    "Pragma": "no-cache",
    "sec-ch-ua": '"Chromium";v="134", "Not:A-Brand";v="24", "Google Chrome";v="134"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"macOS"',
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/134.0.0.0 Safari/537.36",
    "X-App-Platform": "pc",
    "X-App-Version": "0.0.1",
    "X-Device-Brand": "",
    "X-Device-Model": "",
    "X-Exp-Groups": "na_android_config:exp:NA,na_4o_config:exp:4o_A,na_glm4plus_config:exp:open,"
    "mainchat_server_app:exp:A,mobile_history_daycheck:exp:a,desktop_toolbar:exp:A,"
    "chat_drawing_server:exp:A,drawing_server_cogview:exp:cogview4,app_welcome_v2:exp:B,"
    "chat_drawing_streamv2:exp:A,mainchat_rm_fc:exp:add,mainchat_dr:exp:open,chat_auto_entrance:exp:A",
    "X-Lang": "zh",
}
CODINGS = {"gzip", "deflate", "br", "zstd"}
DEVICE_HEADERS = ("X-Device-Id", "X-Request-Id")
SIGN_HEADERS = ("X-Sign", "X-Timestamp", "X-Nonce")
TRANSPORT_HEADERS = {"host", "content-length", "connection", "transfer-encoding"}
PRIVATE_HEADERS = ("Authorization", "Cookie", *DEVICE_HEADERS, *SIGN_HEADERS)

META_DATA = {
    "channel": "",
    "draft_id": "",
    "if_plus_model": True,
    "input_question_type": "xxxx",
    "is_test": False,
    "platform": "pc",
    "quote_log_id": "",
}
CHAT_MODES = ("zero", "deep_research")
VIDEO_OPTIONS = {
    "emotional_atmosphere": ("", "温馨和谐", "生动活泼", "紧张刺激", "凄凉寂寞"),
    "mirror_mode": ("", "水平", "垂直", "推近", "拉远"),
    "video_style": ("", "卡通3D", "黑白老照片", "油画", "电影感"),
}


@dataclass(frozen=True)
class HeaderRule:
    """Which computed headers a kind of call carries; `referer` is exact, None where it depends on the body."""

    referer: str | None
    content_type: str | None = "application/json"
    device: bool = True
    signed: bool = True


HEADER_RULES = {
    "refresh": HeaderRule(""),
    "refresh check": HeaderRule(MAIN_PAGE, "application/x-www-form-urlencoded"),
    "stream": HeaderRule(None),
    "delete": HeaderRule(MAIN_PAGE),
    "upload": HeaderRule("https://chatglm.cn/", "multipart/form-data", device=False, signed=False),
    "video_upload": HeaderRule(VIDEO_PAGE, "multipart/form-data", device=False, signed=False),
    "video_chat": HeaderRule(VIDEO_PAGE),
    "video_status": HeaderRule(VIDEO_PAGE, None),
    "video_compose": HeaderRule(VIDEO_PAGE),
    "video_delete": HeaderRule(VIDEO_PAGE, None, signed=False),
}


def page_of(assistant_id: object) -> str:
    """Give the page a stream of this assistant is asked from, as its Referer."""
    return MAIN_PAGE if assistant_id == MAIN_ASSISTANT else f"{AGENT_PAGE}{assistant_id}"


def header_problems(headers: CIMultiDict[str], rule: HeaderRule, referer: str) -> list[str]:
    """Compare a call's headers with the constant set and the computed ones of its kind; `""` for no Referer."""
    exact = CONSTANT_HEADERS | ({"Referer": referer} if referer else {})
    computed = (*DEVICE_HEADERS * rule.device, *SIGN_HEADERS * rule.signed)
    present = {"Accept-Encoding", "Authorization", *computed} | ({"Content-Type"} if rule.content_type else set())
    known = {name.lower() for name in (*exact, *present)} | TRANSPORT_HEADERS
    codings = set(headers.get("Accept-Encoding", "").replace(" ", "").split(","))
    content_type = headers.get("Content-Type", "")
    return [
        *(f"{name} is {headers.get(name)!r}" for name, value in exact.items() if headers.get(name) != value),
        *(f"{name} is missing" for name in present if name not in headers),
        *(f"{name} does not belong here" for name in headers if name.lower() not in known),
        *(f"{name} is there twice" for name in set(headers) if len(headers.getall(name)) > 1),
        *([] if codings <= CODINGS else [f"Accept-Encoding is {codings}"]),
        *([] if _type_fits(content_type, rule.content_type) else [f"Content-Type is {content_type!r}"]),
        *(f"{name} is not 32 hex digits" for name in computed if not _hex_fits(name, headers.get(name, ""))),
    ]


def sign_problems(headers: CIMultiDict[str], now: float) -> list[str]:
    """Check the signature, the check digit of the time stamp, and that the time is about `now` (Unix seconds)."""
    stamp, nonce = headers.get("X-Timestamp", ""), headers.get("X-Nonce", "")
    if not re.fullmatch(r"[0-9]{13}", stamp):
        return [f"X-Timestamp is {stamp!r}"]
    others = sum(map(int, stamp)) - int(stamp[-2])
    signature = hashlib.md5(f"{stamp}-{nonce}-{SECRET}".encode()).hexdigest()
    return [
        *([] if others % 10 == int(stamp[-2]) else [f"X-Timestamp {stamp} has a wrong check digit"]),
        *([] if headers.get("X-Sign") == signature else ["X-Sign is wrong"]),
        *([] if abs(int(stamp) / 1000 - now) < CLOCK_TOLERANCE else [f"X-Timestamp {stamp} is not now"]),
    ]


def foreign_headers(headers: CIMultiDict[str]) -> list[str]:
    """Name what must not leave for another host than the site's own."""
    return [f"{name} was sent to a file host" for name in PRIVATE_HEADERS if name in headers]


def field_problems(what: str, body: object, required: Iterable[str], optional: Iterable[str] = ()) -> list[str]:
    """Check that an object has exactly the fields it should have."""
    if not isinstance(body, dict):
        return [f"{what} is no object"]
    wanted = set(required)
    return [
        *(f"{what}.{name} is missing" for name in sorted(wanted - body.keys())),
        *(f"{what}.{name} is unknown" for name in sorted(body.keys() - wanted - set(optional))),
    ]


def stream_problems(body: Mapping[str, Any]) -> list[str]:
    """Check the body of a stream call, its references to files excepted."""
    problems = field_problems("body", body, ("assistant_id", "conversation_id", "messages", "meta_data"))
    if problems:
        return problems
    return [
        *([] if _is_id(body["assistant_id"]) else ["body.assistant_id is no id"]),
        *([] if isinstance(body["conversation_id"], str) else ["body.conversation_id is no text"]),
        *_meta_data_problems(body["meta_data"], body["assistant_id"]),
        *_message_problems(body["messages"]),
    ]


def video_problems(body: Mapping[str, Any]) -> list[str]:
    """Check the body that orders a video."""
    extra = body.get("advanced_parameter_extra")
    problems = [
        *field_problems("body", body, ("conversation_id", "prompt", "advanced_parameter_extra"), ("source_list",)),
        *field_problems("advanced_parameter_extra", extra, VIDEO_OPTIONS),
    ]
    if problems or not isinstance(extra, dict):
        return problems
    sources = body.get("source_list", [""])
    return [
        *(f"{name} is {extra[name]!r}" for name, values in VIDEO_OPTIONS.items() if extra[name] not in values),
        *([] if isinstance(body["prompt"], str) else ["body.prompt is no text"]),
        *([] if isinstance(sources, list) and len(sources) == 1 else ["body.source_list is not one source"]),
    ]


def _meta_data_problems(meta: object, assistant_id: str) -> list[str]:
    problems = field_problems("meta_data", meta, META_DATA, ("chat_mode", "is_networking"))
    if problems or not isinstance(meta, dict):
        return problems
    constants = {**META_DATA, "is_networking": True}
    # Only pictures are asked for without the network, and those never of the main assistant.
    offline = "is_networking" not in meta
    return [
        *(f"meta_data.{name} is {meta[name]!r}" for name in constants if not _same(meta, constants, name)),
        *([] if meta.get("chat_mode", "zero") in CHAT_MODES else [f"chat_mode is {meta['chat_mode']!r}"]),
        *(["is_networking is missing"] if offline and assistant_id == MAIN_ASSISTANT else []),
        *(["chat_mode without is_networking"] if offline and "chat_mode" in meta else []),
    ]


def _same(meta: Mapping[str, Any], constants: Mapping[str, Any], name: str) -> bool:
    value = meta.get(name, constants[name])
    # 1 == True in Python, but not on the wire.
    return value == constants[name] and type(value) is type(constants[name])


def _message_problems(messages: Any) -> list[str]:
    match messages:
        case [{"role": "user", "content": [{"type": "text", "text": str()}, *references]}]:
            message, text = messages[0], messages[0]["content"][0]
        case _:
            return ["messages is not one user message that begins with a text"]
    kinds = [item.get("type") if isinstance(item, dict) else None for item in references]
    if kinds not in ([], ["file"], ["image"], ["file", "image"]):
        return [f"the references are {kinds}"]
    return [
        *field_problems("message", message, ("role", "content")),
        *field_problems("text item", text, ("type", "text")),
        *(found for item in references for found in _reference_problems(item, item["type"])),
    ]


def _reference_problems(item: Mapping[str, Any], kind: str) -> list[str]:
    problems = field_problems(f"{kind} item", item, ("type", kind))
    held = item.get(kind)
    filled = isinstance(held, list) and held and all(isinstance(one, dict) for one in held)
    return problems or ([] if filled else [f"the {kind} item holds no references"])


def _type_fits(found: str, wanted: str | None) -> bool:
    if wanted == "multipart/form-data":
        return re.fullmatch(r"multipart/form-data; boundary=\S+", found) is not None
    return found == (wanted or "")


def _hex_fits(name: str, value: str) -> bool:
    return name == "X-Timestamp" or re.fullmatch(r"[0-9a-f]{32}", value) is not None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9]{24,}", value) is not None
