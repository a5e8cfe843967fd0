"""How often strangers may deliver, by the limits that a gateway declares. Refuses, never waits; counts in this process.

Buckets that were not used for longest are forgotten where there are too many: an attacker with thousands of addresses
has as many buckets, and is held by the limit that all of them share.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from .gateway import Limit
from .pace import TokenBucket

MAX_BUCKETS = 10_000


class Throttle:
    """The buckets of every connection of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, Limit], TokenBucket] = OrderedDict()

    def wait_s(self, connection: str, limits: Iterable[Limit]) -> float:
        """0 where a delivery may come in: it has taken a token of each limit. Else in how many seconds it might.

        The first limit that refuses is the last that is asked: who is over it costs the others nothing.
        """
        for limit in limits:
            left_s = self._bucket((connection, limit)).spend(self._clock())
            if left_s > 0:
                return left_s
        return 0.0

    def _bucket(self, key: tuple[str, Limit]) -> TokenBucket:
        bucket = self._buckets.pop(key, None) or TokenBucket(key[1].rate)
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket
