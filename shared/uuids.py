"""UUIDs of version 1, as the sites' pages make them: by the clock, and a node that stays while the page is open."""

import random
import uuid


class Uuids:
    """Makes UUIDs, all with the same second half."""

    def __init__(self) -> None:
        # A random node in place of this machine's address, with the bit that marks it as such.
        self._node = random.getrandbits(48) | 1 << 40
        self._sequence = random.getrandbits(14)

    def fresh(self) -> uuid.UUID:
        """Give the next one."""
        return uuid.uuid1(self._node, self._sequence)
