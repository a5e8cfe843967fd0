"""What is known of a contact, and how one thing that happens changes it. Pure: reads no clock, stores nothing.

Each change carries the events that tell of it in the record itself (`untold`), written together with it: whoever finds
them publishes them and strikes them out, so that a crash between the two neither loses nor doubles an event.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from sluiceway_contracts import (
    ContactConflict,
    ContactLinked,
    ContactUnlinked,
    ContactVerified,
    ConversationChannelChanged,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    Event,
    EventData,
    Party,
    uuid7,
)
from sluiceway_contracts.values import Time

from .spellings import canonical

ASSURANCE = ("asserted", "channel", "verified", "agent")
"""How well we know that an address is somebody's, from least to most."""
REFRESHED = 12
"""`seen_at` is written again when a twelfth of the idle window has passed since."""


class Window(NamedTuple):
    """How long a conversation stays open without a word, and how long after its end a word opens it again."""

    idle: datetime.timedelta
    reopen: datetime.timedelta


class AddressRecord(Struct, frozen=True):
    """`<tenant>.a.<address key>`: whose address it is, proven; `<tenant>.n.…`: who writes as it, unproven."""

    contact: str


class ClaimRecord(Struct, frozen=True, omit_defaults=True):
    """`<tenant>.u.<address key>`: who gave it as theirs, unproven, and when we wrote to it at their wish."""

    contact: str
    invited_at: Time | None = None


class ConversationRecord(Struct, frozen=True):
    """`<tenant>.v.<conversation>`: whose it was when it began; merges are the contact's matter."""

    contact: str


class Reach(Struct, frozen=True):
    """An address of a contact, and the account of ours that it is reached from."""

    address: str
    channel: str
    account: str


class Known(Struct, frozen=True, omit_defaults=True):
    """An address, how well we know that it is the contact's (`ASSURANCE`), and how we came to know."""

    address: str
    assurance: str
    method: str
    since: Time
    evidence: str | None = None


class Merge(Struct, frozen=True, kw_only=True):
    """What a merge brought, so that it can be taken back: `ours` and `theirs` are the conversations before it.

    `goes_on` says which of the two went on, `ended` whether the other was open until then, `undone` whether it was
    taken back since.
    """

    undo: str
    contact: str
    addresses: tuple[Known, ...]
    reaches: tuple[Reach, ...]
    ours: str
    theirs: str
    goes_on: str
    ended: bool
    undone: bool = False


class ContactRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`<tenant>.c.<contact>`: a person.

    `conversation` is the latest, closed where `closed_at` is set; `channel` the one that the customer last wrote on.
    `reaches` are in the order in which they were first used. `merged_into` is who this person is now.
    """

    conversation: str
    channel: str = ""
    seen_at: Time
    closed_at: Time | None = None
    reaches: tuple[Reach, ...] = ()
    addresses: tuple[Known, ...] = ()
    merges: tuple[Merge, ...] = ()
    merged_into: str | None = None
    untold: tuple[msgspec.Raw, ...] = ()

    def knows(self, address: str) -> Known | None:
        """What is known of an address, in whatever spelling."""
        wanted = canonical(address)
        return next((known for known in self.addresses if canonical(known.address) == wanted), None)

    def is_settled(self, reach: Reach, inbound: bool, at: datetime.datetime, window: Window) -> bool:
        """Whether a word by this reach changes nothing."""
        return (
            self.closed_at is None
            and self.merged_into is None
            and at - self.seen_at < window.idle / REFRESHED
            and reach in self.reaches
            and (not inbound or self.channel == reach.channel)
            and not self.untold
        )


class Change(NamedTuple):
    """Who is changed, by what, and when; `cause` is the id of a command."""

    tenant: str
    contact: str
    at: datetime.datetime
    channel: str | None = None
    account: str | None = None
    cause: str | None = None

    def telling(self, record: ContactRecord, data: EventData, conversation: str | None = None) -> ContactRecord:
        """The record with one more event to tell, of its conversation unless another is named."""
        event = Event(
            tenant=self.tenant,
            channel=self.channel,
            account=self.account,
            contactid=self.contact,
            subject=conversation or record.conversation,
            causationid=self.cause,
            time=self.at,
            data=data,
        )
        return msgspec.structs.replace(record, untold=(*record.untold, msgspec.Raw(event.encode())))


def begun(change: Change, reach: Reach, known: Known | None, reason: str) -> ContactRecord:
    """A new contact, with a first conversation."""
    record = ContactRecord(
        conversation=uuid7(),
        seen_at=change.at,
        reaches=(reach,),
        addresses=(known,) if known is not None else (),
        channel=reach.channel if reason == "inbound" else "",
    )
    return change.telling(record, _opened(change, record.conversation, reach.channel, reason))


def heard(
    change: Change, record: ContactRecord, *, reach: Reach, window: Window, reason: str, guest: bool = False
) -> ContactRecord:
    """After a word by this reach, of the customer's (`reason` is inbound) or ours (outbound, command).

    A guest writes in the conversation, and is not the contact.
    """
    inbound = reason == "inbound"
    if record.merged_into is not None or record.is_settled(reach, inbound, change.at, window):
        return record
    if record.closed_at is None and change.at - record.seen_at >= window.idle:
        record = closed(change, record, "idle", record.seen_at + window.idle)
    if record.closed_at is None:
        if inbound and record.channel not in ("", reach.channel):
            record = _moved(change, record, reach.channel)
    elif change.at - record.closed_at < window.reopen:
        record = reopened(change, record, reason)
    else:
        record = _renewed(change, record, reason)
    reaches = record.reaches if guest or reach in record.reaches else (*record.reaches, reach)
    channel = reach.channel if inbound else record.channel
    return msgspec.structs.replace(record, reaches=reaches, channel=channel, seen_at=change.at)


def closed(change: Change, record: ContactRecord, reason: str, at: datetime.datetime) -> ContactRecord:
    """The conversation ended then; nothing changes where it had ended already."""
    if record.closed_at is not None:
        return record
    data = ConversationClosed(
        conversation_id=record.conversation,
        contact_id=change.contact,
        channel=channel_of(change, record),
        reason=reason,
    )
    return msgspec.structs.replace(change.telling(record, data), closed_at=at)


def reopened(change: Change, record: ContactRecord, reason: str) -> ContactRecord:
    """The conversation goes on."""
    data = ConversationReopened(
        conversation_id=record.conversation,
        contact_id=change.contact,
        channel=channel_of(change, record),
        reason=reason,
    )
    return msgspec.structs.replace(change.telling(record, data), closed_at=None, seen_at=change.at)


def linked(change: Change, record: ContactRecord, known: Known, by: Party | None = None) -> ContactRecord:
    """With an address, or with better knowledge of one; nothing changes where as much was known."""
    before = record.knows(known.address)
    if before is not None and ASSURANCE.index(before.assurance) >= ASSURANCE.index(known.assurance):
        return record
    others = tuple(other for other in record.addresses if other is not before)
    record = msgspec.structs.replace(record, addresses=(*others, known))
    told = {
        "contact_id": change.contact,
        "addresses": (known.address,),
        "assurance": known.assurance,
        "method": known.method,
        "evidence": known.evidence,
        "by": by,
    }
    return change.telling(record, (ContactLinked if before is None else ContactVerified)(**told))  # type: ignore[arg-type]  # they are what both take


def doubted(change: Change, record: ContactRecord, known: Known, candidate: str) -> ContactRecord:
    """Another contact has this address: a person must decide whether they are one."""
    data = ContactConflict(
        contact_id=change.contact,
        candidate_id=candidate,
        addresses=(known.address,),
        assurance=known.assurance,
        method=known.method,
        evidence=known.evidence,
    )
    return change.telling(record, data)


def unlinked(change: Change, record: ContactRecord, address: str, by: Party | None = None) -> ContactRecord:
    """Without an address; nothing changes where it was not known."""
    known = record.knows(address)
    if known is None:
        return record
    gone = canonical(address)
    record = msgspec.structs.replace(
        record,
        addresses=tuple(other for other in record.addresses if other is not known),
        reaches=tuple(reach for reach in record.reaches if canonical(reach.address) != gone),
    )
    data = ContactUnlinked(contact_id=change.contact, addresses=(known.address,), method="command", by=by)
    return change.telling(record, data)


def _renewed(change: Change, record: ContactRecord, reason: str) -> ContactRecord:
    previous = record.conversation
    record = msgspec.structs.replace(record, conversation=uuid7(), closed_at=None)
    opened = _opened(change, record.conversation, channel_of(change, record), reason, previous)
    return change.telling(record, opened)


def _moved(change: Change, record: ContactRecord, channel: str) -> ContactRecord:
    data = ConversationChannelChanged(
        conversation_id=record.conversation,
        contact_id=change.contact,
        channel=channel,
        previous_channel=record.channel,
        reason="inbound",
    )
    return change.telling(record, data)


def _opened(
    change: Change, conversation: str, channel: str, reason: str, previous: str | None = None
) -> ConversationOpened:
    return ConversationOpened(
        conversation_id=conversation,
        contact_id=change.contact,
        channel=channel,
        reason=reason,
        previous_id=previous,
    )


def channel_of(change: Change, record: ContactRecord) -> str:
    """The channel that an event names: where it happened, else where the customer last wrote."""
    return change.channel or record.channel or next((reach.channel for reach in record.reaches), "_")
