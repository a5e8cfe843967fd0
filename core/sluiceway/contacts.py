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
AFTERWORD = datetime.timedelta(minutes=2)
"""An answer that goes out within so long of a conversation's end was given before it."""
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


class Merge(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a merge brought, so that it can be taken back: `ours` and `theirs` are the conversations before it.

    `goes_on` says which of the two went on, `ended` whether the other was open until then, `undone` whether it was
    taken back since. `held`: it was taken back while their conversation went on here, closed at `closed_at` or open.
    `left`: so it was with the conversation of that merge, which was taken back below this one.
    """

    undo: str
    contact: str
    addresses: tuple[Known, ...] = ()
    ours: str
    theirs: str
    goes_on: str
    ended: bool
    undone: bool = False
    held: bool = False
    closed_at: Time | None = None
    left: str | None = None


class Own(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a contact has of its own, while others are joined to it.

    `closed_at` counts where another's conversation goes on: since when this one is closed, None if by the merge.
    """

    addresses: tuple[Known, ...]
    conversation: str
    closed_at: Time | None = None


class ContactRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`<tenant>.c.<contact>`: a person.

    `conversation` is the latest, closed where `closed_at` is set; `channel` the one that the customer last wrote on.
    `reaches` are in the order in which they were first used; `addresses` are all, with those of who was joined to it.
    `merged_into` is who this person is now, by the merge `undo`; the rest is then as it was before.
    `tries` counts who began to take it over there.
    """

    conversation: str
    channel: str = ""
    seen_at: Time
    closed_at: Time | None = None
    reaches: tuple[Reach, ...] = ()
    addresses: tuple[Known, ...] = ()
    merges: tuple[Merge, ...] = ()
    own: Own | None = None
    merged_into: str | None = None
    undo: str | None = None
    tries: int = 0
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
            and abs(at - self.seen_at) < window.idle / REFRESHED
            and reach in self.reaches
            and (not inbound or self.channel == reach.channel)
            and not self.untold
        )

    def having(self, own: tuple[Known, ...], merges: tuple[Merge, ...]) -> ContactRecord:
        """With these addresses of its own, and what these merges brought."""
        if all(merge.undone for merge in merges):
            return msgspec.structs.replace(self, addresses=own, own=None, merges=merges)
        before = self.own or Own(addresses=own, conversation=self.conversation)
        if before.conversation == self.conversation:
            before = msgspec.structs.replace(before, closed_at=self.closed_at)
        all_known: dict[str, Known] = {}
        for known in (*own, *(known for merge in merges if not merge.undone for known in merge.addresses)):
            other = all_known.setdefault(canonical(known.address), known)
            if ASSURANCE.index(known.assurance) > ASSURANCE.index(other.assurance):
                all_known[canonical(known.address)] = known
        before = msgspec.structs.replace(before, addresses=own)
        return msgspec.structs.replace(self, addresses=tuple(all_known.values()), own=before, merges=merges)

    def brought(self, contact: str, undo: str | None) -> Merge | None:
        """The merge that brought this contact. A merge may bring two, where the one was just joined to the other."""
        return next((merge for merge in self.merges if (merge.contact, merge.undo) == (contact, undo)), None)

    @property
    def own_addresses(self) -> tuple[Known, ...]:
        """Those that no merge brought."""
        return self.own.addresses if self.own is not None else self.addresses


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

    A guest writes in the conversation, and is not the contact. What we said before the end, and goes out just after it,
    leaves the conversation ended.
    """
    inbound = reason == "inbound"
    if record.merged_into is not None or record.is_settled(reach, inbound, change.at, window):
        return record
    if reason == "outbound" and record.closed_at is not None and change.at - record.closed_at < AFTERWORD:
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
    reaches = record.reaches
    if not guest and reach not in reaches and record.knows(reach.address) is not None:  # it may be gone by now
        reaches = (*reaches, reach)
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
    own, merges = _put(record.own_addresses, known), record.merges
    for number, merge in enumerate(merges):  # what somebody else brought is better known as theirs
        if not merge.undone and (theirs := _put(merge.addresses, known, add=False)) != merge.addresses:
            changed = msgspec.structs.replace(merge, addresses=theirs)
            own, merges = (
                _put(record.own_addresses, known, add=False),
                (*merges[:number], changed, *merges[number + 1 :]),
            )
    record = record.having(own, merges)
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
    data = ContactUnlinked(contact_id=change.contact, addresses=(known.address,), method="command", by=by)
    return change.telling(stripped(record, address), data)


def stripped(record: ContactRecord, address: str) -> ContactRecord:
    """Without an address, whoever brought it; nothing changes, and nothing is told, where it was not known."""
    gone = canonical(address)

    def rest(addresses: tuple[Known, ...]) -> tuple[Known, ...]:
        return tuple(known for known in addresses if canonical(known.address) != gone)

    if record.knows(address) is None:
        return record
    merges = tuple(msgspec.structs.replace(merge, addresses=rest(merge.addresses)) for merge in record.merges)
    reaches = tuple(reach for reach in record.reaches if canonical(reach.address) != gone)
    return msgspec.structs.replace(record, reaches=reaches).having(rest(record.own_addresses), merges)


def _put(addresses: tuple[Known, ...], known: Known, *, add: bool = True) -> tuple[Known, ...]:
    """With better knowledge of an address; one that is new only if it is to be added."""
    wanted = canonical(known.address)
    others = tuple(other for other in addresses if canonical(other.address) != wanted)
    return (*others, known) if add or len(others) < len(addresses) else addresses


def _renewed(change: Change, record: ContactRecord, reason: str) -> ContactRecord:
    previous = record.conversation
    record = msgspec.structs.replace(record, conversation=uuid7(), closed_at=None)
    if record.own is not None:
        own = msgspec.structs.replace(record.own, conversation=record.conversation, closed_at=None)
        record = msgspec.structs.replace(record, own=own)
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
