"""Which contact an address belongs to, and in which conversation it speaks: claimed in KV, so that all replicas agree.

Claim first: whoever creates a key wins, whoever loses reads the winner. What nobody proved claims nothing: an address
typed into a form is remembered as somebody's word for it, one that a mail merely says it is from speaks for itself
alone. Neither joins a conversation of the address's owner. Merging is `unions`' matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from sluiceway_contracts import ContactLinked, ConversationOpened, uuid7
from sluiceway_contracts.values import Time, now

from .bus.link import Link
from .bus.store import Bucket, Conflict, Entry
from .cache import Cache
from .contacts import (
    AddressRecord,
    Change,
    ClaimRecord,
    ContactRecord,
    Known,
    Reach,
    begun,
    doubted,
    heard,
    linked,
    stripped,
)
from .directory import CACHE_SIZE, TRIES, Directory, Table
from .discreet import DiscreetContacts, Texts
from .errors import ConfigError, Unavailable
from .identity import Identity
from .spellings import canonical
from .stream import EventStream
from .windows import Windows

ASSERTED = "asserted"
INVITED = datetime.timedelta(days=30)
"""For so long an answer from an address that we wrote to proves that it is the contact's."""
INVITED_AGAIN = datetime.timedelta(hours=1)
"""When we write there again so much later, the time is noted anew."""
MAX_NOTED = 50
"""A contact's addresses that nobody proved: what is typed further is not remembered, or a record would never end."""
FRESH = datetime.timedelta(seconds=5)
"""What was received so recently needs no look at tombstones: whoever erases waits longer than that."""


class Tombstone(Struct, frozen=True):
    """`<tenant>.e.<address key>`: whose address it was is erased; what was received before that is nobody's."""

    erased_at: Time


class FingerprintRecord(Struct, frozen=True):
    """`fingerprint`: of the identity key that this bucket was begun with."""

    fingerprint: str


class Place(NamedTuple):
    """Where a message belongs. `resolved_by` is a word of `MessageReceived`; a guest writes, and is not the contact.

    `suggested` is a conversation that it refers to, without a right to be in it.
    """

    contact: str
    conversation: str
    is_new: bool = False
    guest: bool = False
    by: str = ""
    suggested: str | None = None

    @property
    def resolved_by(self) -> str:
        return self.by or ("token" if self.guest else "new" if self.is_new else "open")


class Talk(NamedTuple):
    """A conversation: whose it is now, as which one it goes on, and how that contact is reached.

    `reaches` are in the order of their first use; `asserted` are addresses that nobody proved, `closed` says that the
    conversation has ended, until somebody writes in it.
    """

    contact: str
    conversation: str
    reaches: tuple[Reach, ...]
    asserted: tuple[str, ...] = ()
    closed: bool = False


class _Claim(NamedTuple):
    """What came of claiming an address: whose it is, how that is known, who else said that it is theirs."""

    contact: str
    method: str
    rival: str | None
    is_new: bool


