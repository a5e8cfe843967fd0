"""How much an account may send, and to where: a stolen login must not ring up a bill. Refuses, never waits.

Recipients are counted in the process, since one serves an account at a time; tenants in KV, where all processes agree.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from .accounts import Served
from .bus.store import Bucket, Conflict
from .checks import Refusal
from .ledger import Ledger
from .locks import Locks
from .sections import Limits

HOUR_S = 3600
MAX_REMEMBERED = 200_000
BLOCKS = 50
"""A process takes a tenant's quota in so many helpings, to write to KV once for each."""


class Quota(Struct, frozen=True):
    """`<tenant>.n.hour`: how much of this clock hour's quota processes have taken."""

    hour: int
    taken: int


class Quotas:
    """What each tenant may still send in this clock hour (UTC), whichever process sends it."""

    def __init__(self, bucket: Bucket[Quota], per_hour: int, clock: Callable[[], float] = time.time) -> None:
        self._bucket = bucket
        self._per_hour = per_hour
        self._clock = clock
        self._left: dict[str, tuple[int, int]] = {}
        self._locks = Locks()

    async def take(self, tenant: str) -> bool:
        """Whether one more may go, which is counted. Raises `Unavailable`."""
        if not self._per_hour:
            return True
        async with self._locks.of(tenant):
            hour = int(self._clock() // HOUR_S)
            known, left = self._left.get(tenant, (-1, 0))
            if known != hour or left == 0:
                left = await self._reserve(tenant, hour) or -1
            self._left[tenant] = (hour, max(left - 1, -1))
            return left > 0

    async def _reserve(self, tenant: str, hour: int) -> int:
        """How many more this process may count for itself; 0 where all are taken, which they remain."""
        key = f"{tenant}.n.hour"
        while True:
            found = await self._bucket.get(key)
            now = max(hour, found.value.hour) if found else hour
            taken = found.value.taken if found and found.value.hour == now else 0
            helping = min(-(-self._per_hour // BLOCKS), self._per_hour - taken)
            if helping <= 0:
                return 0
            try:
                await self._bucket.update(key, Quota(now, taken + helping), found.revision if found else 0)
            except Conflict:
                continue
            return helping


class Recent:
    """What was counted in the last hour, by key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[str, tuple[float, ...]] = OrderedDict()

    def count(self, key: str) -> int:
        """How often in the last hour."""
        return len(self._fresh(key))

    def add(self, key: str) -> None:
        self._times[key] = (*self._fresh(key), self._clock())
        self._times.move_to_end(key)
        while self._times and self._is_stale(next(iter(self._times.values()))):
            self._times.popitem(last=False)
        if len(self._times) > MAX_REMEMBERED:
            self._times.popitem(last=False)

    def take_back(self, key: str) -> None:
        """Forget the last time."""
        self._times[key] = self._times.get(key, ())[:-1]

    def _fresh(self, key: str) -> tuple[float, ...]:
        since = self._clock() - HOUR_S
        return tuple(at for at in self._times.get(key, ()) if at > since)

    def _is_stale(self, times: tuple[float, ...]) -> bool:
        return not times or times[-1] <= self._clock() - HOUR_S


class Caps:
    """One account's caps, by `[limits]`."""

    def __init__(
        self,
        served: Served,
        limits: Limits,
        quotas: Quotas,
        ledger: Ledger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant = served.tenant
        self._destinations = tuple(f"tel:{prefix}" for prefix in limits.destinations)
        self._by_phone = "tel" in served.gateway.schemes
        self._per_recipient = limits.per_recipient_hour
        self._counts = bool(limits.per_recipient_hour or limits.per_tenant_hour)
        self._quotas = quotas
        self._ledger = ledger
        self._recipients = Recent(clock)
        self._messages = Recent(clock)

    async def admit(self, message_id: str, recipient: str, attempt: int = 1) -> None:
        """Return if it may be sent, and count it, once. Raises `Refusal` or `Unavailable`.

        What was begun before is finished, whatever the caps say now: a piece of it may have gone out.
        """
        why = self._destination(recipient) or (await self._number(message_id, recipient) if self._counts else None)
        if why is not None and await self._ledger.get(self._tenant, message_id, attempt) is None:
            raise why

    def _destination(self, recipient: str) -> Refusal | None:
        if not (self._by_phone and self._destinations) or recipient.startswith(self._destinations):
            return None
        return Refusal("destination_not_allowed", "the number begins with none of the prefixes in limits.destinations")

    async def _number(self, message_id: str, recipient: str) -> Refusal | None:
        if self._messages.count(message_id):
            return None
        if self._per_recipient and self._recipients.count(recipient) >= self._per_recipient:
            return Refusal("too_many", f"the recipient was sent {self._per_recipient} messages within an hour")
        self._messages.add(message_id)  # before anything is waited for: lanes run side by side
        self._recipients.add(recipient)
        taken = False
        try:
            taken = await self._quotas.take(self._tenant)
        finally:
            if not taken:
                self._messages.take_back(message_id)
                self._recipients.take_back(recipient)
        return None if taken else Refusal("too_many", "the tenant has sent all that limits.per_tenant_hour allows")
