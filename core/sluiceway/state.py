"""What an event changes in the records of conversations and contacts: a fold, with the same end for every replay.

An event whose number a record has passed changes nothing, nor does one that tells nothing new; what was erased stays
so. Reads and writes nothing, and does not know what all an erasure concerns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from sluiceway_contracts import (
    ConsentChanged,
    ContactConflict,
    ContactErased,
    ContactLinked,
    ContactMerged,
    ContactState,
    ContactUnlinked,
    ContactUnmerged,
    ContactVerified,
    ConversationChannelChanged,
    ConversationClosed,
    ConversationOpened,
    ConversationReopened,
    ConversationState,
    Event,
    MessageReceived,
    MessageSent,
    MessageStatus,
    subjects,
)
from sluiceway_contracts.events import EventData

from . import state_contact, state_conversation

Record = ConversationState | ContactState
CONVERSATION, CONTACT = "conversation", "contact"
ERASED = "erased"


class Key(NamedTuple):
    """A record's."""

    kind: str
    id: str

    def at(self, tenant: str) -> str:
        """As it is in the bucket. Raises `InvalidSubject` where the id, which is somebody else's word, is no token."""
        return f"{tenant}.{self.kind}.{subjects.token(self.id)}"


_Contact = ContactLinked | ContactUnlinked | ContactVerified | ContactConflict | ContactErased
Records = Mapping[Key, Record | None]


def keys(event: Event) -> tuple[Key, ...]:
    """The records that an event may change; of those that depend on another's content, the dependent one first."""
    find = _KEYS.get(type(event.data))
    return () if find is None else find(event, event.data)


def stands_alone(event: Event) -> bool:
    """Whether a record's change depends on another record: all before must be written, and this before what follows."""
    return isinstance(event.data, ContactMerged | ContactUnmerged | ContactErased)


def fold(event: Event, sequence: int, records: Records) -> dict[Key, Record]:
    """The records that the event changes, as they are after it, in the order of `keys`, which `records` must have."""
    changed: dict[Key, Record] = {}
    for key in keys(event):
        old = records[key]
        if key.kind == CONVERSATION:
            new: Record | None = _conversation(key.id, old, event, sequence)
        else:
            new = _contact(key.id, old, event, sequence, records)
        if new is not None:
            changed[key] = new
    return changed


def is_erased(record: Record | None) -> bool:
    """Whether there is nothing left to change."""
    match record:
        case ConversationState(state=state):
            return state == ERASED
        case ContactState(erased_at=at):
            return at is not None
    return False


def _conversation(id: str, old: Record | None, event: Event, sequence: int) -> ConversationState | None:
    if is_erased(old) or (old is not None and old.last_sequence >= sequence):
        return None
    known = old if isinstance(old, ConversationState) else ConversationState(id=id, state="open")
    changes = state_conversation.changes(known, event, sequence)
    if not changes:
        return None
    changes |= {"last_sequence": sequence, "last_at": event.time}
    if old is None:
        changes |= {"first_sequence": sequence, "first_at": event.time}
    if known.contact is None and "contact" not in changes and not stands_alone(event):
        changes["contact"] = event.contactid
    return msgspec.structs.replace(known, **changes)


def _contact(id: str, old: Record | None, event: Event, sequence: int, records: Records) -> ContactState | None:
    if is_erased(old) or (old is not None and old.last_sequence >= sequence):
        return None
    known = old if isinstance(old, ContactState) else ContactState(id=id)
    others = {key.id: other for key, other in records.items() if isinstance(other, ContactState)}
    changes = state_contact.changes(known, event, others)
    if not changes and not stands_alone(event):
        return None  # what asks another record is noted even so: later, that record would answer otherwise
    changes["last_sequence"] = sequence
    if old is None:
        changes["first_sequence"] = sequence
    return msgspec.structs.replace(known, **changes)


def _of_message(event: Event, _: EventData) -> tuple[Key, ...]:
    conversation = (Key(CONVERSATION, event.subject),) if event.subject else ()
    return (*conversation, Key(CONTACT, event.contactid)) if event.contactid else conversation


def _of_status(event: Event, _: EventData) -> tuple[Key, ...]:
    return (Key(CONVERSATION, event.subject),) if event.subject else ()


def _of_conversation(_: Event, data: ConversationOpened | ConversationClosed | ConversationReopened) -> tuple[Key, ...]:
    return Key(CONVERSATION, data.conversation_id), Key(CONTACT, data.contact_id)


def _of_channel(_: Event, data: ConversationChannelChanged) -> tuple[Key, ...]:
    return (Key(CONVERSATION, data.conversation_id),)


def _of_contact(_: Event, data: ContactLinked | ContactUnlinked | ContactVerified | ContactConflict) -> tuple[Key, ...]:
    return (Key(CONTACT, data.contact_id),)


def _of_consent(event: Event, _: EventData) -> tuple[Key, ...]:
    return (Key(CONTACT, event.contactid),) if event.contactid else ()


def _of_merge(_: Event, data: ContactMerged | ContactUnmerged) -> tuple[Key, ...]:
    """`into_id` first: it takes what `from_id` had, which must not have gone on when this is done again."""
    is_merge = isinstance(data, ContactMerged)
    moved = [Key(CONVERSATION, one.from_id if is_merge else one.into_id) for one in data.conversations]
    return tuple(dict.fromkeys([Key(CONTACT, data.into_id), Key(CONTACT, data.from_id), *moved]))


_KEYS: Mapping[type[EventData], Callable[[Event, Any], tuple[Key, ...]]] = {
    MessageReceived: _of_message,
    MessageSent: _of_message,
    MessageStatus: _of_status,
    ConversationOpened: _of_conversation,
    ConversationClosed: _of_conversation,
    ConversationReopened: _of_conversation,
    ConversationChannelChanged: _of_channel,
    ContactLinked: _of_contact,
    ContactUnlinked: _of_contact,
    ContactVerified: _of_contact,
    ContactConflict: _of_contact,
    ContactErased: _of_contact,
    ContactMerged: _of_merge,
    ContactUnmerged: _of_merge,
    ConsentChanged: _of_consent,
}
