import re

import pytest

from services.glm.calls import Calls
from services.glm.site import GlmSite
from shared.metrics import Metrics
from shared.settings import Settings
from shared.upstream.client import Upstream
from shared.upstream.json import JSON

SITE = GlmSite(extra_headers={"X-Lang": "en", "X-App-Fr": "default"})
COMPUTED = ("X-Device-Id", "X-Request-Id", "X-Nonce", "X-Sign", "X-Timestamp")


@pytest.fixture
def calls() -> Calls:
    return Calls(SITE, Upstream(SITE.hosts, Settings(), Metrics("glm")))


def test_the_constant_headers_are_on_every_call(calls: Calls) -> None:
    headers = calls.headers("eyJ.A.A", identified=False, signed=False)
    assert headers == {**GlmSite().headers(), "X-Lang": "en", "X-App-Fr": "default", "Authorization": "Bearer eyJ.A.A"}
    assert headers["X-Device-Brand"] == ""
    assert len(GlmSite().headers()) == 20


def test_the_computed_headers_are_new_for_each_call(calls: Calls) -> None:
    first, second = (calls.headers("t", referer="/video", content_type=JSON) for _ in range(2))
    assert (first["Referer"], first["Content-Type"]) == ("https://chatglm.cn/video", "application/json")
    ids = [headers[name] for headers in (first, second) for name in COMPUTED[:3]]
    assert len(set(ids)) == 6
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity in ids)
    assert re.fullmatch("[0-9]{13}", first["X-Timestamp"])


@pytest.mark.parametrize(("identified", "signed", "count"), [(True, True, 5), (True, False, 2), (False, False, 0)])
def test_which_headers_are_computed(calls: Calls, identified: bool, signed: bool, count: int) -> None:
    headers = calls.headers("t", identified=identified, signed=signed)
    assert [name for name in COMPUTED if name in headers] == list(COMPUTED[:count])


def test_the_page_an_assistant_is_talked_to_from(calls: Calls) -> None:
    assert calls.page(SITE.main_assistant) == "/main/alltoolsdetail"
    assert calls.page("65c046a531d3fcb034918abe") == "/main/gdetail/65c046a531d3fcb034918abe"
