"""What chatglm.cn changes often: addresses, the sign secret, header values, assistant ids, modes.

Every field can be set from the environment; lists are separated by commas, mappings are given as JSON.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from shared.browser import BY_SCRIPT, MACINTOSH, BrowserSite, chrome

_EXP_GROUPS = (
    "na_android_config:exp:NA,"
    "na_4o_config:exp:4o_A,"
    "na_glm4plus_config:exp:open,"
    "mainchat_server_app:exp:A,"
    "mobile_history_daycheck:exp:a,"
    "desktop_toolbar:exp:A,"
    "chat_drawing_server:exp:A,"
    "drawing_server_cogview:exp:cogview4,"
    "app_welcome_v2:exp:B,"
    "chat_drawing_streamv2:exp:A,"
    "mainchat_rm_fc:exp:add,"
    "mainchat_dr:exp:open,"
    "chat_auto_entrance:exp:A"
)

_CHAT_MODES = {"deepresearch": "deep_research", "think": "zero", "zero": "zero"}


@frozen
class GlmSite(BrowserSite):
    """The site as its web page of Chrome 134 calls it."""

    hosts: frozenset[str] = frozenset({"chatglm.cn"})
    base: str = "https://chatglm.cn"
    sign_secret: str = field(default="8a1317a7468aa3ad86e997d08f3f31cb", repr=False)
    """The constant in the request signature."""

    user_agent: str = chrome(134, MACINTOSH)
    sec_ch_ua: str = '"Chromium";v="134", "Not:A-Brand";v="24", "Google Chrome";v="134"'
    sec_ch_ua_platform: str = '"macOS"'
    app_version: str = "0.0.1"
    exp_groups: str = _EXP_GROUPS

    main_assistant: str = "65940acff94777010aa6b796"
    """The main chat: every model name that is not an agent's id."""
    drawing_assistant: str = "65a232c082ff90a2ad2f15e2"
    """The agent that draws, for `/v1/images/generations`."""

    chat_modes: Mapping[str, str] = field(factory=lambda: _CHAT_MODES)
    """The first of these texts found in a model name gives the mode."""
    selected_models: Mapping[str, str] = field(factory=dict)
    """The same for the site's own choice of models, which its pages of 2026 send."""
    extra_body: Mapping[str, Any] = field(factory=dict)
    """Fields added to every chat body; those under `meta_data` are added to its `meta_data`."""

    @extra_body.validator
    def _check_extra_body(self, _: Any, value: Mapping[str, Any]) -> None:
        if not isinstance(value.get("meta_data", {}), dict):
            raise ValueError("GLM_EXTRA_BODY takes an object under `meta_data`.")  # noqa: TRY004 - as a wrong text does

    refresh_path: str = "/chatglm/user-api/user/refresh"
    chat_path: str = "/chatglm/backend-api/assistant/stream"
    delete_path: str = "/chatglm/backend-api/assistant/conversation/delete"
    upload_path: str = "/chatglm/backend-api/assistant/file_upload"
    video_path: str = "/chatglm/video-api/v1"

    session_lifetime: float = 3600.0
    """Seconds an access token is used for, from its receipt."""
    video_pause: float = 1.0
    """Seconds between two looks at a video that is being made."""
    video_limit: float = 600.0
    """Seconds after which a video is given up."""

    def headers(self) -> dict[str, str]:
        """Give the headers that every call carries."""
        return self.with_extra(
            {
                "Accept": "application/json, text/plain, */*",
                "Accept-Encoding": "gzip, deflate, br",
                "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
                "Cache-Control": "no-cache",
                "App-Name": "chatglm",
                "Origin": self.base,
                "Pragma": "no-cache",
                "sec-ch-ua": self.sec_ch_ua,
                "sec-ch-ua-mobile": "?0",
                "sec-ch-ua-platform": self.sec_ch_ua_platform,
                **BY_SCRIPT,
                "User-Agent": self.user_agent,
                "X-App-Platform": "pc",
                "X-App-Version": self.app_version,
                "X-Device-Brand": "",
                "X-Device-Model": "",
                "X-Exp-Groups": self.exp_groups,
                "X-Lang": "zh",
            }
        )

    def chat_mode(self, model: str) -> dict[str, str]:
        """Give the `meta_data` field for the mode a model name asks for, if it asks for one."""
        return _first("chat_mode", self.chat_modes, model)

    def selected_model(self, model: str) -> dict[str, str]:
        """Give the `meta_data` field for the site's own model a model name asks for, if it asks for one."""
        return _first("selected_model", self.selected_models, model)


def _first(field_name: str, values: Mapping[str, str], model: str) -> dict[str, str]:
    value = next((value for text, value in values.items() if text in model), None)
    return {} if value is None else {field_name: value}
