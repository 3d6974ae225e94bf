"""Every vector of the protocol: the signatures, the store's, and those of the recorded calls."""

import base64
import hashlib

import pytest

from services.hailuo import sign
from services.hailuo.prompt import Upload, form, repeat_prompt
from services.hailuo.site import HailuoSite
from tests.simulators import hailuo_checks as checks

SITE = HailuoSite()
UUID = "8f1d6a40-daaf-11ef-9b1c-2b6f5c0a7e11"
DEVICE = "242935159979966466"
UNIX = "1737776102000"
CHAT = "286712345678901234"
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MERGED = "user:hi\nsystem:关注用户最新发送文件和消息\nuser:这张呢？\nassistant:"
FORM = form([Upload(f"{UUID}.png", "image/png", "286712399990008888")], MERGED)

REGISTER = f'{{"uuid":"{UUID}"}}'
VOICE = '{"robotID":"1","config":{"robotVoiceID":"male-botong"}}'
CALLBACK = (
    f'{{"fileName":"{UUID}.png","originFileName":"{UUID}.png","dir":"prod/2025-01-25-11/user/multi_chat_file",'
    '"endpoint":"oss-cn-wulanchabu.aliyuncs.com","bucketName":"hailuo-video","size":"70","mimeType":"image/png"}'
)
PATHS = {
    "register": "/v1/api/user/device/register",
    "user": "/v1/api/user/info",
    "voice": "/v1/api/chat/update_robot_custom_config",
    "tts": "/v1/api/chat/msg_tts?msgID=286712399990001112&timbre=male-botong",
    "chat": "/v4/api/chat/msg",
    "hear": "/v1/api/chat/phone_msg",
    "delete": f"/v1/api/chat/history/{CHAT}",
    "callback": "/v1/api/files/policy_callback",
}
VECTORS = {
    "A": ("register", REGISTER, "a00e10e937f59a7dee0fa8538a26e012"),
    "B": ("user", "{}", "ce4c9f0e90a19e52ac698ae0be79ee25"),
    "C": ("voice", VOICE, "14797ea9aa6bd9e3815c1d0f9e967b8c"),
    "D": ("tts", "{}", "c4d4bef2084d9c20de7866b1d94eb5ea"),
    "E": ("chat", sign.chat_content("1", "你是谁？\n", "0", ""), "66205312e2d5b88c8db5f9b0e4f59aee"),
    "F": ("chat", sign.chat_content("1", MERGED, CHAT, FORM), "d423f710b388d2a0a6fba91ab33fc820"),
    "G": ("hear", sign.sound_content("1", "0", bytes(range(256)) * 8), "b657227624253b12b2478a9e109277c0"),
    "H": ("chat", sign.chat_content("1", "", "0", ""), "7d9d78434a9b0f6e69f6a25cc9cfd1b3"),
    "I": ("delete", "{}", "c73c48b6179f575b69b60a6ffd8167e2"),
    "J": ("callback", CALLBACK, "baa87cc73c849e4de2400240c4beff42"),
}


