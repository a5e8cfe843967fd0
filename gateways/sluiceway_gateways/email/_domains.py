"""How fast mail may go to one domain, of which many customers have their mailbox. Counts, never waits.

Core paces an account and each of its recipients; a domain's limit holds for all of them together. What counts is this
process alone, and the domain as it is written: who serves it, the relay knows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from sluiceway import Rate

MAX_DOMAINS = 10_000
SHORTEST_S = 1e-6
"""Less is what floating point makes of nothing."""


class Domains:
    """The pace of every domain: its own rate, else that of all. Who was not used for longest is forgotten first."""

    def __init__(self, rate: Rate | None = None, rates: Mapping[str, Rate] | None = None) -> None:
        """`rates` are by domain, in lower case and ASCII."""
        self._rate = rate
        self._rates = rates or {}
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, domain: str, now: float) -> float:
        """0 where a mail may go, which is counted then; else in how many seconds one may, and nothing is counted.

        https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
        """
        rate = self._rates.get(domain, self._rate)
        if rate is None:
            return 0.0
        each_s = 1 / rate.per_second
        free_at = max(self._free_at.pop(domain, now), now)
        wait_s = free_at - now - (rate.burst - 1) * each_s
        wait_s = wait_s if wait_s > SHORTEST_S else 0.0
        self._free_at[domain] = free_at if wait_s else free_at + each_s
        if len(self._free_at) > MAX_DOMAINS:
            self._free_at.popitem(last=False)
        return wait_s
