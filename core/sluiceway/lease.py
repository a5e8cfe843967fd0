"""One of several processes at a time: a lease in KV, held by writing it again and again, lost when that stops.

No clock is compared with another's: who waits for a lease watches whether its record changes, by its own clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine
from typing import Any

import structlog
from msgspec import Struct

from .bus.store import Bucket, Conflict
from .errors import Unavailable

log = structlog.get_logger(__name__)

BEAT_S = 3.0
LOST_S = 15.0
"""Who has not been able to write for so long has lost it; others take it after as long without a change."""


class Holder(Struct, frozen=True):
    """`<tenant>.k.<connection>`: the process that has it, and how often it has said so."""

    holder: str
    beat: int = 0


class Lease:
    """One lease, as this process sees it."""

    def __init__(self, bucket: Bucket[Holder], key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._me = os.urandom(9).hex()
        self._revision = 0
        self._beats = 0

    async def hold(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for the lease, then run the work until it ends, or the lease is lost: then it is cancelled."""
        try:
            await self._take()
        except BaseException:
            work.close()
            raise
        log.info("lease.taken", lease=self._key)
        running = asyncio.create_task(work)
        beating = asyncio.create_task(self._beat())
        try:
            await asyncio.wait((running, beating), return_when=asyncio.FIRST_COMPLETED)
        finally:
            beating.cancel()
            running.cancel()
            results = await asyncio.gather(running, beating, return_exceptions=True)
            await self._give_up()
        if isinstance(results[0], Exception):
            raise results[0]

    async def _take(self) -> None:
        """Until it is ours: nobody's, or not changed for so long."""
        loop, seen, since = asyncio.get_running_loop(), -1, 0.0
        while True:
            with contextlib.suppress(Unavailable, Conflict):
                found, revision = await self._bucket.look(self._key)
                if revision != seen:
                    seen, since = revision, loop.time()
                if found is None or found.holder == "" or loop.time() - since > LOST_S:
                    self._revision = await self._bucket.update(self._key, self._mine(), revision)
                    return
            await asyncio.sleep(BEAT_S / 3)

    async def _beat(self) -> None:
        """Say that we have it; returns when it is lost."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while loop.time() - last < LOST_S - BEAT_S:
            await asyncio.sleep(BEAT_S)
            try:
                self._revision = await self._bucket.update(self._key, self._mine(), self._revision)
                last = loop.time()
            except Conflict:
                found = await self._mine_after_all()
                if not found:
                    break
                last = loop.time()
            except Unavailable:
                continue
        log.warning("lease.lost", lease=self._key)

    async def _mine_after_all(self) -> bool:
        """Whether the write that seemed to fail was ours."""
        try:
            found, revision = await self._bucket.look(self._key)
        except Unavailable:
            return True
        if found is None or found.holder != self._me:
            return False
        self._revision = revision
        return True

    async def _give_up(self) -> None:
        with contextlib.suppress(Unavailable, Conflict):
            await self._bucket.update(self._key, Holder(""), self._revision)

    def _mine(self) -> Holder:
        self._beats += 1
        return Holder(self._me, self._beats)
