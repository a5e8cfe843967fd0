"""One change of a call: what it becomes, what is told of it, what is ordered because of it. Pure but for the ids."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from sluiceway_contracts import (
    CallQueued,
    CallUpdated,
    Command,
    Event,
    EventData,
    MessageSend,
    Party,
    Text,
    Wait,
)
from sluiceway_contracts.commands import CommandData

from ..identity import Identity
from .records import SEEN, CallRecord

CHANNEL = "voice"


class Change:
    """Of one call of a tenant, because of one input, at one moment."""

    def __init__(self, tenant: str, record: CallRecord, now: datetime.datetime, identity: Identity, cause: str) -> None:
        self.record = record
        self.now = now
        self._tenant = tenant
        self._identity = identity
        self._cause = cause
        self._events: list[msgspec.Raw] = []
        self._commands: list[msgspec.Raw] = []
        self._fetches: list[msgspec.Raw] = []

    def set(self, **fields: Any) -> None:
        """Change the record."""
        self.record = replace(self.record, **fields)

    def tell(self, data: EventData) -> None:
        """Have an event published."""
        record = self.record
        event = Event(
            id=self._id(data.type),
            time=self.now,
            tenant=self._tenant,
            channel=CHANNEL,
            account=record.account,
            contactid=record.contact,
            subject=record.conversation,
            causationid=self._cause or None,
            actorid=record.agent,
            actorrole="agent" if record.agent is not None else "system",
            data=data,
        )
        self._events.append(msgspec.Raw(event.encode()))

    def updated(self, state: str, **fields: Any) -> None:
        """Tell that the call went on."""
        self.tell(CallUpdated(call_id=self.record.call_id, state=state, by=self.by, **fields))

    def queued(self, position: int | None, wait: Wait | None) -> None:
        """Tell its place."""
        self.set(position=position, told_at=self.now)
        self.tell(CallQueued(call_id=self.record.call_id, state="queued", position=position, wait_ms=wait))

    def order(self, data: CommandData, *, account: str | None = None, channel: str = CHANNEL) -> None:
        """Have a command published: to an account of ours, else to the dispatcher."""
        command = Command(
            id=self._id(data.type),
            time=self.now,
            tenant=self._tenant,
            source=f"/{self._tenant}/apps/sluiceway",
            channel=channel if account is not None else None,
            account=account,
            subject=self.record.conversation,
            actorrole="system",
            data=data,
        )
        self._commands.append(msgspec.Raw(command.encode()))

    def write(self, text: str, *, to: str | None = None, by: tuple[str, str] | None = None) -> None:
        """Have the customer written to in the conversation, where that can be; at this address, if one is given.

        `by` is channel and name of the account that it goes out by.
        """
        record = self.record
        if to is None and not (record.writable and record.conversation):
            return
        send = MessageSend(
            message_id=self._id("text"),
            author=Party(role="system"),
            parts=(Text(text=text),),
            conversation_id=record.conversation,
            to=(to,) if to is not None else (),
        )
        channel, account = by or (CHANNEL, None)
        self.order(send, account=account, channel=channel)

    def fetch(self, fetch: Any) -> None:
        """Have a file fetched."""
        self._fetches.append(msgspec.Raw(msgspec.json.encode(fetch)))

    @property
    def by(self) -> Party | None:
        """The agent who has it."""
        record = self.record
        return Party(role="agent", agent_id=record.agent, name=record.agent_name) if record.agent is not None else None

    def done(self) -> CallRecord:
        """What is to be written."""
        seen = (*self.record.seen, self._cause)[-SEEN:] if self._cause else self.record.seen
        return replace(
            self.record,
            seen=seen,
            saved_at=self.now,
            events=tuple(self._events),
            commands=tuple(self._commands),
            fetches=tuple(self._fetches),
        )

    def _id(self, what: str) -> str:
        self.set(serial=self.record.serial + 1)
        return self._identity.id(self._tenant, "call", self.record.call_id, what, str(self.record.serial))
