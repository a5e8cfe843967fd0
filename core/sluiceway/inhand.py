"""Commands that a process was given and has not finished: which, how many, how old the oldest is. Does none of them."""

from __future__ import annotations

import time
from collections.abc import Hashable

from . import metrics
from .bus.consumer import Consumer, Delivery


class InHand:
    """Those of one account, `metrics.commands_oldest` and `commands_waiting`. Commands are added in their order."""

    def __init__(self, account: str, consumer: Consumer) -> None:
        self.epoch = 0
        self._account = account
        self._consumer = consumer
        self._since: dict[Hashable, float] = {}

    def watch(self) -> None:
        """Let Prometheus ask."""
        metrics.commands_oldest.labels(self._account).set_function(self._age_s)
        metrics.commands_waiting.labels(self._account).set_function(self._count)

    def forget(self) -> None:
        """Another process has them now, or nobody."""
        self._since.clear()
        for gauge in (metrics.commands_oldest, metrics.commands_waiting):
            metrics.forget(self._account, gauge)

    def begins(self, delivery: Delivery) -> bool:
        """Whether it is the first under a new pin: then all that was in hand comes again, and is forgotten here."""
        if delivery.epoch == self.epoch:
            return False
        self.epoch = delivery.epoch
        self._since.clear()
        return True

    def add(self, key: Hashable, delivery: Delivery) -> bool:
        """Whether it was not in hand yet: what is not acknowledged for long comes again."""
        if key in self._since:
            return False
        self._since[key] = delivery.stored_at
        return True

    def done(self, key: Hashable, delivery: Delivery) -> None:
        """It is finished, unless it was given anew meanwhile."""
        if delivery.epoch == self.epoch:
            self._since.pop(key, None)

    def _age_s(self) -> float:
        oldest = next(iter(self._since.values()), None)
        return max(0.0, time.time() - oldest) if oldest is not None else 0.0

    def _count(self) -> float:
        return len(self._since) + self._consumer.behind
