"""UUIDs of version 1, as the sites' pages make them: by the clock, and a node that stays while the page is open."""

import random
import time

_EPOCH = 0x01B21DD213814000
"""1970 in the clock of a UUID: 100 nanoseconds each, from 15 October 1582 (RFC 9562, section 5.1)."""


class Uuids:
    """Makes UUIDs, all with the same second half."""

    def __init__(self) -> None:
        sequence = random.getrandbits(14) | 0x8000
        # A random node in place of this machine's address, with the bit that marks it as such.
        node = random.getrandbits(48) | 1 << 40
        self._half = f"{sequence:04x}{node:012x}"
        self._last = 0

    def fresh(self) -> str:
        """Give the next one, as 32 hex digits."""
        # Not the standard library's, which is five times slower: a call to a site needs several.
        now = time.time_ns() // 100 + _EPOCH
        if now <= self._last:
            now = self._last + 1
        self._last = now
        # "0x" and 15 digits, from the year 1811 to 5236.
        digits = hex(now)
        return f"{digits[9:]}{digits[5:9]}1{digits[2:5]}{self._half}"

    def dashed(self) -> str:
        """Give the next one as it is usually written."""
        fresh = self.fresh()
        return f"{fresh[:8]}-{fresh[8:12]}-{fresh[12:16]}-{fresh[16:20]}-{fresh[20:]}"
