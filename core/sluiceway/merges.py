"""Two contacts that are one person, and two again: what it does to their records. Pure, as `contacts` is.

A merge rewrites no history: the one contact refers to the other, whose record says what came with it and can be taken
back. The conversation in which the customer wrote last goes on, the other ends and names it.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from sluiceway_contracts import ContactMerged, ContactUnmerged, Continuation, ConversationClosed, Party

from .contacts import Change, ContactRecord, Merge, channel_of, reopened
from .spellings import canonical


class Grounds(NamedTuple):
    """Why contacts are joined or parted, as events tell it."""

    method: str
    evidence: str | None = None
    by: Party | None = None


class Other(NamedTuple):
    """The contact that is to be joined, its record, and whether its customer wrote last of the two."""

    contact: str
    record: ContactRecord
    wrote_last: bool


def joined(change: Change, record: ContactRecord, *, other: Other, undo: str, grounds: Grounds) -> ContactRecord:
    """With all that is the other's; nothing changes where it was joined already."""
    if any(merge.contact == other.contact and not merge.undone for merge in record.merges):
        return record
    theirs = other.record
    goes_on, ends = (theirs, record) if other.wrote_last else (record, theirs)
    merge = Merge(
        undo=undo,
        contact=other.contact,
        addresses=theirs.addresses,
        reaches=theirs.reaches,
        ours=record.conversation,
        theirs=theirs.conversation,
        goes_on=goes_on.conversation,
        ended=ends.closed_at is None,
    )
    if merge.ended:
        owner = change.contact if ends is record else other.contact
        record = change.telling(record, _ended(change, owner, ends, goes_on.conversation), ends.conversation)
    mine = tuple(known for known in record.addresses if theirs.knows(known.address) is None)
    record = replace(
        record,
        conversation=goes_on.conversation,
        channel=goes_on.channel or ends.channel,
        seen_at=max(record.seen_at, theirs.seen_at),
        closed_at=goes_on.closed_at,
        addresses=(*mine, *theirs.addresses),
        reaches=(*ends.reaches, *(reach for reach in goes_on.reaches if reach not in ends.reaches)),
        merges=(*record.merges, merge),
    )
    data = ContactMerged(
        from_id=other.contact,
        into_id=change.contact,
        conversations=(Continuation(from_id=ends.conversation, into_id=goes_on.conversation),),
        undo=undo,
        method=grounds.method,
        evidence=grounds.evidence,
        by=grounds.by,
    )
    return change.telling(record, data)


def redirected(record: ContactRecord, into: str) -> ContactRecord:
    """From now on this contact is another."""
    return record if record.merged_into == into else replace(record, merged_into=into)


def without(record: ContactRecord, merge: Merge) -> ContactRecord:
    """Without the addresses that a merge brought."""
    gone = {canonical(known.address) for known in merge.addresses}
    return replace(
        record,
        addresses=tuple(known for known in record.addresses if canonical(known.address) not in gone),
        reaches=tuple(reach for reach in record.reaches if canonical(reach.address) not in gone),
        merges=tuple(replace(other, undone=True) if other == merge else other for other in record.merges),
    )


def parted(change: Change, record: ContactRecord, *, merge: Merge, grounds: Grounds) -> ContactRecord:
    """Without what a merge brought; nothing changes where it was taken back already."""
    if merge not in record.merges:
        return record
    record = without(record, merge)
    back = record.conversation == merge.theirs
    data = ContactUnmerged(
        from_id=change.contact,
        into_id=merge.contact,
        addresses=tuple(known.address for known in merge.addresses),
        conversations=(Continuation(from_id=merge.goes_on, into_id=merge.ours if back else merge.theirs),),
        method=grounds.method,
        evidence=grounds.evidence,
        by=grounds.by,
    )
    record = change.telling(record, data, record.conversation)
    if not back:
        return record
    record = replace(record, conversation=merge.ours, closed_at=change.at)
    return reopened(change, record, "command") if merge.ended else record


def restored(change: Change, record: ContactRecord, *, merge: Merge) -> ContactRecord:
    """A contact of its own again; nothing changes where it is one."""
    if record.merged_into is None:
        return record
    record = replace(record, merged_into=None, seen_at=change.at)
    return reopened(change, record, "command") if merge.ended and merge.goes_on != merge.theirs else record


def _ended(change: Change, owner: str, record: ContactRecord, goes_on: str) -> ConversationClosed:
    return ConversationClosed(
        conversation_id=record.conversation,
        contact_id=owner,
        channel=record.channel or channel_of(change, record),
        reason="merged",
        continued_as=goes_on,
    )
