"""The stream of events, read by one process at a time, one event after the other. Decides nothing about them."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import structlog

from sluiceway_contracts import Event, Undecodable, subjects

from .bus.consumer import Consumer, Delivery
from .errors import SluicewayError
from .patience import surely

log = structlog.get_logger(__name__)

Hear = Callable[[str, Event, int], Awaitable[None]]
"""Is told an event of a tenant, with its number in the stream, perhaps more than once. Raises `Unavailable`."""


async def hear_all(consumer: Consumer, prefix: str, hear: Hear) -> None:
    """Read until cancelled; then another process may.

    What can't be read, or breaks `hear`, is logged and passed over.
    """
    try:
        async for delivery in consumer.deliveries():
            await _one(delivery, prefix, hear)
    finally:
        with contextlib.suppress(SluicewayError):
            await consumer.release()


async def _one(delivery: Delivery, prefix: str, hear: Hear) -> None:
    try:
        tenant = subjects.parse_event(delivery.subject, prefix=prefix).tenant
        await surely(hear, tenant, Event.decode(delivery.data), delivery.sequence)
    except (Undecodable, subjects.InvalidSubject) as error:
        log.warning("event.unreadable", why=str(error))
    except Exception:  # one event's fault is no other's
        log.exception("event.broken")
    await delivery.ack()
