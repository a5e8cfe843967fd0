"""What is wrong over and over: told when it is new, after that once a minute with how often. Logs nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_S = 60.0
MAX_KNOWN = 100


class Refrain:
    """Texts that come again, each for itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}
        self._times: dict[str, int] = {}

    def times(self, text: str) -> int:
        """How often it came since it was told last, this time included; 0: it need not be told now."""
        now, times = self._clock(), self._times.get(text, 0) + 1
        if now - self._told.get(text, -EVERY_S) < EVERY_S:
            self._times[text] = times
            return 0
        if len(self._told) >= MAX_KNOWN and text not in self._told:
            self._told.clear()
            self._times.clear()
        self._told[text], self._times[text] = now, 0
        return times
