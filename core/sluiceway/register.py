"""A tenant's accounts, as the gateways that serve them announce them. Reads the register, writes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from .accounts import Notice
from .bus.store import Bucket
from .cache import Cache
from .locks import Locks

FRESH_S = 2.0
"""For how long what was read is taken to hold: an account that pauses keeps its commands, so that nothing is lost."""
TENANTS = 1000

Accounts = Mapping[tuple[str, str], Notice]
"""By channel and name."""


class Register:
    """Accounts by tenant."""

    def __init__(self, bucket: Bucket[Notice]) -> None:
        self._bucket = bucket
        self._locks = Locks()
        self._known: Cache[str, tuple[float, Accounts]] = Cache(TENANTS)

    async def accounts(self, tenant: str) -> Accounts:
        """Raises `Unavailable`."""
        async with self._locks.of(tenant):  # one look, however many ask
            read_at, known = self._known.get(tenant) or (float("-inf"), {})
            if time.monotonic() - read_at > FRESH_S:
                known = await self._read(tenant)
                self._known.put(tenant, (time.monotonic(), known))
            return known

    async def _read(self, tenant: str) -> Accounts:
        keys = await self._bucket.keys(f"{tenant}.")
        entries = await asyncio.gather(*map(self._bucket.get, keys))
        return {
            (channel, name): entry.value
            for (_, channel, name), entry in zip((key.split(".") for key in keys), entries, strict=True)
            if entry is not None
        }
