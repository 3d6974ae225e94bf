"""What hailuoai.com looks at in a call, as pure functions: each gives the list of what is wrong, in words."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote

from multidict import CIMultiDict

SITE = "hailuoai.com"
CLOCK_TOLERANCE = 300.0
"""Seconds that a caller's clock may differ from the site's."""

CONSTANT_HEADERS = {
    "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
    "Cache-Control": "no-cache",
    "Origin": "https://hailuoai.com",
    "Pragma": "no-cache",
    "Priority": "u=1, i",
    "Sec-Ch-Ua": '"Not)A;Brand";v="99", "Google Chrome";v="127", "Chromium";v="127"',
    "Sec-Ch-Ua-Mobile": "?0",
    "Sec-Ch-Ua-Platform": '"Windows"',
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/127.0.0.0 Safari/537.36",
}
COMPUTED_HEADERS = ("Accept-Encoding", "Baggage", "Sentry-Trace", "Token", "Yy")
CODINGS = {"gzip", "deflate", "br", "zstd"}
TRANSPORT_HEADERS = {"host", "content-length", "connection", "transfer-encoding"}
PRIVATE_HEADERS = ("Token", "Yy", "Baggage", "Sentry-Trace", "Cookie")

BEFORE_UUID = "device_platform=web&app_id=3001&version_code=22200"
AFTER_DEVICE = (
    "os_name=Windows&browser_name=chrome&device_memory=8&cpu_core_num=12&browser_language=zh-CN"
    "&browser_platform=Win32&screen_width=1920&screen_height=1080"
)
CONSTANTS = f"{BEFORE_UUID}&{AFTER_DEVICE}"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_BAGGAGE = re.compile(
    "sentry-environment=production,sentry-release=CI7N-1MjJnx5pru-bzzhR,"
    "sentry-public_key=6cf106db5c7b7262eae7cc6b411c776a,sentry-trace_id=([0-9a-f]{32}),"
    "sentry-sample_rate=1,sentry-sampled=true"
)

VOICES = frozenset(
    {
        "male-botong", "Podcast_girl", "boyan_new_hailuo", "female-shaonv", "YaeMiko_hailuo", "xiaoyi_mix_hailuo",
        "xiaomo_sft", "cove_test2_hailuo", "scarlett_hailuo", "Leishen2_hailuo", "Zhongli_hailuo", "Paimeng_hailuo",
        "keli_hailuo", "Hutao_hailuo", "Xionger_hailuo", "Haimian_hailuo", "Robot_hunter_hailuo",
        "Linzhiling_hailuo", "huafei_hailuo", "lingfeng_hailuo", "male_dongbei_hailuo", "Beijing_hailuo",
        "JayChou_hailuo", "Daniel_hailuo", "Bingjiao_zongcai_hailuo", "female-yaoyao-hd", "murong_sft",
        "shangshen_sft", "kongchen_sft", "shenteng2_hailuo", "Guodegang_hailuo", "yueyue_hailuo",
    }
)  # fmt: skip
IMAGES = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/svg+xml"}


@dataclass(frozen=True)
class Part:
    """One field of a form."""

    name: str
    filename: str | None
    content_type: str | None
    data: bytes


def md5(data: str | bytes) -> str:
    return hashlib.md5(data.encode() if isinstance(data, str) else data).hexdigest()


def signature(target: str, content: str, unix: str) -> str:
    """Give the `Yy` a call must have."""
    escaped = "".join(c if c in "!*'()" else quote(c, safe="") for c in target)
    return md5(f"{escaped}_{content}{md5(unix)}ooui")


def chat_content(fields: Mapping[str, str]) -> str:
    """Give what the signature of a chat covers."""
    text = fields.get("msgContent", "")
    if not text:
        return ""
    line = re.sub(r"\r\n|\n|\r", "", text)
    return "".join(map(md5, (fields["characterID"], line, fields["chatID"], fields.get("form", ""))))


def header_problems(headers: CIMultiDict[str], *, accept: str, referer: str, multipart: bool) -> list[str]:
    """Compare a call's headers with the constant set and the computed ones."""
    exact = CONSTANT_HEADERS | {"Accept": accept, "Referer": referer}
    known = {name.lower() for name in (*exact, *COMPUTED_HEADERS, "Content-Type")} | TRANSPORT_HEADERS
    codings = set(headers.get("Accept-Encoding", "").replace(" ", "").split(","))
    wanted = r"multipart/form-data; boundary=-{26}[0-9a-f]{24}" if multipart else "application/json"
    return [
        *(f"{name} is {headers.get(name)!r}" for name, value in exact.items() if headers.get(name) != value),
        *(f"{name} is missing" for name in COMPUTED_HEADERS if name not in headers),
        *(f"{name} does not belong here" for name in headers if name.lower() not in known),
        *(f"{name} is there twice" for name in set(headers) if len(headers.getall(name)) > 1),
        *([] if codings <= CODINGS else [f"Accept-Encoding is {codings}"]),
        *([] if re.fullmatch(wanted, headers.get("Content-Type", "")) else ["Content-Type is another"]),
        *trace_problems(headers),
    ]


