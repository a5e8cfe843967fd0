"""Contacts as KV has them, and as this process remembers them: read, changed by compare-and-set, told of.

What is remembered is kept right by the bucket's own updates (`follow`), and forgotten when the connection was lost.
Decides nothing about what a change is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog
from msgspec import Struct

from sluiceway_contracts import ConversationOpened, Event

from . import metrics
from .bus.link import Ack, Link
from .bus.reader import Reader, Stored
from .bus.store import Bucket, Conflict, Entry
from .cache import Cache
from .contacts import Change, ContactRecord, ConversationRecord
from .errors import Unavailable
from .patience import surely
from .stream import EventStream

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Struct)

CACHE_SIZE = 100_000
RETRY_S = 0.25
SEEN_SIZE = 10_000
TRIES = 50
BEHIND_TRIES = 3
BEHIND_PAUSE_S = 0.05
"""A replica that answers with less than we were told of already is asked again."""


class Table(Protocol[T]):
    """Where records of one kind are kept. A database may stand in for NATS KV."""

    async def get(self, key: str) -> Entry[T] | None:
        """The latest value and its revision. Raises `Unavailable`."""

    async def create(self, key: str, value: T) -> int:
        """Write a key that isn't there and return its revision. Raises `Conflict` or `Unavailable`."""

    async def update(self, key: str, value: T, revision: int) -> int:
        """Write the key if its revision is still this one; return the new one. Raises `Conflict` or `Unavailable`."""

    async def delete(self, key: str, revision: int) -> None:
        """Remove the key if its revision is still this one. Raises `Conflict` or `Unavailable`."""


class Person(NamedTuple):
    """A contact, as it is now."""

    contact: str
    record: ContactRecord


