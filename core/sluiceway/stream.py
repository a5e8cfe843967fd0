"""Events on their way to the stream: encoded, addressed, stored, counted. Decides nothing about what they say."""

from __future__ import annotations

import time

from sluiceway_contracts import Event

from . import metrics
from .bus.link import Ack, Link, Refused
from .errors import Unavailable


class EventStream:
    """Publishes events of one deployment."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    async def publish(self, event: Event) -> Ack:
        """Store an event; `duplicate` says that it was there already. Raises `Unavailable`."""
        started = time.perf_counter()
        try:
            ack = await self._link.publish(event.nats_subject(self._prefix), event.encode(), event.headers())
        except Refused as error:
            raise Unavailable(f"the stream refuses: {error}") from error
        metrics.publish_seconds.observe(time.perf_counter() - started)
        return ack
