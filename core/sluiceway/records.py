"""The bucket of conversations' and contacts' records, with a cache for the one process that writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from sluiceway_contracts import ContactState, ConversationState

from .bus.link import Link
from .bus.store import Bucket
from .cache import Cache
from .state import CONVERSATION, Key, Record

CACHE_SIZE = 20_000
"""Records: about 1.5 KB each in memory."""


class Held(NamedTuple):
    """A record as it is in the bucket, None where there is none; and its revision there, 0 where it never was."""

    record: Record | None
    revision: int


class Records:
    """The bucket, behind a cache that only this process's writes go through."""

    def __init__(self, link: Link, bucket: str) -> None:
        self._conversations = Bucket(link, bucket, ConversationState)
        self._contacts = Bucket(link, bucket, ContactState)
        self._cache: Cache[str, Held] = Cache(CACHE_SIZE)
        link.on_reconnect.append(self._cache.clear)

    def forget(self) -> None:
        """Somebody else may have written."""
        self._cache.clear()

    async def load(self, tenant: str, wanted: Iterable[Key]) -> dict[Key, Held]:
        """Records as they are, asked for at once where they are not in the cache. Raises `Unavailable`."""
        found = {key: self._cache.get(key.at(tenant)) for key in wanted}
        missing = [key for key, held in found.items() if held is None]
        looked = await asyncio.gather(*(self._look(tenant, key) for key in missing))
        known = {key: held for key, held in found.items() if held is not None}
        return known | dict(zip(missing, looked, strict=True))

    async def write(self, tenant: str, key: Key, record: Record, revision: int) -> None:
        """Replace a record that still has this revision. Raises `Conflict` or `Unavailable`; both forget it."""
        at = key.at(tenant)
        self._cache.pop(at)
        if isinstance(record, ConversationState):
            written = await self._conversations.update(at, record, revision)
        else:
            written = await self._contacts.update(at, record, revision)
        self._cache.put(at, Held(record, written))

    async def _look(self, tenant: str, key: Key) -> Held:
        bucket: Bucket[ConversationState] | Bucket[ContactState]
        bucket = self._conversations if key.kind == CONVERSATION else self._contacts
        held = Held(*await bucket.look(key.at(tenant)))
        self._cache.put(key.at(tenant), held)
        return held
