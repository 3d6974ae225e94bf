"""What hailuoai.com changes often: addresses, the constants of its web app, header values, waits.

Every field can be set from the environment; lists are separated by commas, mappings are given as JSON.
"""

from attrs import field, frozen

from shared.browser import BrowserSite, chrome

_QUERY = (
    "device_platform=web&app_id={app_id}&version_code={version_code}&uuid={uuid}&device_id={device_id}"
    "&os_name=Windows&browser_name=chrome&device_memory=8&cpu_core_num=12&browser_language=zh-CN"
    "&browser_platform=Win32&screen_width=1920&screen_height=1080&unix={unix}"
)


@frozen
class HailuoSite(BrowserSite):
    """The site as its web page of Chrome 127 calls it."""

    hosts: frozenset[str] = frozenset({"hailuoai.com"})
    base: str = "https://hailuoai.com"

    app_id: str = "3001"
    version_code: str = "22200"
    query: str = _QUERY
    """The query of every call. `{device_id}` is left out while there is none, `{unix}` is in milliseconds."""
    sign_secret: str = field(default="ooui", repr=False)
    """The constant in the request signature."""
    character_id: str = "1"
    """The assistant that is talked to, and whose voice is set."""

    user_agent: str = chrome(127)
    sec_ch_ua: str = '"Not)A;Brand";v="99", "Google Chrome";v="127", "Chromium";v="127"'
    sentry_release: str = "CI7N-1MjJnx5pru-bzzhR"
    sentry_public_key: str = "6cf106db5c7b7262eae7cc6b411c776a"
    upload_user_agent: str = "aliyun-sdk-nodejs/6.21.0 Node.js v20.18.1 on Linux 64-bit"
    """What the file store hears."""

    register_path: str = "/v1/api/user/device/register"
    user_path: str = "/v1/api/user/info"
    chat_path: str = "/v4/api/chat/msg"
    delete_path: str = "/v1/api/chat/history"
    policy_path: str = "/v1/api/files/request_policy"
    callback_path: str = "/v1/api/files/policy_callback"
    voice_path: str = "/v1/api/chat/update_robot_custom_config"
    speech_path: str = "/v1/api/chat/msg_tts"
    hear_path: str = "/v1/api/chat/phone_msg"

    device_lifetime: float = 10800.0
    """Seconds a device registration is used for, from its receipt."""
    replace_audio_model: str = field(default="", metadata={"variable": "REPLACE_AUDIO_MODEL"})
    """Voices for OpenAI's first six names: ids separated by commas, or a JSON array; an empty place changes nothing."""
    more_voices: tuple[str, ...] = ()
    """Voice ids of the site beside those known here."""
    speech_pause: float = 0.3
    """Seconds between two looks at a speech that is being made."""
    speech_limit: float = 30.0
    """Seconds without a new part after which a speech is given up."""

    def headers(self) -> dict[str, str]:
        """Give the headers that every call carries."""
        return self.with_extra(
            {
                "Accept": "*/*",
                "Accept-Encoding": "gzip, deflate, br",
                "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
                "Cache-Control": "no-cache",
                "Origin": self.base,
                "Pragma": "no-cache",
                "Priority": "u=1, i",
                "Referer": f"{self.base}/",
                **self.browser_headers(),
            }
        )

    def full_query(self, uuid: str, device_id: str, unix: str) -> str:
        """Give the query of a call from this device; `unix` is the time, as it is signed."""
        text = self._filled(uuid=uuid, device_id=device_id, unix=unix)
        return text if device_id else _without_empty(text)

    def constant_query(self) -> str:
        """Give the part of the query that is the same for every call."""
        return _without_empty(self._filled(uuid="", device_id="", unix=""))

    def _filled(self, **values: str) -> str:
        text = self.query
        for name, value in {"app_id": self.app_id, "version_code": self.version_code, **values}.items():
            text = text.replace(f"{{{name}}}", value)
        return text


def _without_empty(query: str) -> str:
    """Drop the items without a value."""
    return "&".join(item for item in query.split("&") if not item.endswith("="))
