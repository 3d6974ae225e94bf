"""What an operator adds to a site's headers is sent: a site that asks for a new one is met without a release."""

import pytest

from services.emohaa.site import EmohaaSite
from services.hailuo.site import HailuoSite
from services.metaso.site import MetasoSite
from services.step.site import StepSite

EXTRA = {"Accept-Language": "en", "X-New": "1"}


@pytest.mark.parametrize(
    ("plain", "extended"),
    [
        (EmohaaSite().headers("T"), EmohaaSite(extra_headers=EXTRA).headers("T")),
        (HailuoSite().headers(), HailuoSite(extra_headers=EXTRA).headers()),
        (MetasoSite().headers("*/*"), MetasoSite(extra_headers=EXTRA).headers("*/*")),
        (MetasoSite().page_headers(), MetasoSite(extra_headers=EXTRA).page_headers()),
        (StepSite().headers("https://b"), StepSite(extra_headers=EXTRA).headers("https://b")),
    ],
    ids=["emohaa", "hailuo", "metaso", "metaso page", "step"],
)
def test_extra_headers_are_added_or_replace(plain: dict[str, str], extended: dict[str, str]) -> None:
    assert plain["Accept-Language"] != "en"
    assert extended == {**plain, **EXTRA}
