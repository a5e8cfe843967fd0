"""Conversations in which nobody writes any more: looked at when the server says that it is time, and closed.

The server keeps the clock: a command to close, due at the end of the idle window, lies in the stream of waiting
commands. When it comes and somebody has written meanwhile, the next one is put there.
"""

from __future__ import annotations

import datetime
import hashlib

from sluiceway_contracts import CONTENT_TYPE, Command, ConversationClose, subjects, uuid7
from sluiceway_contracts.values import now

from .bus.link import Link, Refused
from .checks import LATEST
from .contacts import Change, ContactRecord, closed
from .errors import Unavailable
from .placement import Placement
from .windows import Windows

IDLE = "idle"
"""The reason of a command, and of `conversation.closed`."""
GRACE = datetime.timedelta(seconds=1)


class Idle:
    """The end of conversations of all tenants."""

    def __init__(self, link: Link, prefix: str, placement: Placement, windows: Windows) -> None:
        self._link = link
        self._prefix = prefix
        self._continuity = placement.continuity
        self._unions = placement.unions
        self._windows = windows

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
        moment = (due + GRACE).strftime("%Y-%m-%dT%H:%M:%SZ")
        token = hashlib.sha256(f"{conversation}:{moment}".encode()).hexdigest()[:32]
        start = f"{self._prefix}.{subjects.VERSION}.{tenant}"
        command = Command(
            id=uuid7(),
            tenant=tenant,
            source=f"/{tenant}/apps/sluiceway",
            subject=conversation,
            actorrole="system",
            data=ConversationClose(conversation_id=conversation, reason=IDLE),
        )
        target = command.nats_subject(self._prefix).removeprefix(f"{start}.commands.")
        headers = {
            "Nats-Msg-Id": f"{tenant}:{token}:{IDLE}",
            "Nats-Schedule": f"@at {moment}",
            "Nats-Schedule-Target": f"{start}.due.{target}",
            "content-type": CONTENT_TYPE,
        }
        try:
            await self._link.publish(f"{start}.scheduled.{token}", command.encode(), headers)
        except Refused as error:
            raise Unavailable(f"the stream of waiting commands refuses: {error}") from error
