"""What is left of an erased contact in the records: that there was one. Erases nothing from the stream."""

from __future__ import annotations

import datetime

from sluiceway_contracts import ContactState, ConversationState, is_uuid

from .records import Held, Records
from .state import CONTACT, CONVERSATION, ERASED, Key, is_erased


async def erase(records: Records, tenant: str, contact: str, at: datetime.datetime) -> None:
    """Replace the records of a contact, of those merged into it, and of their conversations.

    Raises `bus.store.Conflict` or `Unavailable`; done again, it goes on where it ended: what leads to others goes last.
    """
    people = await _people(records, tenant, contact)
    conversations = await _conversations(records, tenant, people)
    for key, held in sorted(conversations.items(), key=_age):  # each names the one before it
        state = held.record
        contact_id = state.contact if isinstance(state, ConversationState) else None
        tombstone = ConversationState(id=key.id, contact=contact_id, state=ERASED)
        await records.write(tenant, key, tombstone, held.revision)
    for key, held in reversed(people.items()):
        if not is_erased(held.record):
            await records.write(tenant, key, ContactState(id=key.id, erased_at=at), held.revision)


async def _people(records: Records, tenant: str, contact: str) -> dict[Key, Held]:
    """The contact, and then all that are it now."""
    first = Key(CONTACT, contact)
    found = await records.load(tenant, [first])
    record = found[first].record
    merged = record.merged_from if isinstance(record, ContactState) else ()
    return found | await records.load(tenant, [Key(CONTACT, id) for id in merged if id != contact])


async def _conversations(records: Records, tenant: str, people: dict[Key, Held]) -> dict[Key, Held]:
    """All that are theirs: a contact's record has the last ones, each of which names the one before."""
    ids = {key.id for key in people}
    found: dict[Key, Held] = {}
    wanted: set[str] = set()
    for held in people.values():
        if isinstance(held.record, ContactState):
            wanted |= set(filter(None, (*held.record.conversations, held.record.open_conversation)))
    seen: set[str] = set()
    while wanted:
        seen |= wanted
        looked = await records.load(tenant, [Key(CONVERSATION, id) for id in wanted])
        wanted = set()
        for key, held in looked.items():
            record = held.record
            if isinstance(record, ConversationState) and not is_erased(record) and record.contact in ids:
                found[key] = held
                if record.previous_id is not None and is_uuid(record.previous_id):
                    wanted |= {record.previous_id} - seen
    return found


def _age(entry: tuple[Key, Held]) -> int:
    record = entry[1].record
    return record.first_sequence if record is not None else 0
