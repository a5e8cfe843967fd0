"""What a person decides about contacts and conversations: link, unlink, merge, split, open, close; and what proves it.

Each may be done again after a crash, and is then finished, not doubled. Knows no subjects and no commands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from sluiceway_contracts import Party, addresses, uuid7
from sluiceway_contracts.values import now

from .accounts import Served
from .bus.store import Conflict
from .checks import Refusal
from .contacts import (
    ASSURANCE,
    AddressRecord,
    Change,
    ClaimRecord,
    ContactRecord,
    Known,
    Merge,
    closed,
    linked,
    reopened,
    stripped,
    unlinked,
)
from .continuity import Continuity
from .directory import TRIES, Person, Table
from .errors import Unavailable
from .gateway import Received
from .latest import Latest
from .merges import Grounds, Other, joined, parted, passed, redirected, restored

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
        owner = await self._owner(change.tenant, known.address, person.contact)
        if owner != person.contact:
            what = f"the address is the contact {owner}'s: merge the two, or unlink it there first"
            raise Refusal("address_taken", what)
        await self._directory.change_now(change, partial(linked, known=known, by=by))

    async def unlink(self, change: Change, address: str, by: Party | None = None) -> None:
        """Take an address from a contact: who writes from there next is somebody new. Raises `Refusal`."""
        person = await self._present(change.tenant, change.contact)
        continuity, token = self._continuity, self._continuity.token(address)
        await self._take(continuity.addresses, f"{change.tenant}.a.{token}", person.contact)
        await self._take(continuity.addresses, f"{change.tenant}.n.{token}", person.contact)
        await self._take(continuity.claims, f"{change.tenant}.u.{token}", person.contact)
        await self._strip(change.tenant, person.record, address)
        await self._directory.change_now(change, partial(unlinked, address=address, by=by))

    async def merge(self, change: Change, other: str, undo: str, grounds: Grounds) -> None:
        """Make another contact one with `change.contact`. Raises `Refusal` or `Unavailable`.

        First the other refers to this one, and changes no more; then all that is its is taken over.
        """
        for _ in range(TRIES):
            self._directory.forget(change.tenant, change.contact)
            self._directory.forget(change.tenant, other)
            into = await self._present(change.tenant, change.contact)
            joining = await self._present(change.tenant, other)
            if joining.contact == into.contact:
                await self._finish(change, other, grounds)
                await self._finish(change, change.contact, grounds)
                return
            if into.record.brought(joining.contact, undo) is not None:
                return  # it was done, and taken back
            refer = partial(redirected, into=into.contact, undo=undo)
            await self._directory.change(change.tenant, joining.contact, refer)
        raise Unavailable(f"the contacts {change.contact} and {other} keep being merged")

    async def split(self, change: Change, undo: str, grounds: Grounds) -> None:
        """Take a merge back. Raises `Refusal` where the contact has none such, or `Unavailable`."""
        record = await self._told(change.tenant, change.contact)
        merges = [merge for merge in record.merges if merge.undo == undo] if record is not None else []
        if not merges:
            raise Refusal("unknown_merge", "the contact has no such merge; `undo` is the one of contact.merged")
        for merge in merges:
            await self._part(change, merge, grounds)

    async def _part(self, change: Change, merge: Merge, grounds: Grounds) -> None:
        leaves = await self._directory.exact(change.tenant, merge.contact)
        record = await self._directory.exact(change.tenant, change.contact)
        if record is not None and merge in record.merges and not merge.undone:
            theirs = leaves.conversation if leaves is not None else merge.theirs
            step = partial(parted, change, merge=merge, theirs=theirs, grounds=grounds)
            held = await self._pass_on(change, record, step(record), merge, theirs)
            record, _ = await self._directory.change(change.tenant, change.contact, partial(step, held=held))
        elif record is not None and record.merged_into is not None:
            await self._finish(change, change.contact, grounds)
        done = record.brought(merge.contact, merge.undo) if record is not None else None
        if done is None or not done.undone:
            raise Unavailable(f"the contact {change.contact} is changed at the moment")
        if leaves is not None:
            back = change._replace(contact=merge.contact)
            await self._directory.change(change.tenant, merge.contact, partial(restored, back, merge=done))

    async def _pass_on(
        self, change: Change, below: ContactRecord, after: ContactRecord, gone: Merge, theirs: str
    ) -> Merge | None:
        """Tell those whom `below` was merged into that it has less now; how a conversation that leaves was left."""
        held, contact = None, change.contact
        while below.merged_into is not None:
            above = below.merged_into
            record = await self._told(change.tenant, above)
            merge = record.brought(contact, below.undo) if record is not None else None
            if record is None or merge is None:
                raise Unavailable(f"the contact {above} is being merged")
            there = change._replace(contact=above)
            step = partial(passed, there, merge=merge, below=after.addresses, gone=gone, theirs=theirs)
            expected = step(record)
            now_there, _ = await self._directory.change(change.tenant, above, step)
            if now_there.merged_into != record.merged_into or now_there.addresses != expected.addresses:
                raise Unavailable(f"the contact {above} is changed at the moment")
            left = now_there.brought(contact, below.undo)
            if left is not None and left.left == gone.undo:
                held = replace(left, held=True)
            contact, below, after = above, record, now_there
        return held

    async def _finish(self, change: Change, contact: str, grounds: Grounds) -> None:
        """Take over whom others have begun to merge, from this contact on."""
        for _ in range(TRIES):
            record = await self._told(change.tenant, contact)
            if record is None or record.merged_into is None or record.undo is None:
                return
            self._directory.forget(change.tenant, record.merged_into)
            into = await self._directory.exact(change.tenant, record.merged_into)
            if into is None:
                return
            if into.brought(contact, record.undo) is None:
                if into.merged_into is None:
                    await self._join_up(change._replace(contact=record.merged_into), Person(contact, record), grounds)
                else:  # it was merged too before this one arrived
                    root, _ = await self._directory.trace(change.tenant, record.merged_into)
                    turned = partial(_turned, before=record, root=root, contact=contact)
                    await self._directory.change(change.tenant, contact, turned)
                continue
            contact = record.merged_into
        raise Unavailable(f"the contact {contact} keeps being merged")

    async def _told(self, tenant: str, contact: str) -> ContactRecord | None:
        """The record as it is, when what it has to tell was told: who wrote it may have died before that."""
        self._directory.forget(tenant, contact)
        if await self._directory.exact(tenant, contact) is None:
            return None
        record, _ = await self._directory.change(tenant, contact, lambda record: record)
        return record

    async def _join_up(self, change: Change, other: Person, grounds: Grounds) -> None:
        into = await self._directory.exact(change.tenant, change.contact)
        if into is None or other.record.undo is None:
            return
        begin = partial(_tried, before=other.record)  # so that nobody else turns it elsewhere meanwhile
        tried, _ = await self._directory.change(change.tenant, other.contact, begin)
        if tried.tries == other.record.tries:
            return
        last = await self._wrote_last(change.tenant, Person(change.contact, into), other)
        joining = Other(other.contact, other.record, last)
        step = partial(joined, change, other=joining, undo=other.record.undo, grounds=grounds)
        await self._directory.change(change.tenant, change.contact, step)

    async def _owner(self, tenant: str, address: str, contact: str) -> str:
        """Who has the address, proven: this contact, unless somebody else has. Raises `Unavailable`."""
        key, mine = f"{tenant}.a.{self._continuity.token(address)}", AddressRecord(contact)
        for _ in range(TRIES):
            try:
                await self._continuity.addresses.create(key, mine)
                return contact
            except Conflict as conflict:
                found = conflict.found
            if found is None:
                raise Unavailable(f"the key {key} was written and can't be read yet; a replica is behind")
            owner = await self._directory.find(tenant, found.value.contact)
            if owner is not None:
                return owner.contact
            with contextlib.suppress(Conflict):  # the address of somebody whose record is gone
                await self._continuity.addresses.update(key, mine, found.revision)
                return contact
        raise Unavailable(f"the key {key} keeps changing")

    async def _take(self, table: Table[AddressRecord] | Table[ClaimRecord], key: str, contact: str) -> None:
        """Delete a key where it is this contact's."""
        for _ in range(TRIES):
            found = await table.get(key)
            if found is None:
                return
            owner, _ = await self._directory.trace(key.partition(".")[0], found.value.contact)
            if owner != contact:
                return
            with contextlib.suppress(Conflict):
                await table.delete(key, found.revision)
                return
        raise Unavailable(f"the key {key} keeps changing")

    async def _strip(self, tenant: str, record: ContactRecord, address: str) -> None:
        """Take an address from those who were joined to a contact, so that it does not come back with a split."""
        for merge in record.merges:
            if not merge.undone and await self._directory.exact(tenant, merge.contact) is not None:
                joined_one, _ = await self._directory.change(
                    tenant, merge.contact, lambda record: stripped(record, address)
                )
                await self._strip(tenant, joined_one, address)

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
        owner = await self._owner(change.tenant, known.address, change.contact)
        if owner == change.contact:
            await self._directory.change_now(change, partial(linked, known=known))
            return
        older, younger = sorted((change.contact, owner))  # whoever does it, does the same
        grounds = Grounds(known.method, known.evidence)
        await self.merge(change._replace(contact=older), younger, uuid7(), grounds)

    async def close(self, change: Change, conversation: str, reason: str) -> None:
        """End a conversation; one that has ended already stays as it is. Raises `Refusal` or `Unavailable`."""
        talk = await self._continuity.find(change.tenant, conversation)
        if talk is not None and talk.conversation != conversation:  # or does it go on since a moment ago?
            self._directory.forget(change.tenant, talk.contact)
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
    now_theirs = record.conversation == conversation and record.merged_into is None
    return closed(change, record, reason, now()) if now_theirs else record


def _turned(record: ContactRecord, *, before: ContactRecord, root: str, contact: str) -> ContactRecord:
    """Referring to whom this one would have come to, had it arrived."""
    return replace(record, merged_into=root) if record == before and root != contact else record


def _tried(record: ContactRecord, *, before: ContactRecord) -> ContactRecord:
    return replace(record, tries=record.tries + 1) if record == before else record


def _reopened(change: Change, record: ContactRecord, *, conversation: str) -> ContactRecord:
    ended = record.conversation == conversation and record.closed_at is not None and record.merged_into is None
    return reopened(change, record, "inbound") if ended else record
