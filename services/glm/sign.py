"""The site's request signature. Pure: the clock and the nonce come from the caller."""

import hashlib


def signature(now_ms: int, nonce: str, secret: str) -> dict[str, str]:
    """Give the three headers that sign one request.

    `now_ms` is Unix time in milliseconds, `nonce` 32 hex digits used once, `secret` the site's constant. The
    second-last digit of the time becomes a check digit: the sum of all the others modulo 10.
    """
    digits = str(now_ms)
    others = (digits[:-2] + digits[-1]).encode()
    # By their codes: to read them as numbers, one by one, costs more than all the rest.
    check = (sum(others) - len(others) * ord("0")) % 10
    timestamp = f"{digits[:-2]}{check}{digits[-1]}"
    sign = hashlib.md5(f"{timestamp}-{nonce}-{secret}".encode()).hexdigest()
    return {"X-Nonce": nonce, "X-Sign": sign, "X-Timestamp": timestamp}
