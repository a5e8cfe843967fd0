"""How long somebody in the queue will wait: a range, or nothing where nobody can say honestly. Keeps no samples.

With `agents` who are all busy, each for a mean time S, the n-th in the queue waits for n calls to end, one after every
S/agents: n·S/agents in the mean. This is the queue-length predictor of Whitt (1999) and of Ibrahim and Whitt (2009).
How far the wait strays from it is taken to be a Gamma distribution's, which for exponential times is Erlang's with
shape n. Here the variance, relative to the square of the mean, is

    c²/n + c²/m

where c is the coefficient of variation of the times, and the second term is what m samples leave unknown of S. Of that
distribution the range is what lies between the 10 % and the 90 % quantile, by the approximation of Wilson and Hilferty
(1931). Calls that are still going on are in no sample, and the long ones are among them, so at the upper end S is
greater by agents/count; with time that is nothing.

What it can't know: calls that overtake, agents who come, go or take calls of other queues, and times that change.

W. Whitt, Predicting Queueing Delays, Management Science 45(6), 1999: https://doi.org/10.1287/mnsc.45.6.870
R. Ibrahim, W. Whitt, Real-Time Delay Estimation Based on Delay History, Manufacturing & Service Operations Management
11(3), 2009: https://doi.org/10.1287/msom.1080.0223
E. B. Wilson, M. M. Hilferty, The Distribution of Chi-Square, PNAS 17(12), 1931: https://doi.org/10.1073/pnas.17.12.684
"""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec import Struct

from sluiceway_contracts import Wait

MIN_SAMPLES = 5
"""With fewer nothing is said; and for c alone, so many exponential times are added to those that were seen."""
WEIGHT = 0.05
"""Of the newest call in the smoothed mean, so that some twenty count; until then all count alike."""
MAX_SAMPLES = (2 - WEIGHT) / WEIGHT
"""So many samples of equal weight would say as much as the smoothed ones ever do."""
NORMAL_90 = 1.2816
"""The 90 % quantile of the normal distribution."""
MAX_WIDTH_MS = 2 * 3_600_000
FINE_MS, COARSE_MS = 30_000, 60_000
FINE_BELOW_MS = 600_000


class Holding(Struct, frozen=True):
    """How long calls hold an agent: ringing, talking and the pause after it. The mean and the variance are smoothed.

    `count` is of all calls so far, `mean_ms` in milliseconds, `variance` in their square.
    """

    count: int = 0
    mean_ms: float = 0.0
    variance: float = 0.0

    def after(self, holding_ms: int) -> Holding:
        """What is known when one more call has ended; a clock that was put back counts as no time."""
        weight = max(1 / (self.count + 1), WEIGHT)
        stray = max(holding_ms, 0) - self.mean_ms
        variance = (1 - weight) * (self.variance + weight * stray**2)
        return Holding(self.count + 1, self.mean_ms + weight * stray, variance)


def estimate(holding: Holding, position: int, agents: int, free: int = 0) -> Wait | None:
    """How long until an agent takes the call of somebody at `position`, from 1; in milliseconds, rounded outwards.

    `agents` are all who could take such calls, `free` of them can now. None with fewer than five samples, without
    agents, and where the range would be wider than two hours.
    """
    if holding.count < MIN_SAMPLES or agents < 1 or not holding.mean_ms:
        return None
    ends = position - free
    if ends < 1:
        return Wait(low=0, high=FINE_MS)
    samples = min(holding.count, MAX_SAMPLES)
    variation = holding.variance / holding.mean_ms**2 * samples / (samples - 1)
    variation = (samples * variation + MIN_SAMPLES) / (samples + MIN_SAMPLES)
    shape = 1 / (variation / ends + variation / samples)
    low_ms = ends * holding.mean_ms / agents * quantile(shape, -NORMAL_90)
    high_ms = ends * holding.mean_ms * (1 / agents + 1 / holding.count) * quantile(shape, NORMAL_90)
    if high_ms - low_ms > MAX_WIDTH_MS:
        return None
    return Wait(low=_rounded(low_ms, math.floor), high=_rounded(high_ms, math.ceil))


def quantile(shape: float, normal: float) -> float:
    """Of a Gamma distribution with mean 1: the quantile where the normal distribution has `normal`."""
    cube_root = 1 - 1 / (9 * shape) + normal / (3 * math.sqrt(shape))
    return float(max(cube_root, 0) ** 3)


def _rounded(duration_ms: float, whole: Callable[[float], int]) -> int:
    """To what can be told apart so far ahead."""
    step = FINE_MS if duration_ms < FINE_BELOW_MS else COARSE_MS
    return step * whole(duration_ms / step)