def trace_problems(headers: CIMultiDict[str]) -> list[str]:
    """Check that both sentry headers speak of one trace."""
    baggage = _BAGGAGE.fullmatch(headers.get("Baggage", ""))
    if baggage is None:
        return [f"Baggage is {headers.get('Baggage')!r}"]
    trace = baggage[1]
    wanted = f"{trace}-{trace[16:]}-1"
    return [] if headers.get("Sentry-Trace") == wanted else [f"Sentry-Trace is {headers.get('Sentry-Trace')!r}"]


def query_problems(query: str, device: tuple[str, str] | None, now: float, *, before: str = "") -> list[str]:
    """Check a query, item by item in its order; `device` is (uuid, device id), None while there is none."""
    if device is None:
        pattern = rf"{BEFORE_UUID}&uuid={UUID}&{AFTER_DEVICE}&unix=(\d+)&{CONSTANTS}"
    else:
        uuid, device_id = device
        pattern = rf"{before}{BEFORE_UUID}&uuid={uuid}&device_id={device_id}&{AFTER_DEVICE}&unix=(\d+)"
    found = re.fullmatch(pattern, query)
    if found is None:
        return [f"the query is {query}"]
    unix = int(found[1])
    fresh = unix % 1000 == 0 and abs(unix / 1000 - now) < CLOCK_TOLERANCE
    return [] if fresh else [f"unix is {unix}"]


def signed_target(path: str, query: str) -> tuple[str, str]:
    """Give what the signature covers of an address, and the time in it."""
    covered = re.match(r".*?unix=(\d+)", query)
    return (f"{path}?{covered[0]}", covered[1]) if covered else (f"{path}?{query}", "")


def form_of(content_type: str, body: bytes) -> list[Part]:
    """Take a form apart; raise `ValueError` with what is wrong about its bytes."""
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    if not body.startswith(boundary + b"\r\n") or not body.endswith(b"\r\n" + boundary + b"--\r\n"):
        raise ValueError("the form does not begin and end with its boundary")
    inner = body[len(boundary) + 2 : -len(boundary) - 6]
    return [_part(piece) for piece in inner.split(b"\r\n" + boundary + b"\r\n")]


def _part(piece: bytes) -> Part:
    head, _, data = piece.partition(b"\r\n\r\n")
    found = re.fullmatch(
        r'Content-Disposition: form-data; name="([^"]+)"(?:; filename="([^"]+)"\r\nContent-Type: (\S+))?', head.decode()
    )
    if found is None:
        raise ValueError(f"a field has the headers {head!r}")
    return Part(found[1], found[2], found[3], data)


def store_problems(
    path: str, headers: CIMultiDict[str], body: bytes, policy: Mapping[str, str], now: float
) -> list[str]:
    """Check an upload into the store: its signature (version 1), its digest, its date."""
    date, type_ = headers.get("x-oss-date", ""), headers.get("Content-Type", "")
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    covered: Sequence[str] = (
        "PUT",
        headers.get("Content-MD5", ""),
        type_,
        date,
        f"x-oss-date:{date}",
        f"x-oss-security-token:{headers.get('x-oss-security-token', '')}",
        f"/{policy['bucketName']}{unquote(path)}",
    )
    key = policy["accessKeySecret"].encode()
    signed = base64.b64encode(hmac.new(key, "\n".join(covered).encode(), hashlib.sha1).digest()).decode()
    authorization = f"OSS {policy['accessKeyId']}:{signed}"
    known = {"x-oss-date", "x-oss-security-token", "content-md5", "content-type", "authorization", "user-agent"}
    try:
        late = abs(parsedate_to_datetime(date).timestamp() - now) > CLOCK_TOLERANCE or not date.endswith(" GMT")
    except ValueError:
        late = True
    return [
        *([] if headers.get("Authorization") == authorization else ["Authorization is wrong"]),
        *([] if headers.get("x-oss-security-token") == policy["securityToken"] else ["another security token"]),
        *([] if headers.get("Content-MD5") == digest else ["Content-MD5 is wrong"]),
        *([f"x-oss-date is {date!r}"] if late else []),
        *(f"{name} does not belong here" for name in headers if name.lower() not in known | TRANSPORT_HEADERS),
    ]


def foreign_headers(headers: CIMultiDict[str]) -> list[str]:
    """Check a call to the sound store."""
    found = [f"{name} was sent to a file host" for name in PRIVATE_HEADERS if name in headers]
    return found + ([] if headers.get("Referer") == f"https://{SITE}/" else ["Referer is another"])
