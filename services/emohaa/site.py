"""What echo.turing-world.com changes often: addresses, header values, the role that answers, the prompt's style.

Every field can be set from the environment; mappings are given as JSON.
"""

from typing import Literal

from attrs import frozen

from shared.browser import BrowserSite, chrome


@frozen
class EmohaaSite(BrowserSite):
    """The site as its web page of Chrome 122 calls it."""

    hosts: frozenset[str] = frozenset({"ai-role.cn"})
    base: str = "https://ai-role.cn/echo-prod"
    page: str = "https://echo.turing-world.com"
    """The web page, as Origin and Referer."""

    user_agent: str = chrome(122)
    sec_ch_ua: str = '"Chromium";v="122", "Not(A:Brand";v="24", "Google Chrome";v="122"'

    role: str = "echo"
    """Who answers."""
    prompt: Literal["whole", "dialogue", "last"] = "whole"
    """What of the messages the site is sent: all, all but the client's instructions, or the user's last one."""
    prompt_limit: int = 1_000_000
    """Characters of a prompt above which it is not sent. It travels in the address: the site itself takes far less."""

    def headers(self, token: str) -> dict[str, str]:
        """Give the headers that every call of an account carries."""
        return self.with_extra(
            {
                "Accept": "application/json, text/plain, */*",
                "Authorization": f"Bearer {token}",
                "Accept-Encoding": "gzip, deflate, br",
                "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
                "Origin": self.page,
                "Referer": f"{self.page}/",
                **self.browser_headers(),
            }
        )
