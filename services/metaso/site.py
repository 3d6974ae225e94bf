"""What metaso.cn changes often: addresses, header values, fields of the query.

Every field can be set from the environment; mappings are given as JSON.
"""

from collections.abc import Mapping

from attrs import field, frozen

from shared.terms import Site


@frozen
class MetasoSite(Site):
    """The site as its web page of Chrome 127 calls it."""

    hosts: frozenset[str] = frozenset({"metaso.cn"})
    base: str = "https://metaso.cn"
    """Before every path."""

    user_agent: str = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/127.0.0.0 Safari/537.36"
    )
    sec_ch_ua: str = '"Not)A;Brand";v="99", "Google Chrome";v="127", "Chromium";v="127"'
    sec_ch_ua_platform: str = '"Windows"'
    extra_headers: Mapping[str, str] = field(factory=dict)
    """Headers added to every call, or put in the place of one of the same name."""

    language: str = "zh"
    """What the answer is to be written in."""
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
        return self._headers(accept, {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}, {})

    def page_headers(self) -> dict[str, str]:
        """Give the headers with which a page is opened."""
        opened = {"Sec-Fetch-User": "?1", "Upgrade-Insecure-Requests": "1"}
        return self._headers("*/*", {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}, opened)

    def _headers(self, accept: str, fetch: Mapping[str, str], opened: Mapping[str, str]) -> dict[str, str]:
        return {
            "Accept": accept,
            "Accept-Encoding": "gzip, deflate, br",
            "Accept-Language": "zh-CN,zh;q=0.9",
            "Origin": self.base,
            "Sec-Ch-Ua": self.sec_ch_ua,
            "Sec-Ch-Ua-Mobile": "?0",
            "Sec-Ch-Ua-Platform": self.sec_ch_ua_platform,
            **fetch,
            "Sec-Fetch-Site": "same-origin",
            **opened,
            "User-Agent": self.user_agent,
            **self.extra_headers,
        }
