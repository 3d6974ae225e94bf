"""What metaso.cn changes often: addresses, header values, fields of the query.

Every field can be set from the environment; mappings are given as JSON.
"""

from collections.abc import Mapping

from attrs import field, frozen

from shared.browser import AS_PAGE, BY_SCRIPT, BrowserSite, chrome


@frozen
class MetasoSite(BrowserSite):
    """The site as its web page of Chrome 127 calls it."""

    hosts: frozenset[str] = frozenset({"metaso.cn"})
    base: str = "https://metaso.cn"

    user_agent: str = chrome(127)
    sec_ch_ua: str = '"Not)A;Brand";v="99", "Google Chrome";v="127", "Chromium";v="127"'

    language: str = "zh"
    """What the answer is to be written in."""
    question_limit: int = 1_000_000
    """Characters of a question above which it is not sent: it travels in the address, and the site takes far less."""
    extra_query: Mapping[str, str] = field(factory=dict)
    """Fields added at the end of every search, as the site's own pages now and then do."""

    page_path: str = "/"
    """The page that has the meta-token."""
    session_path: str = "/api/session"
    search_path: str = "/api/searchV2"
    check_path: str = "/api/my-info"

    session_lifetime: float = 300.0
    """Seconds a meta-token is used for, from its receipt. How long the site takes it is not known."""

    def headers(self, accept: str = "*/*") -> dict[str, str]:
        """Give the headers that every call to the API carries."""
        return self._headers(accept, BY_SCRIPT)

    def page_headers(self) -> dict[str, str]:
        """Give the headers with which a page is opened."""
        return self._headers("*/*", AS_PAGE)

    def _headers(self, accept: str, called: Mapping[str, str]) -> dict[str, str]:
        return self.with_extra(
            {
                "Accept": accept,
                "Accept-Encoding": "gzip, deflate, br",
                "Accept-Language": "zh-CN,zh;q=0.9",
                "Origin": self.base,
                **self.browser_headers(called),
            }
        )
