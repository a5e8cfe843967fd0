"""The register of accounts, as this process fills it: whom it serves is told, told again, and untold. Routes nothing.

Several processes may serve an account. The last that came has its entry, and it alone takes the entry back; one that
has said nothing for two hours is taken to be gone.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import os

from sluiceway_contracts.values import now

from . import metrics
from .accounts import Accounts, Change, Notice, Served, notice
from .bus.store import Bucket, Conflict
from .patience import surely

LOOK_S = 60
"""So often it is looked whether an account is missing in the register, which forgets who is silent for a day."""
LOOKS_AN_HOUR = 60
GONE = datetime.timedelta(hours=2)


class Announcer:
    """For the accounts of one process."""

    def __init__(self, accounts: Accounts, register: Bucket[Notice]) -> None:
        self._accounts = accounts
        self._register = register
        self._me = os.urandom(9).hex()
        self._turn = asyncio.Lock()

    async def announce(self) -> None:
        """At the start, tell of all; their health stays as it was told. Raises `Unavailable`."""
        async with self._turn:
            for served in tuple(self._accounts):
                await self._tell(served, comes=True)

    async def change(self, change: Change) -> None:
        """Tell of those that came, and take back what was told of those that are gone."""
        before = {served.key for served in change.left}
        async with self._turn:
            for served in change.gone:
                await surely(self._take_back, served)
            for served in change.came:
                await surely(self._tell, served, comes=served.key not in before)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        for look in itertools.count(1):
            await asyncio.sleep(LOOK_S)
            async with self._turn:
                for served in tuple(self._accounts):
                    await surely(self._look, served, again=look % LOOKS_AN_HOUR == 0)

    async def _look(self, served: Served, *, again: bool) -> None:
        known = await self._register.get(served.key)
        if known is not None:
            metrics.paused.labels(served.name).set(known.value.health == "paused")
        if known is None or (again and await self._is_ours(served, known.value)):
            await self._tell(served, comes=True)

    async def _is_ours(self, served: Served, told: Notice) -> bool:
        if told.by == self._me:
            return True
        written_at = await self._register.written_at(served.key)
        return written_at is not None and now() - written_at > GONE

    async def _tell(self, served: Served, *, comes: bool) -> None:
        """`comes`: the entry is ours from now on; else it stays whose it is."""
        known = await self._register.get(served.key)
        if self._accounts.serves(served):  # it may have left while the register was asked
            health, by = (known.value.health, known.value.by) if known is not None else ("healthy", self._me)
            await self._register.put(served.key, notice(served, self._me if comes else by).with_health(health))

    async def _take_back(self, served: Served) -> None:
        if any(one.key == served.key for one in self._accounts):
            return
        known = await self._register.get(served.key)
        if known is None or known.value.by != self._me:
            return
        try:
            await self._register.delete(served.key, known.revision)
        except Conflict:
            return  # somebody else has just told that they serve it
