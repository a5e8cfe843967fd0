"""What an event changes in a contact's record: addresses, conversations, consents, conflicts, merges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from sluiceway_contracts import (
    ConsentChanged,
    ConsentState,
    ContactAddress,
    ContactConflict,
    ContactLinked,
    ContactMerged,
    ContactState,
    ContactUnlinked,
    ContactUnmerged,
    ContactVerified,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    Event,
    MessageReceived,
    MessageSent,
    OpenConflict,
)
from sluiceway_contracts.events import EventData
from sluiceway_contracts.states import CONVERSATIONS_LISTED

Changes = dict[str, Any]
Others = Mapping[str, ContactState]

CONFLICTS_LISTED = 50
"""Anybody can type an address into a form: the record must not grow with that."""
ASSURANCE = ("asserted", "channel", "verified", "agent")
"""From the lowest to the highest; what is not among them is lower."""


def changes(old: ContactState, event: Event, others: Others) -> Changes:
    """The fields that the event gives another value. `others` has the contacts that it names."""
    fields = _FIELDS.get(type(event.data))
    told = {} if fields is None else fields(old, event, event.data, others)
    return {name: value for name, value in told.items() if getattr(old, name) != value}


def _received(old: ContactState, event: Event, received: MessageReceived, others: Others) -> Changes:
    """A guest, who was admitted by a token, speaks in the conversation and is not its contact."""
    author = received.message.author
    theirs = author.address is not None and author.contact_id == old.id
    found = [_address(event, author.address or "", author.assurance, "inbound")] if theirs else []
    return _spoke(old, event.subject) | {"addresses": _linked(old.addresses, found)}


def _sent(old: ContactState, event: Event, sent: MessageSent, others: Others) -> Changes:
    to = [party for party in sent.message.to if party.address and party.contact_id == old.id]
    found = [_address(event, party.address or "", party.assurance, "outbound") for party in to]
    return _spoke(old, event.subject) | {"addresses": _linked(old.addresses, found)}


def _opened(
    old: ContactState, event: Event, opened: ConversationOpened | ConversationReopened, others: Others
) -> Changes:
    id = opened.conversation_id
    return {"conversations": _listed(old.conversations, id), "open_conversation": id}


def _closed(old: ContactState, event: Event, closed: ConversationClosed, others: Others) -> Changes:
    return {"open_conversation": None} if old.open_conversation == closed.conversation_id else {}


def _link(old: ContactState, event: Event, link: ContactLinked | ContactVerified, others: Others) -> Changes:
    """Who has an address has no conflict about it any more."""
    found = [_address(event, one, link.assurance, link.method) for one in link.addresses]
    return {
        "addresses": _linked(old.addresses, found),
        "conflicts": _without_addresses(old.conflicts, link.addresses),
    }


def _unlink(old: ContactState, event: Event, unlink: ContactUnlinked, others: Others) -> Changes:
    return {"addresses": tuple(one for one in old.addresses if one.address not in unlink.addresses)}


def _conflict(old: ContactState, event: Event, conflict: ContactConflict, others: Others) -> Changes:
    known = [one for one in old.conflicts if one.candidate_id == conflict.candidate_id]
    addresses = tuple(address for one in known for address in one.addresses)
    if known and set(conflict.addresses) <= set(addresses):
        return {}
    both = tuple(dict.fromkeys([*addresses, *conflict.addresses]))
    new = OpenConflict(candidate_id=conflict.candidate_id, addresses=both, at=event.time)
    return {"conflicts": (*(one for one in old.conflicts if one not in known), new)[-CONFLICTS_LISTED:]}


def _consent(old: ContactState, event: Event, consent: ConsentChanged, others: Others) -> Changes:
    new = ConsentState(
        address=consent.address,
        channel=consent.channel,
        purpose=consent.purpose,
        state=consent.state,
        at=event.time,
    )
    return {"consents": (*(one for one in old.consents if _about(one) != _about(new)), new)}


def _merge(old: ContactState, event: Event, merge: ContactMerged, others: Others) -> Changes:
    if merge.from_id == merge.into_id:
        return {}
    if old.id != merge.into_id:
        return {"merged_into": merge.into_id, "open_conversation": None}
    return _merged(old, others.get(merge.from_id) or ContactState(id=merge.from_id), merge)


def _split(old: ContactState, event: Event, split: ContactUnmerged, others: Others) -> Changes:
    if split.from_id == split.into_id:
        return {}
    restored = others.get(split.into_id) or ContactState(id=split.into_id)
    survivor = others.get(split.from_id) or ContactState(id=split.from_id)
    return _restored(restored, survivor, split) if old.id == split.into_id else _left(old, restored, split)


def _merged(old: ContactState, other: ContactState, merge: ContactMerged) -> Changes:
    """`other` is now this contact, with all that it had."""
    goes_on = {moved.from_id: moved.into_id for moved in merge.conversations}
    open = old.open_conversation or other.open_conversation
    conflicts = [one for one in (*other.conflicts, *old.conflicts) if one.candidate_id not in (old.id, other.id)]
    return {
        "addresses": _linked(old.addresses, other.addresses),
        "conversations": _listed(other.conversations, *old.conversations),
        "open_conversation": goes_on.get(open, open) if open else None,
        "consents": _latest([*other.consents, *old.consents]),
        "conflicts": tuple(conflicts[-CONFLICTS_LISTED:]),
        "merged_from": tuple(dict.fromkeys([*old.merged_from, other.id, *other.merged_from])),
    }


def _restored(old: ContactState, survivor: ContactState, split: ContactUnmerged) -> Changes:
    """Again a contact of its own: with the addresses that the event names, and what was told of them meanwhile."""
    own = set(split.addresses) or {one.address for one in old.addresses}
    went_on = [moved.from_id for moved in split.conversations]  # where both spoke: it may have been this contact's
    kept = _linked((), [one for one in (*old.addresses, *survivor.addresses) if one.address in own])
    return {
        "merged_into": None,
        "addresses": kept,
        "consents": _latest([*old.consents, *(one for one in survivor.consents if one.address in own)]),
        "open_conversation": next((id for id in went_on if id in old.conversations), old.open_conversation),
    }


def _left(old: ContactState, restored: ContactState, split: ContactUnmerged) -> Changes:
    """Without what is the other's again. Asks of its record only what this event leaves as it is."""
    own = set(split.addresses) or {one.address for one in restored.addresses}
    theirs = {restored.id, *restored.merged_from}
    conversations = tuple(id for id in old.conversations if id not in restored.conversations)
    return {
        "addresses": tuple(one for one in old.addresses if one.address not in own),
        "conversations": conversations,
        "open_conversation": old.open_conversation if old.open_conversation in conversations else None,
        "consents": tuple(one for one in old.consents if one.address not in own),
        "merged_from": tuple(id for id in old.merged_from if id not in theirs),
    }


