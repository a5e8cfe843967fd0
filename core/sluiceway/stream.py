"""Events on their way to the stream: encoded, addressed, stored, counted; tried again while there is time.

Decides nothing about what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from sluiceway_contracts import Event

from . import metrics
from .bus.link import Ack, Link, Refused
from .errors import Unavailable

PUBLISH_BUDGET_S = 0.8
"""All tries together: a provider waits a second for its answer (LINE 2 s, Slack 3 s)."""
PAUSE_S = 0.05


def nobody(account: str) -> bool:
    return False


class EventStream:
    """Publishes events of one deployment. Only accounts that are `ours` are counted by their name."""

    def __init__(self, link: Link, prefix: str, ours: Callable[[str], bool] = nobody) -> None:
        self._link = link
        self._prefix = prefix
        self._ours = ours
        self._reconnected = asyncio.Event()
        link.on_reconnect.append(self._wake)

    async def publish(self, event: Event) -> Ack:
        """Store an event; `duplicate` says that it was there already. Raises `Unavailable`, after `PUBLISH_BUDGET_S`.

        A try that was not answered may have stored it: the next has the same Nats-Msg-Id, so it is stored once.
        """
        started = time.perf_counter()
        subject, payload, headers = event.nats_subject(self._prefix), event.encode(), event.headers()
        left_s = PUBLISH_BUDGET_S
        ack = None
        while ack is None:
            try:
                ack = await self._link.publish(subject, payload, headers, left_s)
            except Refused as error:
                raise Unavailable(f"the stream refuses: {error}") from error
            except Unavailable:
                left_s = started + PUBLISH_BUDGET_S - time.perf_counter()
                if left_s <= PAUSE_S or not await self._is_back(left_s):
                    raise
                left_s = max(PAUSE_S, started + PUBLISH_BUDGET_S - time.perf_counter())
        account = event.account if event.account is not None and self._ours(event.account) else ""
        metrics.timed(metrics.publish_seconds, account).observe(time.perf_counter() - started)
        if ack.duplicate:
            metrics.count(metrics.published_again, account).inc()
        return ack

    async def _is_back(self, within_s: float) -> bool:
        """Wait until NATS may take it: a moment where we are connected, else until we are again."""
        if self._link.connected:
            await asyncio.sleep(PAUSE_S)
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._reconnected.wait()
        return self._link.connected

    def _wake(self) -> None:
        self._reconnected.set()
        self._reconnected = asyncio.Event()
