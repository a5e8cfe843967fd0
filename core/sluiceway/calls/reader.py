"""What customers write about calls, on whatever channel: that they want one, or no longer, or the code we asked for.

Reads the stream, and gives commands as anybody could. Queues nothing itself.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from sluiceway_contracts import (
    CallCancel,
    CallRequest,
    CallStep,
    Command,
    Event,
    Message,
    MessageReceived,
)
from sluiceway_contracts.commands import CommandData
from sluiceway_contracts.values import now

from ..bus.consumer import Consumer
from ..bus.link import Link
from ..bus.store import Bucket
from ..hearing import hear_all
from ..identity import Identity
from ..sections import Calls
from .outbox import give
from .proof import code, is_given
from .records import CallIndex
from .wishes import wish

OLD = datetime.timedelta(days=1)
"""What was wished so long ago nobody waits for any more."""


class WishReader:
    """For the tenants that have calls."""

    def __init__(
        self,
        consumer: Consumer,
        link: Link,
        prefix: str,
        *,
        settings: Calls,
        indexes: Bucket[CallIndex],
        identity: Identity,
        secret: bytes,
    ) -> None:
        self._consumer = consumer
        self._link = link
        self._prefix = prefix
        self._tenants = settings.tenants
        self._indexes = indexes
        self._identity = identity
        self._secret = secret

    async def run(self) -> None:
        """Read until cancelled; then another process may."""
        await hear_all(self._consumer, self._prefix, self._hear)

    async def _hear(self, tenant: str, event: Event, sequence: int) -> None:
        if tenant not in self._tenants or not isinstance(event.data, MessageReceived) or now() - event.time > OLD:
            return
        found = await self._indexes.get(f"{tenant}.calls")
        index = found.value if found is not None else CallIndex()
        for what, data in self._commands(tenant, event, event.data.message, index):
            command = Command(
                id=self._identity.id(tenant, "wish", event.data.message.id, what),
                time=event.time,
                tenant=tenant,
                source=f"/{tenant}/apps/sluiceway",
                subject=event.subject,
                causationid=event.id,
                actorrole="customer",
                data=data,
            )
            await give(self._link, self._prefix, command)

    def _commands(
        self, tenant: str, event: Event, message: Message, index: CallIndex
    ) -> Iterator[tuple[str, CommandData]]:
        mine = [
            call_id for call_id, one in index.open.items() if one.conversation and one.conversation == event.subject
        ]
        proven = list(self._proven(message, index))
        yield from ((call_id, CallStep(call_id=call_id, step="proven")) for call_id in proven)
        wanted = wish(message, self._tenants[tenant].words, waiting=bool(mine))
        if wanted is None or proven:
            return
        if wanted.kind == "cancel":
            yield from ((call_id, CallCancel(call_id=call_id, reason="customer")) for call_id in mine)
        elif not mine:
            call_id = self._identity.id(tenant, "call", message.id)
            yield (
                "request",
                CallRequest(call_id=call_id, address=wanted.address, skill=wanted.skill, reason=wanted.reason),
            )

    def _proven(self, message: Message, index: CallIndex) -> Iterator[str]:
        """The calls whose number this proves: it answered the code. Elsewhere one could guess, again and again."""
        author = message.author
        for call_id, one in index.open.items():
            if one.unproven is None:
                continue
            from_there = author.address == one.unproven and author.assurance != "asserted"
            if from_there and is_given(message.text, code(self._secret, call_id)):
                yield call_id