class Continuity:
    """Contacts and conversations of all tenants."""

    def __init__(self, link: Link, bucket: str, identity: Identity, stream: EventStream, windows: Windows) -> None:
        self._texts = Texts(link, bucket, identity)
        contacts = DiscreetContacts(Bucket[Any](link, bucket, dict), self._texts)
        self.directory = Directory(link, bucket, stream, contacts, read=contacts.read)
        self.addresses: Table[AddressRecord] = Bucket(link, bucket, AddressRecord)
        self.claims: Table[ClaimRecord] = Bucket(link, bucket, ClaimRecord)
        self._tombstones: Table[Tombstone] = Bucket(link, bucket, Tombstone)
        self._fingerprints: Table[FingerprintRecord] = Bucket(link, bucket, FingerprintRecord)
        self._identity = identity
        self._windows = windows
        self._owners: Cache[tuple[str, str, bool], str] = Cache(CACHE_SIZE)
        link.on_reconnect.append(self._owners.clear)

    async def check_key(self) -> None:
        """Refuse another key than the one that this deployment began with. Raises `ConfigError` or `Unavailable`."""
        mine = FingerprintRecord(self._identity.fingerprint)
        try:
            await self._fingerprints.create("fingerprint", mine)
        except Conflict as conflict:
            if conflict.found is None:
                raise Unavailable("the fingerprint was written and can't be read yet; a replica is behind") from None
            if conflict.found.value != mine:
                what = "is not the key that this NATS's contacts were made with; use that one, it is never changed"
                raise ConfigError("configuration", "identity.key", what) from None

    def token(self, address: str) -> str:
        """The key token of an address, the same for all its spellings."""
        return self._texts.key(canonical(address))

    async def resolve(
        self, tenant: str, reach: Reach, reason: str, assurance: str = "channel", *, automatic: bool = False
    ) -> Place:
        """The contact of an address and the conversation that it speaks in, made where there are none.

        `reason` is why a conversation would be opened, a word of `ConversationOpened`; `assurance` is how well the
        address is proven. What is `automatic` is no answer of whom we wrote to. Raises `Unavailable`.
        """
        owner = self._owners.get((tenant, reach.address, assurance != ASSERTED))
        record = self.directory.known(tenant, owner) if owner is not None else None
        if owner is not None and record is not None:
            window = self._windows.of(tenant, reach.channel)
            if record.is_settled(reach, reason == "inbound", now(), window):
                return Place(owner, record.conversation)
        known = Known(reach.address, assurance, "message", now())
        claim = await self._claim(tenant, known, automatic)
        place = await self._place(tenant, claim, reach, reason, msgspec.structs.replace(known, method=claim.method))
        self._owners.put((tenant, reach.address, assurance != ASSERTED), place.contact)
        return place

    async def speak(self, tenant: str, contact: str, reach: Reach, reason: str, guest: bool = False) -> Place:
        """The conversation of a contact that we know already, with one more word in it. Raises `Unavailable`."""
        change = Change(tenant, contact, now(), reach.channel, reach.account)
        window = self._windows.of(tenant, reach.channel)
        step = partial(heard, reach=reach, window=window, reason=reason, guest=guest)
        person, told = await self.directory.change_now(change, step)
        is_new = any(isinstance(event.data, ConversationOpened) for event in told)
        return Place(person.contact, person.record.conversation, is_new, guest)

    async def admit(
        self, tenant: str, conversation: str, reach: Reach, assurance: str = "channel", *, automatic: bool = False
    ) -> Place | None:
        """The place of a message that a reply token admits; None where the conversation is gone. Raises `Unavailable`.

        Whoever has the token speaks in that conversation, and becomes nobody by it; but an answer from the address that
        its contact gave and we wrote to proves that it is theirs, as one without a token does.
        """
        talk = await self.find(tenant, conversation)
        if talk is None:
            return None
        token = self.token(reach.address)
        owner = await self.addresses.get(f"{tenant}.{_kind(assurance)}.{token}")
        if owner is None and assurance != ASSERTED and not automatic:
            claim = await self.claims.get(f"{tenant}.u.{token}")
            if await self._invited(tenant, claim) == talk.contact:
                return (await self.resolve(tenant, reach, "inbound", assurance))._replace(by="token")
        guest = owner is None or await self._now(tenant, owner.value.contact) != talk.contact
        return await self.speak(tenant, talk.contact, reach, "inbound", guest)

    async def find(self, tenant: str, conversation: str) -> Talk | None:
        """A conversation, as it goes on now; None where there is none. Raises `Unavailable`."""
        contact = await self.directory.whose(tenant, conversation)
        person = await self.directory.find(tenant, contact) if contact is not None else None
        if person is None:
            return None
        record = person.record
        asserted = tuple(known.address for known in record.addresses if known.assurance == ASSERTED)
        return Talk(person.contact, record.conversation, record.reaches, asserted, record.closed_at is not None)

    async def owner(self, tenant: str, address: str) -> str | None:
        """Whose address it is, proven; else who gave it as theirs, or writes as it. Raises `Unavailable`."""
        token = self.token(address)
        found = (
            await self.addresses.get(f"{tenant}.a.{token}")
            or await self.claims.get(f"{tenant}.u.{token}")
            or await self.addresses.get(f"{tenant}.n.{token}")
        )
        person = await self.directory.find(tenant, found.value.contact) if found is not None else None
        return person.contact if person is not None else None

    async def was_erased(self, tenant: str, address: str, since: datetime.datetime) -> bool:
        """Whether whoever had the address was erased after this time. Raises `Unavailable`."""
        if now() - since <= FRESH:
            return False
        found = await self._tombstones.get(f"{tenant}.e.{self.token(address)}")
        return found is not None and since < found.value.erased_at

    async def note(self, tenant: str, contact: str, addresses: Sequence[str], method: str) -> None:
        """Remember addresses that a contact gave as theirs; one that is somebody else's is told as a conflict.

        Raises `Unavailable`.
        """
        for address in addresses:
            record = self.directory.known(tenant, contact)
            if record is not None and record.merged_into is None and _has_noted(record, address):
                continue
            known = Known(address, ASSERTED, method, now())
            token = self.token(address)
            owner = await self.addresses.get(f"{tenant}.a.{token}")
            other = owner.value.contact if owner is not None else await self._first_claim(tenant, token, contact)
            person = await self.directory.find(tenant, other)
            rival = person.contact if person is not None else contact
            change = Change(tenant, contact, known.since)
            await self.directory.change_now(change, partial(_noted, known=known, rival=rival))

    async def invite(self, tenant: str, contact: str, address: str) -> bool:
        """Note that we write to an address that a contact gave: an answer from there proves that it is theirs.

        False where it is, or was given first as, another's: then a person must decide. Who writes as the address is
        answered there. Raises `Unavailable`.
        """
        token = self.token(address)
        key = f"{tenant}.u.{token}"
        for _ in range(TRIES):
            owner = await self.addresses.get(f"{tenant}.a.{token}")
            if owner is not None:
                return await self._now(tenant, owner.value.contact) == contact
            claim = await self.claims.get(key)
            if claim is None or await self._now(tenant, claim.value.contact) != contact:
                writer = await self.addresses.get(f"{tenant}.n.{token}")
                return writer is not None and await self._now(tenant, writer.value.contact) == contact
            if _is_invited(claim.value, INVITED_AGAIN):
                return True
            with contextlib.suppress(Conflict):
                await self.claims.update(key, ClaimRecord(claim.value.contact, now()), claim.revision)
                return True
        raise Unavailable(f"the key {key} keeps changing")

    async def _place(self, tenant: str, claim: _Claim, reach: Reach, reason: str, known: Known) -> Place:
        contact, found = (claim.contact, None) if claim.is_new else await self.directory.trace(tenant, claim.contact)
        if found is None:
            change = Change(tenant, contact, known.since, reach.channel, reach.account)
            record = begun(change, reach, known, reason)
            if claim.rival is not None:
                record = doubted(change, record, known, claim.rival)
            try:
                told = await self.directory.create(tenant, contact, record)
            except Conflict:
                pass  # another process was faster
            else:
                return Place(contact, record.conversation, bool(told))
        change = Change(tenant, contact, known.since)
        person, told = await self.directory.change_now(change, partial(_confirmed, known=known, owner=claim.contact))
        if any(isinstance(event.data, ContactLinked) for event in told):
            await self._check(tenant, person.contact, known)
        return await self.speak(tenant, person.contact, reach, reason)

    async def _check(self, tenant: str, contact: str, known: Known) -> None:
        """Give an address up again that was unlinked while it was linked. Raises `Unavailable`."""
        owner = await self.addresses.get(f"{tenant}.{_kind(known.assurance)}.{self.token(known.address)}")
        if owner is None or await self._now(tenant, owner.value.contact) != contact:
            await self.directory.change(tenant, contact, partial(stripped, address=known.address))
            raise Unavailable("the address was unlinked at that moment")

    async def _claim(self, tenant: str, known: Known, automatic: bool) -> _Claim:
        """Whose the address is from now on: whose it was, else whom we wrote to there, else a new contact's."""
        token, mine = self.token(known.address), AddressRecord(uuid7())
        proven, proof = known.assurance != ASSERTED, f"{tenant}.a.{token}"
        key = f"{tenant}.{_kind(known.assurance)}.{token}"
        found, claim, owner = await asyncio.gather(
            self._create(key, mine),
            self.claims.get(f"{tenant}.u.{token}"),
            _nothing() if proven else self.addresses.get(proof),
        )
        contact = found.value.contact
        invited = await self._invited(tenant, claim) if proven and not automatic else None
        if invited not in (None, contact) and await self.directory.exact(tenant, contact) is None:
            contact = invited or contact  # nobody has spoken as the other yet
            try:
                await self.addresses.update(key, AddressRecord(contact), found.revision)
            except Conflict:
                return await self._claim(tenant, known, automatic)
        rival = next((entry.value.contact for entry in (owner, claim) if entry is not None), contact)
        return _Claim(
            contact=contact,
            method="answered" if contact == invited else known.method,
            rival=await self._now(tenant, rival) if rival != contact else None,
            is_new=contact == mine.contact,
        )

    async def _invited(self, tenant: str, claim: Entry[ClaimRecord] | None) -> str | None:
        """Whom we wrote to at an address that they gave, so lately that an answer proves it."""
        if claim is None or not _is_invited(claim.value, INVITED):
            return None
        return await self._now(tenant, claim.value.contact)

    async def _create(self, key: str, mine: AddressRecord) -> Entry[AddressRecord]:
        """The record of the key: ours, unless there was one."""
        try:
            return Entry(mine, await self.addresses.create(key, mine))
        except Conflict as conflict:
            if conflict.found is None:
                raise Unavailable(f"the key {key} was written and can't be read yet; a replica is behind") from None
            return conflict.found

    async def _first_claim(self, tenant: str, token: str, contact: str) -> str:
        """Who gave the address as theirs first: this contact, unless another did."""
        try:
            await self.claims.create(f"{tenant}.u.{token}", ClaimRecord(contact))
        except Conflict as conflict:
            if conflict.found is not None:
                first: str = conflict.found.value.contact
                return first
        return contact

    async def _now(self, tenant: str, contact: str) -> str:
        """Who the contact is now."""
        return (await self.directory.trace(tenant, contact))[0]


def _noted(change: Change, record: ContactRecord, *, known: Known, rival: str) -> ContactRecord:
    if _has_noted(record, known.address):
        return record
    record = linked(change, record, known)
    return doubted(change, record, known, rival) if rival != change.contact else record


def _confirmed(change: Change, record: ContactRecord, *, known: Known, owner: str) -> ContactRecord:
    """As `linked`; but what is the address of one who was joined to this contact comes, and goes, with them."""
    if change.contact != owner and record.knows(known.address) is None:
        return record
    return linked(change, record, known)


def _has_noted(record: ContactRecord, address: str) -> bool:
    """Whether an address that somebody gave is known, or one too many."""
    return record.knows(address) is not None or len(record.addresses) >= MAX_NOTED


def _kind(assurance: str) -> str:
    return "n" if assurance == ASSERTED else "a"


def _is_invited(claim: ClaimRecord, within: datetime.timedelta) -> bool:
    return claim.invited_at is not None and now() - claim.invited_at < within


async def _nothing() -> None:
    return None
