"""A line of callers on a virtual clock: what each is told of the wait, and how long it was. Nothing here takes time."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from sluiceway.calls.estimate import Holding, estimate
from sluiceway_contracts import Wait

AGENTS = 5
MEAN_S = 240.0
RUSH_S, QUIET_S = 1800.0, 5400.0
"""Half an hour of rush, a quiet hour and a half, and so on; the agents together end 75 calls an hour."""
QUIET_PER_HOUR, RUSH_PER_HOUR = 40.0, 150.0

Draw = Callable[[random.Random], float]
_SIGMA = 0.9
HOLDING_TIMES: Mapping[str, Draw] = {
    "lognormal": lambda chance: chance.lognormvariate(math.log(MEAN_S) - _SIGMA**2 / 2, _SIGMA),
    "exponential": lambda chance: chance.expovariate(1 / MEAN_S),
    "Erlang-3": lambda chance: chance.gammavariate(3, MEAN_S / 3),
}
"""How long a call holds an agent, in seconds; their coefficients of variation are 1.12, 1 and 0.58."""


class Told(NamedTuple):
    """What somebody who had to wait was told, if anything, and how long they waited from then."""

    wait: Wait | None
    waited_ms: float

    @property
    def is_true(self) -> bool:
        return self.wait is not None and self.wait.low <= self.waited_ms <= self.wait.high

    @property
    def relative_width(self) -> float:
        """The range's width to its middle."""
        assert self.wait is not None
        return 2 * (self.wait.high - self.wait.low) / (self.wait.high + self.wait.low)


class Figures(NamedTuple):
    """Of all who had to wait: how many, what share was told a range, how often it was true, its median width."""

    waits: int
    told: float
    true: float
    width_ms: float
    relative_width: float


class Played(NamedTuple):
    """What was told on arrival, and at each step forward from then."""

    arriving: list[Told]
    moving: list[Told]


def figures(told: Iterable[Told]) -> Figures:
    everybody = list(told)
    ranges = [(one, one.wait) for one in everybody if one.wait is not None]
    return Figures(
        len(everybody),
        len(ranges) / len(everybody),
        sum(one.is_true for one, _ in ranges) / len(ranges),
        statistics.median(wait.high - wait.low for _, wait in ranges),
        statistics.median(one.relative_width for one, _ in ranges),
    )


def arrivals(chance: random.Random, requests: int) -> Iterator[float]:
    """Poisson, by thinning: when somebody asks for a call, in seconds."""
    at = 0.0
    while requests:
        at += chance.expovariate(RUSH_PER_HOUR / 3600)
        is_rush = at % (RUSH_S + QUIET_S) < RUSH_S
        if is_rush or chance.random() < QUIET_PER_HOUR / RUSH_PER_HOUR:
            requests -= 1
            yield at


class Line:
    """First come, first served; whoever can't be put through at once is told their wait, and again as they move up."""

    def __init__(self, chance: random.Random, draw: Draw) -> None:
        self._chance = chance
        self._draw = draw
        self._holding = Holding()
        self._busy: list[tuple[float, float]] = []
        self._waiting: deque[list[tuple[float, Wait | None]]] = deque()
        self.played = Played([], [])

    def arrive(self, at: float) -> None:
        self.pass_time(at)
        if len(self._busy) < AGENTS:
            self._put_through(at)
        else:
            self._waiting.append([(at, estimate(self._holding, len(self._waiting) + 1, AGENTS))])

    def pass_time(self, until: float = math.inf) -> None:
        while self._busy and self._busy[0][0] <= until:
            at, held = heapq.heappop(self._busy)
            self._holding = self._holding.after(round(1000 * held))
            if self._waiting:
                self._put_through(at)
                self._note(at)

    def _put_through(self, at: float) -> None:
        held = self._draw(self._chance)
        heapq.heappush(self._busy, (at + held, held))

    def _note(self, at: float) -> None:
        first, *moves = [Told(wait, 1000 * (at - then)) for then, wait in self._waiting.popleft()]
        self.played.arriving.append(first)
        self.played.moving.extend(moves)
        for place, told in enumerate(self._waiting, 1):
            told.append((at, estimate(self._holding, place, AGENTS)))


def play(draw: Draw, seed: int, requests: int = 1000) -> Played:
    """One line from its first call to its last."""
    chance = random.Random(seed)
    line = Line(chance, draw)
    for at in list(arrivals(chance, requests)):
        line.arrive(at)
    line.pass_time()
    return line.played
