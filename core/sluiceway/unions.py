"""What a person decides about contacts and conversations: link, unlink, merge, split, open, close; and what proves it.

Each may be done again after a crash, and is then finished, not doubled. Knows no subjects and no commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from sluiceway_contracts import Party, addresses, uuid7
from sluiceway_contracts.values import now

from .accounts import Served
from .bus.store import Conflict
from .checks import Refusal
from .contacts import ASSURANCE, AddressRecord, Change, ContactRecord, Known, closed, linked, reopened, unlinked
from .continuity import Continuity
from .directory import Person
from .gateway import Received
from .latest import Latest
from .merges import Grounds, Other, joined, parted, redirected, restored, without

Step = Callable[[ContactRecord], ContactRecord]

CROSSING_S = 1.0
"""Until every process knows that a conversation has ended, and what it was about to publish is on the stream."""


class Unions:
    """Changes to who is who."""

    def __init__(self, continuity: Continuity, latest: Latest) -> None:
        self._continuity = continuity
        self._directory = continuity.directory
        self._latest = latest

    async def link(self, change: Change, known: Known, by: Party | None = None) -> None:
        """Give a contact an address. Raises `Refusal` where it is another's, or `Unavailable`."""
        if known.assurance not in ASSURANCE[1:]:
            raise Refusal("invalid", f"assurance is one of {', '.join(ASSURANCE[1:])}")
        person = await self._present(change.tenant, change.contact)
        key = f"{change.tenant}.a.{self._continuity.token(known.address)}"
        try:
            await self._continuity.addresses.create(key, AddressRecord(person.contact))
        except Conflict as conflict:
            owner = conflict.found.value.contact if conflict.found is not None else None
            other = await self._directory.find(change.tenant, owner) if owner is not None else None
            if other is not None and other.contact != person.contact:
                what = f"the address is the contact {other.contact}'s: merge the two, or unlink it there first"
                raise Refusal("address_taken", what) from None
            if other is None and conflict.found is not None:
                await self._continuity.addresses.update(key, AddressRecord(person.contact), conflict.found.revision)
        change = change._replace(contact=person.contact)
        await self._directory.change(change.tenant, person.contact, partial(linked, change, known=known, by=by))

    async def unlink(self, change: Change, address: str, by: Party | None = None) -> None:
        """Take an address from a contact: who writes from there next is somebody new. Raises `Refusal`."""
        person = await self._present(change.tenant, change.contact)
        token = self._continuity.token(address)
        for table, kind in ((self._continuity.addresses, "a"), (self._continuity.addresses, "n")):
            key = f"{change.tenant}.{kind}.{token}"
            found = await table.get(key)
            owner = await self._directory.find(change.tenant, found.value.contact) if found is not None else None
            if found is not None and owner is not None and owner.contact == person.contact:
                await table.delete(key, found.revision)
        change = change._replace(contact=person.contact)
        await self._directory.change(change.tenant, person.contact, partial(unlinked, change, address=address, by=by))

    async def merge(self, change: Change, other: str, undo: str, grounds: Grounds) -> None:
        """Make another contact one with `change.contact`. Raises `Refusal` or `Unavailable`."""
        into = await self._present(change.tenant, change.contact)
        joining = await self._present(change.tenant, other)
        if joining.contact == into.contact:
            return
        change = change._replace(contact=into.contact)
        last = await self._wrote_last(change.tenant, into, joining)
        step = partial(joined, change, other=Other(joining.contact, joining.record, last), undo=undo, grounds=grounds)
        await self._directory.change(change.tenant, into.contact, step)
        await self._directory.change(change.tenant, joining.contact, lambda record: redirected(record, into.contact))

    async def split(self, change: Change, undo: str, grounds: Grounds) -> None:
        """Take a merge back. Raises `Refusal` where the contact has none such, or `Unavailable`."""
        record = await self._directory.exact(change.tenant, change.contact)
        merge = next((merge for merge in record.merges if merge.undo == undo), None) if record is not None else None
        if record is None or merge is None:
            raise Refusal("unknown_merge", "the contact has no such merge; `undo` is the one of contact.merged")
        if merge.undone:
            return
        await self._directory.change(
            change.tenant, merge.contact, partial(restored, change._replace(contact=merge.contact), merge=merge)
        )
        later = record.merged_into
        while later is not None:  # what it was merged into has them too
            above, _ = await self._directory.change(change.tenant, later, lambda record: without(record, merge))
            later = above.merged_into
        await self._directory.change(
            change.tenant, change.contact, partial(parted, change, merge=merge, grounds=grounds)
        )

    async def hear(self, served: Served, contact: str, fact: Received) -> None:
        """Take what a message says of its sender's other addresses: proven ones join, others are noted.

        Raises `Unavailable`.
        """
        for address in fact.also if fact.assurance != "asserted" else ():
            known = Known(addresses.normalise(address), fact.assurance, "same_message", now(), fact.key)
            await self._join(Change(served.tenant, contact, known.since, served.channel, served.name), known)
        await self._continuity.note(
            served.tenant, contact, [addresses.normalise(address) for address in fact.asserted], served.channel
        )

    async def _join(self, change: Change, known: Known) -> None:
        record = self._directory.known(change.tenant, change.contact)
        if (
            record is not None
            and (before := record.knows(known.address)) is not None
            and before.assurance != "asserted"
        ):
            return
        key = f"{change.tenant}.a.{self._continuity.token(known.address)}"
        try:
            await self._continuity.addresses.create(key, AddressRecord(change.contact))
        except Conflict as conflict:
            owner = conflict.found.value.contact if conflict.found is not None else change.contact
            if await self._directory.find(change.tenant, owner) is not None:
                older, younger = sorted((change.contact, owner))  # whoever does it, does the same
                grounds = Grounds(known.method, known.evidence)
                await self.merge(change._replace(contact=older), younger, uuid7(), grounds)
                return
        await self._directory.change(change.tenant, change.contact, partial(linked, change, known=known))

    async def close(self, change: Change, conversation: str, reason: str) -> None:
        """End a conversation; one that has ended already stays as it is. Raises `Refusal` or `Unavailable`."""
        talk = await self._continuity.find(change.tenant, conversation)
        if talk is None:
            raise Refusal("unknown_conversation", "there is no such conversation; its id is an event's subject")
        if talk.conversation == conversation:
            change = change._replace(contact=talk.contact)
            await self.end(change, conversation, partial(_closed, change, conversation=conversation, reason=reason))

    async def end(self, change: Change, conversation: str, step: Step) -> ContactRecord:
        """Take a step that may end a conversation; what the customer writes at that moment opens it again."""
        before = await self._latest.sequence(change.tenant, conversation)
        record, _ = await self._directory.change(change.tenant, change.contact, step)
        if record.conversation == conversation and record.closed_at is not None:
            await asyncio.sleep(CROSSING_S)
            if await self._latest.sequence(change.tenant, conversation) > before:
                again = partial(_reopened, change._replace(at=now()), conversation=conversation)
                record, _ = await self._directory.change(change.tenant, change.contact, again)
        return record

    async def _present(self, tenant: str, contact: str) -> Person:
        person = await self._directory.find(tenant, contact)
        if person is None:
            raise Refusal("unknown_contact", f"there is no contact {contact}")
        return person

    async def _wrote_last(self, tenant: str, into: Person, joining: Person) -> bool:
        """Whether the customer wrote last in the conversation of the one that is to be joined."""
        ours = await self._latest.sequence(tenant, into.record.conversation)
        theirs = await self._latest.sequence(tenant, joining.record.conversation)
        return theirs > ours


def _closed(change: Change, record: ContactRecord, *, conversation: str, reason: str) -> ContactRecord:
    return closed(change, record, reason, now()) if record.conversation == conversation else record


def _reopened(change: Change, record: ContactRecord, *, conversation: str) -> ContactRecord:
    ended = record.conversation == conversation and record.closed_at is not None and record.merged_into is None
    return reopened(change, record, "inbound") if ended else record
