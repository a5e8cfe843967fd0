"""Conversations in which nobody writes any more: looked at when the server says that it is time, and closed.

The server keeps the clock: a command to close, due at the end of the idle window, lies in the stream of waiting
commands. When it comes and somebody has written meanwhile, the next one is put there.
"""

from __future__ import annotations

import datetime
import hashlib

from sluiceway_contracts import Command, ConversationClose, ConversationOpened, ConversationReopened, Event
from sluiceway_contracts.values import now

from .checks import LATEST
from .contacts import Change, ContactRecord, closed
from .placement import Placement
from .schedule import Schedule

IDLE = "idle"
"""The reason of a command, and of `conversation.closed`."""


class Idle:
    """The end of conversations of all tenants."""

    def __init__(self, schedule: Schedule, placement: Placement) -> None:
        self._schedules = schedule
        self._continuity = placement.continuity
        self._unions = placement.unions
        self._windows = placement.windows

    async def hear(self, tenant: str, event: Event) -> None:
        """Watch a conversation from its beginning, and again when it goes on. Raises `Unavailable`."""
        data = event.data
        if isinstance(data, ConversationOpened | ConversationReopened):
            await self.watch(tenant, data.conversation_id, data.channel, event.time)

    async def watch(self, tenant: str, conversation: str, channel: str, since: datetime.datetime) -> None:
        """Have a conversation looked at when its idle window ends; asked twice, it is once. Raises `Unavailable`."""
        due = min(since + self._windows.of(tenant, channel).idle, now() + LATEST)
        await self._schedule(tenant, conversation, due)

    async def close(self, tenant: str, conversation: str) -> None:
        """Close a conversation if its idle window is over, else look again when it is. Raises `Unavailable`."""
        talk = await self._continuity.find(tenant, conversation)
        if talk is None or talk.closed or talk.conversation != conversation:
            return
        moment = now()

        def step(record: ContactRecord) -> ContactRecord:
            over = record.seen_at + self._windows.of(tenant, record.channel).idle
            if record.conversation != conversation or record.merged_into is not None or over > moment:
                return record
            return closed(Change(tenant, talk.contact, moment), record, IDLE, moment)

        record = await self._unions.end(Change(tenant, talk.contact, moment), conversation, step)
        if record.conversation == conversation and record.closed_at is None and record.merged_into is None:
            await self.watch(tenant, conversation, record.channel, record.seen_at)

    async def _schedule(self, tenant: str, conversation: str, due: datetime.datetime) -> None:
        command = Command(
            tenant=tenant,
            source=f"/{tenant}/apps/sluiceway",
            subject=conversation,
            actorrole="system",
            data=ConversationClose(conversation_id=conversation, reason=IDLE),
        )
        token = hashlib.sha256(f"{IDLE}:{conversation}:{due:%Y%m%d%H%M%S}".encode()).hexdigest()[:32]
        await self._schedules.give(command, due, token)
