"""Contacts as KV has them, and as this process remembers them: read, changed by compare-and-set, told of.

What is remembered is kept right by the bucket's own updates (`follow`), and forgotten when the connection was lost.
Decides nothing about what a change is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import structlog
from msgspec import Struct

from sluiceway_contracts import ConversationOpened, Event

from . import metrics
from .bus.link import Link
from .bus.reader import Reader
from .bus.store import Bucket, Conflict, Entry
from .cache import Cache
from .contacts import ContactRecord, ConversationRecord
from .errors import Unavailable
from .stream import EventStream

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Struct)

CACHE_SIZE = 100_000
SEEN_SIZE = 10_000
REDIRECTS = 32
TRIES = 50


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

    async def follow(self) -> None:
        """Keep what is remembered right, until cancelled."""
        reader = Reader(self._link, f"KV_{self._bucket}")
        start = f"$KV.{self._bucket}."
        async for stored in reader.messages(f"{start}*.c.*", await reader.end()):
            key = stored.subject.removeprefix(start)
            self._seen.put(key, stored.sequence)
            known = self._entries.get(key)
            if known is not None and known.revision < stored.sequence:
                self._entries.pop(key)
                record = self._read(stored.data) if stored.data else None
                if record is not None:
                    self._keep(key, Entry(record, stored.sequence))

    def known(self, tenant: str, contact: str) -> ContactRecord | None:
        """The contact, if it is remembered."""
        entry = self._entries.get(_key(tenant, contact))
        return entry.value if entry is not None else None

    async def find(self, tenant: str, contact: str) -> Person | None:
        """Who the contact is now, whomever it was merged into; None where there is none. Raises `Unavailable`."""
        for _ in range(REDIRECTS):
            entry = await self._get(_key(tenant, contact))
            if entry is None:
                return None
            if entry.value.merged_into is None:
                return Person(contact, entry.value)
            contact = entry.value.merged_into
        raise Unavailable(f"the contact {contact} was merged in a circle")

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

    async def _get(self, key: str) -> Entry[ContactRecord] | None:
        entry = self._entries.get(key)
        if entry is None:
            entry = await self._table.get(key)
            if entry is not None:
                self._keep(key, entry)
        return entry

    async def _tell(self, key: str, entry: Entry[ContactRecord]) -> tuple[Event, ...]:
        """Publish what is untold, and strike it out; nothing is told where another process struck it out first."""
        if not entry.value.untold:
            self._keep(key, entry)
            return ()
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
        metrics.count(metrics.conversations_opened, event.data.channel).inc()

    def _keep(self, key: str, entry: Entry[ContactRecord]) -> None:
        """Remember it, unless it is told already that there is something newer."""
        if (self._seen.get(key) or 0) <= entry.revision:
            self._entries.put(key, entry)


def _key(tenant: str, contact: str) -> str:
    return f"{tenant}.c.{contact}"
