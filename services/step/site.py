"""What the site changes often: its addresses, header values, the numbers of its models.

Every field can be set from the environment; lists are separated by commas, mappings are given as JSON.
"""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from shared.browser import BrowserSite, chrome

_MODEL_IDS = {"step-2": 2, "step-r-mini": 4, "step-2-literary": 5, "deepseek-r1": 6}
_STEPFUN_MODELS = {"deepseek-r1": "deepseek-r1"}


@frozen
class StepSite(BrowserSite):
    """The site as its web page of Chrome 131 calls it."""

    hosts: frozenset[str] = frozenset({"yuewen.cn", "www.stepfun.com", "chat.stepfun.com"})
    dialect: Literal["yuewen", "stepfun"] = "yuewen"
    """The protocol: that of yuewen.cn, or the one of stepfun.com that came after it."""
    base: str = "https://yuewen.cn"
    stepfun_base: str = "https://www.stepfun.com"
    """Before every path, in each dialect."""

    user_agent: str = chrome(131)
    sec_ch_ua: str = '"Google Chrome";v="131", "Chromium";v="131", "Not_A Brand";v="24"'
    app_id: str = "10200"
    mode: str = "2"
    platform: str = "web"
    waf_client_type: str = "fetch_sdk"

    model_ids: Mapping[str, Any] = field(factory=lambda: _MODEL_IDS)
    """yuewen.cn's number of each model that a model name chooses."""
    stepfun_models: Mapping[str, str] = field(factory=lambda: _STEPFUN_MODELS)
    """stepfun.com's name of each model that a model name chooses."""
    stepfun_model: str = "step-auto"
    """stepfun.com's model for every other name."""

    session_lifetime: float = 900.0
    """Seconds an access token is used for when the site does not say."""
    file_pause: float = 0.5
    """Seconds between two looks at a file that the site is reading."""
    file_limit: float = 60.0
    """Seconds after which a file is given up."""
    file_settle: float = 5.0
    """Seconds a file is left alone once the site has read it: questions asked sooner may miss it."""

    def headers(self, base: str) -> dict[str, str]:
        """Give the headers that every call carries after its own."""
        return self.with_extra(
            {
                "Accept-Encoding": "gzip, deflate, br",
                "Accept-Language": "zh-CN,zh;q=0.9,en-US;q=0.8,en;q=0.7",
                "Origin": base,
                "Connect-Protocol-Version": "1",
                "Oasis-Appid": self.app_id,
                "Oasis-Mode": self.mode,
                "Oasis-Platform": self.platform,
                **self.browser_headers(),
                "X-Waf-Client-Type": self.waf_client_type,
            }
        )