class Directory:
    """The contacts of all tenants."""

    def __init__(
        self,
        link: Link,
        bucket: str,
        stream: EventStream,
        table: Table[ContactRecord] | None = None,
        conversations: Table[ConversationRecord] | None = None,
        read: Callable[[bytes], ContactRecord | None] | None = None,
    ) -> None:
        """`read` decodes a contact as the bucket has it; None where it can't at once."""
        self._link = link
        self._bucket = bucket
        self._stream = stream
        self._table = table or Bucket(link, bucket, ContactRecord)
        self._conversations: Table[ConversationRecord] = conversations or Bucket(link, bucket, ConversationRecord)
        self._read = read or msgspec.json.Decoder(ContactRecord).decode
        self._owners: Cache[tuple[str, str], str] = Cache(CACHE_SIZE)
        self._entries: Cache[str, Entry[ContactRecord]] = Cache(CACHE_SIZE)
        self._seen: Cache[str, int] = Cache(SEEN_SIZE)
        link.on_reconnect += [self._entries.clear, self._owners.clear]

    async def follow(self, tenant: str = "*") -> None:
        """Keep what is remembered of a tenant's contacts right, until cancelled; `*` stands for every tenant."""
        reader = Reader(self._link, f"KV_{self._bucket}")
        since = await surely(reader.end)
        while True:
            try:
                async for stored in reader.messages(f"$KV.{self._bucket}.{tenant}.c.*", since):
                    since = stored.sequence + 1
                    self._update(stored)
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    def _update(self, stored: Stored) -> None:
        key = stored.subject.removeprefix(f"$KV.{self._bucket}.")
        self._seen.put(key, stored.sequence)
        known = self._entries.get(key)
        if known is not None and known.revision < stored.sequence:
            self._entries.pop(key)
            with contextlib.suppress(msgspec.MsgspecError):  # deleted, or a later version's: it is read when needed
                record = self._read(stored.data)
                if record is not None:
                    self._keep(key, Entry(record, stored.sequence))

    def known(self, tenant: str, contact: str) -> ContactRecord | None:
        """The contact, if it is remembered."""
        entry = self._entries.get(_key(tenant, contact))
        return entry.value if entry is not None else None

    async def find(self, tenant: str, contact: str) -> Person | None:
        """Who the contact is now, whomever it was merged into; None where there is none. Raises `Unavailable`."""
        contact, record = await self.trace(tenant, contact)
        return Person(contact, record) if record is not None else None

    async def trace(self, tenant: str, contact: str) -> tuple[str, ContactRecord | None]:
        """Who the contact is now, and what is known; nothing of somebody whose record is gone. Raises `Unavailable`."""
        for _ in range(TRIES):
            way: dict[str, ContactRecord] = {}
            while contact not in way:
                entry = await self._get(_key(tenant, contact))
                if entry is None or entry.value.merged_into is None:
                    return contact, entry.value if entry is not None else None
                way[contact] = entry.value
                contact = entry.value.merged_into
            await self._open(tenant, contact)
        raise Unavailable(f"the contact {contact} was merged in a circle")

    async def _open(self, tenant: str, contact: str) -> None:
        """Two were joined to each other at once: whoever has not arrived yet stays, of several the oldest."""
        circle = [contact]
        records: dict[str, ContactRecord] = {}
        for member in circle:
            self.forget(tenant, member)
            entry = await self._get(_key(tenant, member))
            if entry is None or entry.value.merged_into is None:
                return  # it was opened meanwhile
            records[member] = entry.value
            if entry.value.merged_into not in records:
                circle.append(entry.value.merged_into)
        waiting = [member for member in circle if not _has_arrived(member, records)]
        if waiting:
            oldest = min(waiting)
            await self.change(tenant, oldest, lambda record: _released(record, records[oldest]))

    def forget(self, tenant: str, contact: str) -> None:
        """Look at the record itself next time: what others wrote just now may not have been told yet."""
        self._entries.pop(_key(tenant, contact))

    async def whose(self, tenant: str, conversation: str) -> str | None:
        """The contact that a conversation began with; None where there is none. Raises `Unavailable`."""
        contact = self._owners.get((tenant, conversation))
        if contact is None:
            found = await self._conversations.get(f"{tenant}.v.{conversation}")
            if found is None:
                return None
            contact = found.value.contact
            self._owners.put((tenant, conversation), contact)
        return contact

    async def exact(self, tenant: str, contact: str) -> ContactRecord | None:
        """The record of this very contact, merged or not. Raises `Unavailable`."""
        entry = await self._get(_key(tenant, contact))
        return entry.value if entry is not None else None

    async def reread(self, tenant: str, contact: str) -> ContactRecord | None:
        """As `exact`, whatever is remembered. Raises `Unavailable`."""
        self._entries.pop(_key(tenant, contact))
        return await self.exact(tenant, contact)

    async def announce_gone(self, tenant: str, contact: str, ttl_s: int) -> None:
        """Have every process forget a contact that was erased. Raises `Unavailable`."""
        await Bucket(self._link, self._bucket, ContactRecord).mark_deleted(_key(tenant, contact), ttl_s)

    async def create(self, tenant: str, contact: str, record: ContactRecord) -> tuple[Event, ...]:
        """Write a new contact and tell of it; the events told. Raises `Conflict` or `Unavailable`."""
        key = _key(tenant, contact)
        return await self._tell(key, Entry(record, await self._table.create(key, record)))

    async def change(
        self, tenant: str, contact: str, step: Callable[[ContactRecord], ContactRecord]
    ) -> tuple[ContactRecord, tuple[Event, ...]]:
        """Take a step from the record as it is, until nobody else was faster, and tell of it.

        Returns the record and the events that this call told. Raises `Unavailable`.
        """
        key = _key(tenant, contact)
        for _ in range(TRIES):
            entry = await self._get(key)
            if entry is None:
                raise Unavailable(f"the contact {contact} was written and can't be read yet; a replica is behind")
            after = step(entry.value)
            if after is not entry.value:
                try:
                    entry = Entry(after, await self._table.update(key, after, entry.revision))
                except Conflict:
                    self._entries.pop(key)
                    continue
            told = await self._tell(key, entry)
            return msgspec.structs.replace(entry.value, untold=()), told
        raise Unavailable(f"the contact {contact} keeps changing")

    async def change_now(
        self, change: Change, step: Callable[[Change, ContactRecord], ContactRecord]
    ) -> tuple[Person, tuple[Event, ...]]:
        """As `change`, of whoever the contact is at that moment. Raises `Unavailable`."""
        for _ in range(TRIES):
            contact, _record = await self.trace(change.tenant, change.contact)
            mine = change._replace(contact=contact)
            record, told = await self.change(change.tenant, contact, partial(_if_present, change=mine, step=step))
            if record.merged_into is None:
                return Person(contact, record), told
        raise Unavailable(f"the contact {change.contact} keeps being merged")

    async def _get(self, key: str) -> Entry[ContactRecord] | None:
        entry = self._entries.get(key)
        if entry is not None:
            return entry
        for number in range(BEHIND_TRIES):
            if number:
                await asyncio.sleep(BEHIND_PAUSE_S)
            entry = await self._table.get(key)
            if entry is None or self._keep(key, entry):
                return entry
        raise Unavailable(f"the contact {key} was changed and can't be read yet; a replica is behind")

    async def _tell(self, key: str, entry: Entry[ContactRecord]) -> tuple[Event, ...]:
        """Publish what is untold, and strike it out; nothing is told where another process struck it out first."""
        if not entry.value.untold:
            self._keep(key, entry)
            return ()
        self._keep(key, entry)
        events = tuple(Event.decode(bytes(raw)) for raw in entry.value.untold)
        for event in events:
            await self._publish(event)
        after = msgspec.structs.replace(entry.value, untold=())
        try:
            self._keep(key, Entry(after, await self._table.update(key, after, entry.revision)))
        except Conflict:
            self._entries.pop(key)
            return ()
        return events

    async def _publish(self, event: Event) -> None:
        """Also, for a conversation that begins, note whose it is."""
        if not isinstance(event.data, ConversationOpened):
            await self._stream.publish(event)
            return
        key = f"{event.tenant}.v.{event.data.conversation_id}"
        record = ConversationRecord(event.data.contact_id)
        done = await asyncio.gather(
            self._conversations.create(key, record), self._stream.publish(event), return_exceptions=True
        )
        for error in done:
            if isinstance(error, BaseException) and not isinstance(error, Conflict):
                raise error
        if isinstance(done[1], Ack) and not done[1].duplicate:
            metrics.count(metrics.conversations_opened, event.account or "", event.data.channel).inc()

    def _keep(self, key: str, entry: Entry[ContactRecord]) -> bool:
        """Remember it, unless it is told already that there is something newer; whether it was so."""
        newest = (self._seen.get(key) or 0) <= entry.revision
        if newest:
            self._entries.put(key, entry)
        return newest


def _has_arrived(contact: str, records: Mapping[str, ContactRecord]) -> bool:
    """Whether who this contact is now knows of it."""
    into = records.get(records[contact].merged_into or "")
    return into is not None and into.brought(contact, records[contact].undo) is not None


def _if_present(
    record: ContactRecord, *, change: Change, step: Callable[[Change, ContactRecord], ContactRecord]
) -> ContactRecord:
    return step(change, record) if record.merged_into is None else record


def _released(record: ContactRecord, before: ContactRecord) -> ContactRecord:
    if msgspec.structs.replace(record, untold=()) != msgspec.structs.replace(before, untold=()):
        return record
    return msgspec.structs.replace(record, merged_into=None, undo=None)


def _key(tenant: str, contact: str) -> str:
    return f"{tenant}.c.{contact}"
