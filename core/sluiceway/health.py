"""Whether an account can send at all: while its credentials are refused it is paused, and says so.

Commands wait for it, each until its own `expires_at`; one at a time is the probe. Repairs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from sluiceway_contracts import AccountHealth, Error, Event, uuid7
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Notice, Served
from .bus.store import Bucket
from .errors import CredentialsRefused, Rejected
from .patience import surely
from .stream import EventStream

log = structlog.get_logger(__name__)

PROBE_S = 15.0


class Health:
    """One account's health, told as `account.health` and in the register of accounts."""

    def __init__(self, served: Served, register: Bucket[Notice], stream: EventStream) -> None:
        self._served = served
        self._register = register
        self._stream = stream
        self._probing = asyncio.Lock()
        self._probe_at = 0.0
        self.paused = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Ask the provider within: at once while the account is healthy, one at a time and slowly while it is not.

        Passes on what is raised within; `CredentialsRefused` pauses the account.
        """
        if not self.paused:
            async with self._judged():
                yield
            return
        async with self._probing:
            await asyncio.sleep(self._probe_at - asyncio.get_running_loop().time())
            async with self._judged():
                yield

    @asynccontextmanager
    async def _judged(self) -> AsyncIterator[None]:
        try:
            yield
        except CredentialsRefused as error:
            reason = Error(code=error.code, message=str(error), provider_code=error.provider_code)
            await self._tell("paused", reason)
            self._probe_at = asyncio.get_running_loop().time() + PROBE_S
            raise
        except Rejected:
            await self._tell("healthy", None)
            raise
        await self._tell("healthy", None)

    async def recall(self) -> None:
        """Begin where the process before ended: a paused account is probed, and told to be healthy when it is."""
        known = await self._register.get(self._served.key)
        self.paused = known is not None and known.value.health == "paused"
        metrics.paused.labels(self._served.name).set(self.paused)

    async def _tell(self, state: str, reason: Error | None) -> None:
        if self.paused == (state == "paused"):
            return
        self.paused = state == "paused"
        served = self._served
        metrics.paused.labels(served.name).set(self.paused)
        (log.error if self.paused else log.info)("account.health", account=served.name, state=state)
        data = AccountHealth(state=state, since=now(), error=reason)
        event = Event(id=uuid7(), tenant=served.tenant, channel=served.channel, account=served.name, data=data)
        await surely(self._stream.publish, event)
        known = await surely(self._register.get, served.key)
        if known is not None:  # else it was removed meanwhile
            await surely(self._register.put, served.key, known.value.with_health(state))
