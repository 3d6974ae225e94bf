"""What Chrome sends of its own accord with every call that a page makes to its site. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from multidict import istr

from shared.terms import Site

WINDOWS = "Windows NT 10.0; Win64; x64"
MACINTOSH = "Macintosh; Intel Mac OS X 10_15_7"
"""Systems, as a User-Agent names them."""

BY_SCRIPT: Mapping[str, str] = {
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
}
AS_PAGE: Mapping[str, str] = {
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
    "Upgrade-Insecure-Requests": "1",
}
"""Who calls: a script of the page, or the user who opens the page."""

_HEADER_NAME = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""


def chrome(version: int, system: str = WINDOWS) -> str:
    """Give the User-Agent of Chrome."""
    return f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"


@frozen
class BrowserSite(Site):
    """A site as its web page calls it in Chrome."""

    base: str
    """Before every path."""
    user_agent: str
    sec_ch_ua: str
    sec_ch_ua_platform: str = '"Windows"'
    extra_headers: Mapping[str, str] = field(factory=dict)
    """Headers added to every call, or put in the place of a constant one of the same name, in whatever case."""

    @extra_headers.validator
    def _check_extra_headers(self, _: Any, value: Mapping[str, str]) -> None:
        if not all(map(_HEADER_NAME.fullmatch, value)):
            raise ValueError("EXTRA_HEADERS takes an object whose names are those of headers.")

    def browser_headers(self, called: Mapping[str, str] = BY_SCRIPT) -> dict[str, str]:
        """Give the browser's headers, in its order."""
        return {
            "Sec-Ch-Ua": self.sec_ch_ua,
            "Sec-Ch-Ua-Mobile": "?0",
            "Sec-Ch-Ua-Platform": self.sec_ch_ua_platform,
            **called,
            "User-Agent": self.user_agent,
        }

    def with_extra(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Give headers with the extra ones added, or in their place."""
        # As `istr`, the names are not compared letter by letter in every call.
        extended: dict[str, str] = {istr(name): value for name, value in headers.items()}
        if self.extra_headers:
            written = {name.lower(): name for name in extended}
            extended |= {istr(written.get(name.lower(), name)): value for name, value in self.extra_headers.items()}
        return extended
