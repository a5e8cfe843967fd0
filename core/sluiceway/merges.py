"""Two contacts that are one person, and two again: what it does to their records. Pure, as `contacts` is.

A merge rewrites no history: the one contact refers to the other, whose record says what came with it and can be taken
back. The conversation in which the customer wrote last goes on, the other ends and names it.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from sluiceway_contracts import ContactMerged, ContactUnmerged, Continuation, ConversationClosed, Party

from .contacts import Change, ContactRecord, Known, Merge, channel_of, reopened
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
    """With all that is the other's; nothing changes where it was joined already, or this one is somebody else now.

    An open conversation goes on, not one that was closed; of two, the one in which the customer wrote last.
    """
    known = any(merge.contact == other.contact and not merge.undone for merge in record.merges)
    if known or record.brought(other.contact, undo) is not None or record.merged_into is not None:
        return record
    theirs = other.record
    are_open = (record.closed_at is None, theirs.closed_at is None)
    from_there = other.wrote_last if are_open[0] == are_open[1] else are_open[1]
    goes_on, ends = (theirs, record) if from_there else (record, theirs)
    merge = Merge(
        undo=undo,
        contact=other.contact,
        addresses=theirs.addresses,
        ours=record.conversation,
        theirs=theirs.conversation,
        goes_on=goes_on.conversation,
        ended=ends.closed_at is None,
    )
    if merge.ended:
        owner = change.contact if ends is record else other.contact
        record = change.telling(record, _ended(change, owner, ends, goes_on.conversation), ends.conversation)
    record = replace(
        record.having(record.own_addresses, (*record.merges, merge)),
        conversation=goes_on.conversation,
        channel=goes_on.channel or ends.channel,
        seen_at=max(record.seen_at, theirs.seen_at),
        closed_at=goes_on.closed_at,
        reaches=(*ends.reaches, *(reach for reach in goes_on.reaches if reach not in ends.reaches)),
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


def redirected(record: ContactRecord, into: str, undo: str) -> ContactRecord:
    """From now on this contact is another, by the merge `undo`; nothing changes where it is one already."""
    return record if record.merged_into is not None else replace(record, merged_into=into, undo=undo)


def parted(
    change: Change,
    record: ContactRecord,
    *,
    merge: Merge,
    theirs: str,
    grounds: Grounds,
    held: Merge | None = None,
) -> ContactRecord:
    """Without what a merge brought; nothing changes where it was taken back already.

    `theirs` is the conversation of the other now. `held` is what `passed` says of it, where this one is merged itself.
    """
    if merge not in record.merges:
        return record
    here = record.conversation == theirs
    live = record.merged_into is None
    if live:
        held = replace(merge, held=here, closed_at=record.closed_at if here else None)
    held = held or merge
    ended = replace(merge, undone=True, addresses=(), held=held.held, closed_at=held.closed_at)
    data = ContactUnmerged(
        from_id=change.contact,
        into_id=merge.contact,
        addresses=tuple(known.address for known in merge.addresses),
        conversations=(Continuation(from_id=merge.goes_on, into_id=merge.ours if here else merge.theirs),),
        method=grounds.method,
        evidence=grounds.evidence,
        by=grounds.by,
    )
    after = change.telling(record, data, record.conversation)
    return _without(change, after, merge, ended, theirs)


def passed(
    change: Change, record: ContactRecord, *, merge: Merge, below: tuple[Known, ...], gone: Merge, theirs: str
) -> ContactRecord:
    """After `gone` was taken back in somebody who is joined to this one by `merge`, and has these addresses left."""
    if merge not in record.merges:
        return record
    now_left = replace(merge, addresses=below)
    if record.merged_into is None and record.conversation == theirs:
        now_left = replace(now_left, left=gone.undo, closed_at=record.closed_at)
    after = _without(change, record, merge, now_left, theirs)
    return record if after == record else after


def restored(change: Change, record: ContactRecord, *, merge: Merge) -> ContactRecord:
    """A contact of its own again; nothing changes where this merge is not what it is another by.

    Its conversation is as it was left where it went on there, and goes on where the merge had ended it.
    """
    if record.merged_into is None or record.undo != merge.undo:
        return record
    record = replace(record, merged_into=None, undo=None, seen_at=change.at)
    if merge.held:
        return replace(record, closed_at=merge.closed_at)
    return reopened(change, record, "command") if record.closed_at is None else record


def _without(change: Change, record: ContactRecord, merge: Merge, after: Merge, theirs: str) -> ContactRecord:
    """With a merge as it is afterwards, and a conversation of its own where it had the one that leaves."""
    live, here, own = record.merged_into is None, record.conversation == theirs, record.own
    merges = tuple(after if other == merge else other for other in record.merges)
    had = {canonical(known.address) for known in record.addresses}
    record = record.having(record.own_addresses, merges)
    gone = had - {canonical(known.address) for known in record.addresses}
    record = replace(record, reaches=tuple(reach for reach in record.reaches if canonical(reach.address) not in gone))
    if not here or own is None:
        return record
    conversation, closed_at = own.conversation, own.closed_at
    if any(other.theirs == merge.ours and not other.undone for other in merges if other != after):
        conversation, closed_at = merge.ours, None if merge.ended else change.at
    record = replace(record, conversation=conversation, closed_at=closed_at)
    if closed_at is not None or not live:
        return record
    return reopened(change, replace(record, closed_at=change.at), "command")


def _ended(change: Change, owner: str, record: ContactRecord, goes_on: str) -> ConversationClosed:
    return ConversationClosed(
        conversation_id=record.conversation,
        contact_id=owner,
        channel=record.channel or channel_of(change, record),
        reason="merged",
        continued_as=goes_on,
    )
