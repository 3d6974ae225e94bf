import pytest

from services.glm.sign import signature
from services.glm.site import GlmSite

VECTORS = [
    (1745820751234, "0b6c1f5e6d0a11f08c8f9d5300000001", "1745820751264", "dd38c6854be0f7477738fa56d11106ba"),
    (1700000000000, "cc1ae040e56f11f1beafe32e8637f6b5", "1700000000080", "f15026af3cabf7b7c028c8b4d2bc93a1"),
    (1769999999999, "00000000000000000000000000000000", "1769999999959", "18a2ec21ea1fbb190d8206f6ad1202db"),
    (1795240375313, "cc1ae040e56f11f1beafe32e8637f6b5", "1795240375393", "46a761e8ac018801e33415b1ad2d83a2"),
]


@pytest.mark.parametrize(("now_ms", "nonce", "timestamp", "sign"), VECTORS)
def test_worked_vectors(now_ms: int, nonce: str, timestamp: str, sign: str) -> None:
    assert signature(now_ms, nonce, GlmSite().sign_secret) == {
        "X-Nonce": nonce,
        "X-Sign": sign,
        "X-Timestamp": timestamp,
    }


def test_another_secret_gives_another_signature() -> None:
    now_ms, nonce, timestamp, sign = VECTORS[0]
    other = signature(now_ms, nonce, "another-secret")
    assert other["X-Timestamp"] == timestamp
    assert other["X-Sign"] != sign
