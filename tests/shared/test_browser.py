import json

import pytest
from attrs import frozen

from shared.browser import AS_PAGE, MACINTOSH, BrowserSite, chrome
from shared.settings import SettingsError, read_site


@frozen
class ToySite(BrowserSite):
    hosts: frozenset[str] = frozenset({"toy.example"})
    base: str = "https://toy.example"
    user_agent: str = chrome(1)
    sec_ch_ua: str = '"Chromium";v="1"'


def test_user_agents() -> None:
    assert chrome(131) == (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/131.0.0.0 Safari/537.36"
    )
    assert chrome(134, MACINTOSH) == (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/134.0.0.0 Safari/537.36"
    )


def test_headers_and_their_order() -> None:
    site = ToySite()
    hints = {"Sec-Ch-Ua": '"Chromium";v="1"', "Sec-Ch-Ua-Mobile": "?0", "Sec-Ch-Ua-Platform": '"Windows"'}
    fetched = {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    agent = {"User-Agent": chrome(1)}
    assert list(site.browser_headers().items()) == list({**hints, **fetched, **agent}.items())
    assert list(site.browser_headers(AS_PAGE).items()) == list({**hints, **AS_PAGE, **agent}.items())


def test_extra_headers_are_added_or_replace_in_whatever_case() -> None:
    site = ToySite(extra_headers={"user-agent": "mine", "X-New": "1"})
    given = {**site.browser_headers(), "Accept": "*/*"}
    assert list(site.with_extra(given).items()) == list({**given, "User-Agent": "mine", "X-New": "1"}.items())


@pytest.mark.parametrize("name", ["", "a b", "a:", "头"])
def test_extra_headers_have_names_of_headers(name: str) -> None:
    with pytest.raises(SettingsError, match="EXTRA_HEADERS takes"):
        read_site(ToySite, {"TOY_EXTRA_HEADERS": json.dumps({"X-A": "b", name: "c"})}, "toy")


def test_what_sites_have_in_common_can_be_set() -> None:
    environ = {"TOY_SEC_CH_UA_PLATFORM": '"Linux"', "TOY_EXTRA_HEADERS": '{"X-A": "b"}'}
    environ |= {"TOY_BASE": "https://b", "TOY_HOSTS": "b"}
    site = read_site(ToySite, environ, "toy")
    assert (site.sec_ch_ua_platform, site.extra_headers, site.base) == ('"Linux"', {"X-A": "b"}, "https://b")