def _spoke(old: ContactState, conversation: str | None) -> Changes:
    """In a conversation whose opening is not on the stream any more, or still to come."""
    if conversation is None or conversation in old.conversations:
        return {}
    return {
        "conversations": _listed(old.conversations, conversation),
        "open_conversation": old.open_conversation or conversation,
    }


def _listed(known: Iterable[str], *more: str) -> tuple[str, ...]:
    """The last of them, each once."""
    return tuple(dict.fromkeys([*known, *more]))[-CONVERSATIONS_LISTED:]


def _address(event: Event, address: str, assurance: str | None, method: str) -> ContactAddress:
    return ContactAddress(
        address=address,
        assurance=assurance or ASSURANCE[0],
        method=method,
        since=event.time,
        channel=event.channel,
    )


def _linked(known: Iterable[ContactAddress], more: Iterable[ContactAddress]) -> tuple[ContactAddress, ...]:
    """With more of them. Of one known already only the assurance rises, and then by the new method."""
    found = {one.address: one for one in known}
    for one in more:
        old = found.setdefault(one.address, one)
        if _rank(one.assurance) > _rank(old.assurance):
            found[one.address] = msgspec.structs.replace(old, assurance=one.assurance, method=one.method)
    return tuple(found.values())


def _rank(assurance: str) -> int:
    return ASSURANCE.index(assurance) if assurance in ASSURANCE else -1


def _latest(told: Iterable[ConsentState]) -> tuple[ConsentState, ...]:
    """Of two contacts' consents the later ones; their order in the stream is not known any more."""
    found: dict[tuple[str, str, str], ConsentState] = {}
    for one in told:
        other = found.get(_about(one))
        if other is None or other.at <= one.at:
            found[_about(one)] = one
    return tuple(found.values())


def _about(consent: ConsentState) -> tuple[str, str, str]:
    return consent.address, consent.channel, consent.purpose


def _without_addresses(known: Iterable[OpenConflict], settled: tuple[str, ...]) -> tuple[OpenConflict, ...]:
    left = []
    for one in known:
        addresses = tuple(address for address in one.addresses if address not in settled)
        if addresses:
            left.append(one if addresses == one.addresses else msgspec.structs.replace(one, addresses=addresses))
    return tuple(left)


_FIELDS: Mapping[type[EventData], Callable[[ContactState, Event, Any, Others], Changes]] = {
    MessageReceived: _received,
    MessageSent: _sent,
    ConversationOpened: _opened,
    ConversationReopened: _opened,
    ConversationClosed: _closed,
    ContactLinked: _link,
    ContactVerified: _link,
    ContactUnlinked: _unlink,
    ContactConflict: _conflict,
    ContactMerged: _merge,
    ContactUnmerged: _split,
    ConsentChanged: _consent,
}
