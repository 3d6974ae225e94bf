"""The site's request signature. Pure: the clock and the nonce come from the caller."""

import hashlib


def signature(now_ms: int, nonce: str) -> dict[str, str]:
    """Give the three headers that sign one request.

    `now_ms` is Unix time in milliseconds, `nonce` the decimal text of a random number between 0 and 1, used once.
    """
    sign = hashlib.md5(f"{now_ms}-_-{nonce}".encode()).hexdigest()
    return {"X-Xss-Id": nonce, "X-Xss-Ts": str(now_ms), "X-Xss-Real": sign}
