"""The records of conversations and contacts, made from the stream of events and kept in KV, by one replica at a time.

Waiting events are taken together, folded in memory, and each record that they change is written once, by
compare-and-set; then they are acknowledged. Whoever takes over begins at what was not acknowledged: the fold skips
what a record has already. Publishes nothing, answers nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from sluiceway_contracts import ContactErased, Event, Undecodable, subjects

from .bus.consumer import Consumer, Delivery
from .bus.link import Link
from .bus.store import Conflict
from .bus.streams import Layout
from .errors import SluicewayError
from .patience import surely
from .records import Records
from .state import Key, Record, fold, keys, stands_alone
from .tombstones import erase

log = structlog.get_logger(__name__)

DURABLE = "state"
BATCH = 256
CONFLICT_PAUSE_S = 0.05


Listener = Callable[[str, Event], Awaitable[None]]
"""Is told each event of a tenant when its records are written, perhaps more than once. Raises `Unavailable`."""


class Told(NamedTuple):
    """An event as it stands in the stream."""

    tenant: str
    event: Event
    sequence: int


class Projection:
    """Keeps the records of all tenants."""

    def __init__(self, consumer: Consumer, records: Records, prefix: str, listener: Listener | None = None) -> None:
        self._records = records
        self._listener = listener
        self._consumer = consumer
        self._prefix = prefix
        self._epoch = 0

    @staticmethod
    async def create(link: Link, layout: Layout, prefix: str, listener: Listener | None = None) -> Projection:
        """With its durable consumer. Raises `ConsumerError` or `Unavailable`."""
        consumer = Consumer(link, layout.events, DURABLE, f"{prefix}.{subjects.VERSION}.*.events.>", in_order=True)
        await consumer.create()
        return Projection(consumer, Records(link, layout.state), prefix, listener)

    async def run(self) -> None:
        """Until cancelled; then the pin is given up."""
        waiting: asyncio.Queue[Delivery] = asyncio.Queue(BATCH)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(waiting))
                tasks.create_task(self._project(waiting))
        finally:
            try:
                await self._consumer.release()
            except SluicewayError as error:
                log.info("projection.not_released", why=str(error))

    async def _read(self, waiting: asyncio.Queue[Delivery]) -> None:
        async for delivery in self._consumer.deliveries():
            await waiting.put(delivery)

    async def _project(self, waiting: asyncio.Queue[Delivery]) -> None:
        while True:
            batch = [await waiting.get()]
            while not waiting.empty() and len(batch) < BATCH:
                batch.append(waiting.get_nowait())
            await self._take(batch)

    async def _take(self, batch: Sequence[Delivery]) -> None:
        """Return when all that it changes is stored, and acknowledge it. Of an older pin everything comes again."""
        batch = [delivery for delivery in batch if delivery.epoch == self._consumer.epoch]
        if not batch:
            return
        if batch[-1].epoch != self._epoch:
            self._epoch = batch[-1].epoch
            self._records.forget()
        for group in _groups(self._told(batch)):
            await surely(self._store, group)
            if self._listener is not None:
                for told in group:
                    await surely(self._listener, told.tenant, told.event)
        await batch[-1].ack()

    def _told(self, batch: Sequence[Delivery]) -> Iterator[Told]:
        for delivery in batch:
            try:
                subject = subjects.parse_event(delivery.subject, prefix=self._prefix)
                event = Event.decode(delivery.data)
                for key in keys(event):
                    key.at(subject.tenant)
            except (Undecodable, subjects.InvalidSubject) as error:
                log.warning("projection.skipped", sequence=delivery.sequence, why=type(error).__name__)
            else:
                yield Told(subject.tenant, event, delivery.sequence)

    async def _store(self, group: Sequence[Told]) -> None:
        """Fold and write until nobody else has written in between. Raises `Unavailable`; doing it again is safe."""
        while True:
            by_tenant: dict[str, list[Told]] = {}
            for told in group:
                by_tenant.setdefault(told.tenant, []).append(told)
            try:
                await _all([self._store_of(tenant, events) for tenant, events in by_tenant.items()])
            except Conflict:
                log.info("projection.conflict")
                await asyncio.sleep(CONFLICT_PAUSE_S)  # what was read may have been a lagging replica's
            else:
                return

    async def _store_of(self, tenant: str, group: Sequence[Told]) -> None:
        first = group[0]
        if isinstance(first.event.data, ContactErased):
            await erase(self._records, tenant, first.event.data.contact_id, first.event.time)
            return
        held = await self._records.load(tenant, dict.fromkeys(key for told in group for key in keys(told.event)))
        records: dict[Key, Record | None] = {key: one.record for key, one in held.items()}
        changed: dict[Key, Record] = {}
        for told in group:
            new = _folded(told, records)
            changed |= new
            records |= new
        together = [[one] for one in changed.items()] if stands_alone(first.event) else [list(changed.items())]
        for some in together:
            await _all([self._records.write(tenant, key, record, held[key].revision) for key, record in some])


async def _all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do it at once. Raises the first `Conflict` or `Unavailable` when each has ended."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _groups(events: Iterable[Told]) -> Iterator[list[Told]]:
    """In order; what must stand alone does."""
    group: list[Told] = []
    for told in events:
        if not stands_alone(told.event):
            group.append(told)
            continue
        if group:
            yield group
        yield [told]
        group = []
    if group:
        yield group


def _folded(told: Told, records: Mapping[Key, Record | None]) -> dict[Key, Record]:
    try:
        return fold(told.event, told.sequence, records)
    except Exception:  # one event's fault is no other's
        log.exception("projection.broken", sequence=told.sequence, type=told.event.type)
        return {}