def target(path: str, uuid: str, device: str, unix: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{SITE.full_query(uuid, device, unix)}"


@pytest.mark.parametrize(("kind", "content", "wanted"), VECTORS.values(), ids=VECTORS)
def test_signature(kind: str, content: str, wanted: str) -> None:
    address = target(PATHS[kind], UUID, "" if kind == "register" else DEVICE, UNIX)
    assert sign.signature(address, content, UNIX, SITE.sign_secret) == wanted
    assert checks.signature(address, content, UNIX) == wanted


def test_signature_of_the_international_site() -> None:
    address = "/v4/api/chat/msg?device_platform=web&biz_id=2&app_id=3001"
    content = sign.chat_content("1", "hello world", "0", "")
    assert sign.signature(address, content, "1700000000000", "ooui") == "6893d64988ecf45b1de1808b91ae855b"


def test_the_pieces_of_the_vectors() -> None:
    assert sign.chat_content("1", "你是谁？\n", "0", "") == (
        "c4ca4238a0b923820dcc509a6f75849b"
        "4cd43b154e3f6b31eebad5c52164139c"
        "cfcd208495d565ef66e7dff9f98764da"
        "d41d8cd98f00b204e9800998ecf8427e"
    )
    assert sign.chat_content("1", MERGED, CHAT, FORM) == (
        "c4ca4238a0b923820dcc509a6f75849b"
        "f14f396398578caf7f5620e769b78881"
        "5d4322addf1849c1b6f3a3b02a26d2fd"
        "137db80f28f86fdf2526627375835cbf"
    )
    assert sign.sound_content("1", "0", bytes(range(256)) * 8) == (
        "c4ca4238a0b923820dcc509a6f75849bcfcd208495d565ef66e7dff9f98764dab2ea9f7fcea831a4a63b213f41a8855b"
    )
    assert hashlib.md5(UNIX.encode()).hexdigest() == "e4b8406c8461bc2b05c3c1c11cf9fe91"


def test_every_kind_of_line_end_is_left_out() -> None:
    plain = sign.chat_content("1", "abcd", "0", "")
    assert sign.chat_content("1", "a\r\nb\nc\rd", "0", "") == plain


NOW = "a7cfc541-e572-11f1-a7ac-fbb2a5b0d785"
FIRST, SECOND, THIRD = "1795241602000", "1795241603000", "1795241604000"
RECORDED_DEVICE = "290000000000000001"
PROMPT = "system:Be brief.\nsystem:关注用户最新发送文件和消息\nuser:图里有什么？\nassistant:"
GIF = "a7cfc540-e572-11f1-a7ac-fbb2a5b0d785.gif"
GIF_FORM = form([Upload(GIF, "image/gif", "290011223344550001")], PROMPT)
GIF_CALLBACK = (
    f'{{"fileName":"{GIF}","originFileName":"{GIF}","dir":"prod/2025-01-25-11/user/multi_chat_file",'
    '"endpoint":"oss-cn-wulanchabu.aliyuncs.com","bucketName":"demo-bucket","size":"26","mimeType":"image/gif"}'
)
RECORDED = {
    "register": (PATHS["register"], f'{{"uuid":"{NOW}"}}', FIRST, "2d29c137a25294334b25014e175c930f"),
    "policy": ("/v1/api/files/request_policy", "{}", FIRST, "54f5286ba6ab8960493d735b37450fe1"),
    "callback": (PATHS["callback"], GIF_CALLBACK, FIRST, "e7dda7c54a665dce12a2e3830d8d9f8b"),
    "chat": (
        PATHS["chat"],
        sign.chat_content("1", PROMPT, "0", GIF_FORM),
        FIRST,
        "c69d23774f4151e6f0d2a304859481ff",
    ),
    "delete": ("/v1/api/chat/history/290011223344556677", "{}", SECOND, "6bf71125b20b1e21c4ae0e77f3e3211c"),
    "repeat": (
        PATHS["chat"],
        sign.chat_content("1", repeat_prompt("早上好！"), "0", ""),
        SECOND,
        "3496b34766e8cfa54dc33dd4d45bb0bc",
    ),
    "voice": (
        PATHS["voice"],
        '{"robotID":"1","config":{"robotVoiceID":"Podcast_girl"}}',
        SECOND,
        "d01fc04517748f37fc082c77d6faa7e5",
    ),
    "tts": (
        "/v1/api/chat/msg_tts?msgID=290011223344556699&timbre=Podcast_girl",
        "{}",
        SECOND,
        "efb1930dcf69421be1c775ac9ce1fdbf",
    ),
    "user": (PATHS["user"], "{}", THIRD, "cfe6aef13c71490698ce756bcd1bbe9d"),
}


@pytest.mark.parametrize(("path", "content", "unix", "wanted"), RECORDED.values(), ids=RECORDED)
def test_recorded_signatures(path: str, content: str, unix: str, wanted: str) -> None:
    device = "" if path == PATHS["register"] else RECORDED_DEVICE
    assert sign.signature(target(path, NOW, device, unix), content, unix, "ooui") == wanted


STORE = {
    "typed": ("8f1d6a40-daaf-11ef-9b1c-2b6f5c0a7e11.png", "image/png", "032hiMDoFkITJ5QhgdpOZo1wFsg="),
    "untyped": ("8f1d6a40-daaf-11ef-9b1c-2b6f5c0a7e11", "", "CeuhYr55H00HqRm9snbtIUGJOOw="),
}


@pytest.mark.parametrize(("name", "type_", "wanted"), STORE.values(), ids=STORE)
def test_store_signature(name: str, type_: str, wanted: str) -> None:
    assert sign.content_md5(PICTURE) == "+Cm5FPxHz8nAdHwRnCfPGw=="
    signed = sign.store_signature(
        "TestSecret0000000000000000000000000000000000",
        md5=sign.content_md5(PICTURE),
        type_=type_,
        date="Sat, 25 Jan 2025 03:35:02 GMT",
        token="CAISTestSecurityToken+/=",
        resource=f"/hailuo-video/prod/2025-01-25-11/user/multi_chat_file/{name}",
    )
    assert signed == wanted


def test_recorded_store_signature() -> None:
    gif = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAACADs=")
    assert sign.content_md5(gif) == "XDrM0CZgrBUtJFb1XLfJTg=="
    signed = sign.store_signature(
        "DemoSecret",
        md5=sign.content_md5(gif),
        type_="image/gif",
        date="Sat, 21 Nov 2026 06:13:22 GMT",
        token="CAISdemo",
        resource=f"/demo-bucket/prod/2025-01-25-11/user/multi_chat_file/{GIF}",
    )
    assert signed == "+XNS864khIFKo3VXHDmz4Qdr/zc="


def test_query_with_and_without_a_device() -> None:
    assert SITE.full_query("u", "d", "1000") == (
        "device_platform=web&app_id=3001&version_code=22200&uuid=u&device_id=d&os_name=Windows&browser_name=chrome"
        "&device_memory=8&cpu_core_num=12&browser_language=zh-CN&browser_platform=Win32&screen_width=1920"
        "&screen_height=1080&unix=1000"
    )
    assert "device_id" not in SITE.full_query("u", "", "1000")
    assert SITE.constant_query() == (
        "device_platform=web&app_id=3001&version_code=22200&os_name=Windows&browser_name=chrome&device_memory=8"
        "&cpu_core_num=12&browser_language=zh-CN&browser_platform=Win32&screen_width=1920&screen_height=1080"
    )
