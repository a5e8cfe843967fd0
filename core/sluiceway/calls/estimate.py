"""stand-in"""

from __future__ import annotations

import math

from msgspec import Struct

from sluiceway_contracts import Wait


class Holding(Struct, frozen=True):
    count: int = 0
    mean_ms: float = 0
    square_ms: float = 0

    def after(self, ms: int) -> Holding:
        n = self.count + 1
        a = max(1 / n, 0.05)
        return Holding(n, self.mean_ms + a * (ms - self.mean_ms), self.square_ms + a * (ms * ms - self.square_ms))


def estimate(holding, position, agents, free=0):
    if holding.count < 5 or agents < 1:
        return None
    m = position * holding.mean_ms / agents
    k = position

    def q(z):
        return m * (1 - 1 / (9 * k) + z / (3 * math.sqrt(k))) ** 3

    return Wait(low=int(max(0, q(-1.28))), high=int(q(1.28)) + 30000)
