import re

import pytest

from services.emohaa.provider import Emohaa
from services.emohaa.sign import signature
from services.emohaa.site import EmohaaSite
from shared.metrics import Metrics
from shared.settings import Settings
from shared.terms import TokenSession
from shared.upstream.client import Upstream

VECTORS = [
    (1715941102117, "0.06979938082110193", "6abb1b42063a4048b28fa39ae3b752d6"),
    (1795241371907, "0.5340116928766359", "8e1786ce3d11ac88f42e08f8c6956ffb"),
    (1795241371921, "0.4338737558366117", "294e9d536ad5c5750b50617107e31c11"),
]


@pytest.mark.parametrize(("now_ms", "nonce", "sign"), VECTORS)
def test_worked_vectors(now_ms: int, nonce: str, sign: str) -> None:
    assert signature(now_ms, nonce) == {"X-Xss-Id": nonce, "X-Xss-Ts": str(now_ms), "X-Xss-Real": sign}


def test_every_call_is_signed_anew_with_a_number_as_javascript_writes_it() -> None:
    site = EmohaaSite()
    provider = Emohaa(site, Upstream(site.hosts, Settings(), Metrics("emohaa")))
    nonces = {provider._headers(TokenSession(0.0, "T"))["X-Xss-Id"] for _ in range(1000)}
    assert len(nonces) == 1000
    assert all(re.fullmatch(r"0\.[1-9][0-9]*", nonce) for nonce in nonces)
