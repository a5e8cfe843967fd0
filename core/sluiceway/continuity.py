"""Which contact an address belongs to, and in which conversation it speaks: claimed in KV, so that all replicas agree.

Claim first: whoever creates a key wins, whoever loses reads the winner. A conversation is announced before its first
message, exactly once: whoever finds it unannounced publishes `conversation.opened`, whose id follows from the
conversation, and then notes that it did. Nothing is merged or closed here.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, TypeVar

from msgspec import Struct

from sluiceway_contracts import ConversationOpened, Event, uuid7

from . import metrics
from .bus.link import Link
from .bus.store import Bucket, Conflict, Entry
from .cache import Cache
from .errors import ConfigError, Unavailable
from .identity import Identity
from .stream import EventStream

T = TypeVar("T", bound=Struct)

CACHE_SIZE = 100_000


class AddressRecord(Struct, frozen=True):
    """`<tenant>.a.<address key>`: whose address it is."""

    contact: str


class Reach(Struct, frozen=True):
    """An address of a contact, and the account of ours that it is reached from."""

    address: str
    channel: str
    account: str


class ContactRecord(Struct, frozen=True):
    """`<tenant>.c.<contact>`: the contact's open conversation, and how it is reached."""

    conversation: str
    reaches: tuple[Reach, ...]


class ConversationRecord(Struct, frozen=True):
    """`<tenant>.v.<conversation>`: whose it is, and whether the stream knows of it."""

    contact: str
    announced: bool = False


class FingerprintRecord(Struct, frozen=True):
    """`fingerprint`: of the identity key that this bucket was begun with."""

    fingerprint: str


class Place(NamedTuple):
    """Where a message belongs. `resolved_by` is a word of `MessageReceived`."""

    contact: str
    conversation: str
    is_new: bool = False

    @property
    def resolved_by(self) -> str:
        return "new" if self.is_new else "open"


class Talk(NamedTuple):
    """A conversation: whose it is, and how that contact is reached, latest last."""

    contact: str
    conversation: str
    reaches: tuple[Reach, ...]


class Continuity:
    """Contacts and conversations of all tenants."""

    def __init__(self, link: Link, bucket: str, identity: Identity, stream: EventStream) -> None:
        self._identity = identity
        self._stream = stream
        self._addresses = Bucket(link, bucket, AddressRecord)
        self._contacts = Bucket(link, bucket, ContactRecord)
        self._conversations = Bucket(link, bucket, ConversationRecord)
        self._fingerprints = Bucket(link, bucket, FingerprintRecord)
        self._places: Cache[tuple[str, Reach], Place] = Cache(CACHE_SIZE)
        self._talks: Cache[tuple[str, str], Talk] = Cache(CACHE_SIZE)
        link.on_reconnect += [self._places.clear, self._talks.clear]

    async def check_key(self) -> None:
        """Refuse another key than the one that this deployment began with. Raises `ConfigError` or `Unavailable`."""
        mine = FingerprintRecord(self._identity.fingerprint)
        try:
            await self._fingerprints.create("fingerprint", mine)
        except Conflict:
            found = await self._fingerprints.get("fingerprint")
            if found is not None and found.value != mine:
                what = "is not the key that this NATS's contacts were made with; use that one, it is never changed"
                raise ConfigError("configuration", "identity.key", what) from None

    async def resolve(self, tenant: str, reach: Reach, reason: str) -> Place:
        """The contact and open conversation of an address, made where there is none. Raises `Unavailable`.

        `reason` is why a conversation would be opened, a word of `ConversationOpened`.
        """
        cached = self._places.get((tenant, reach))
        if cached is not None:
            return cached
        contact, known = await self._claim_address(tenant, reach.address)
        conversation, revision = await self._claim_conversation(tenant, contact, known, reach)
        is_new = await self._announce(tenant, contact, conversation, revision, reach, reason)
        self._places.put((tenant, reach), Place(contact, conversation))
        return Place(contact, conversation, is_new)

    def known(self, tenant: str, conversation: str) -> Talk | None:
        """What `find` found before; the contact may have gained an address since."""
        return self._talks.get((tenant, conversation))

    async def find(self, tenant: str, conversation: str) -> Talk | None:
        """A conversation as it is now; None where it isn't there. Raises `Unavailable`."""
        found = await self._conversations.get(f"{tenant}.v.{conversation}")
        contact = await self._contacts.get(f"{tenant}.c.{found.value.contact}") if found is not None else None
        if found is None or contact is None:
            return None
        talk = Talk(found.value.contact, conversation, contact.value.reaches)
        self._talks.put((tenant, conversation), talk)
        return talk

    async def _claim_address(self, tenant: str, address: str) -> tuple[str, bool]:
        """The contact, and whether the address was known."""
        key = f"{tenant}.a.{self._identity.address_key(address)}"
        contact = uuid7()
        try:
            await self._addresses.create(key, AddressRecord(contact))
        except Conflict:
            return (await _present(self._addresses, key)).value.contact, True
        return contact, False

    async def _claim_conversation(self, tenant: str, contact: str, known: bool, reach: Reach) -> tuple[str, int]:
        """The conversation, and its record's revision where it was made just now, else 0."""
        key = f"{tenant}.c.{contact}"
        entry = await self._contacts.get(key) if known else None
        if entry is None:
            conversation = uuid7()
            try:
                # both at once: a conversation that loses the race is a record that nobody refers to
                _, revision = await asyncio.gather(
                    self._contacts.create(key, ContactRecord(conversation, (reach,))),
                    self._conversations.create(f"{tenant}.v.{conversation}", ConversationRecord(contact)),
                )
            except Conflict:
                entry = await _present(self._contacts, key)
            else:
                return conversation, revision
        while reach not in entry.value.reaches:
            wider = ContactRecord(entry.value.conversation, (*entry.value.reaches, reach))
            try:
                await self._contacts.update(key, wider, entry.revision)
                break
            except Conflict:
                entry = await _present(self._contacts, key)
        return entry.value.conversation, 0

    async def _announce(
        self, tenant: str, contact: str, conversation: str, revision: int, reach: Reach, reason: str
    ) -> bool:
        """Make sure that the stream knows the conversation; whether it was news."""
        key = f"{tenant}.v.{conversation}"
        if not revision and (found := await self._conversations.get(key)) is not None:
            if found.value.announced:
                return False
            revision = found.revision
        opened = ConversationOpened(
            conversation_id=conversation, contact_id=contact, channel=reach.channel, reason=reason
        )
        event = Event(
            id=self._identity.id(tenant, opened.type, conversation),
            tenant=tenant,
            channel=reach.channel,
            account=reach.account,
            contactid=contact,
            subject=conversation,
            data=opened,
        )
        await self._stream.publish(event)
        metrics.count(metrics.conversations_opened, reach.channel).inc()
        try:
            await self._conversations.update(key, ConversationRecord(contact, announced=True), revision)
        except Conflict:
            return False
        return True


async def _present(bucket: Bucket[T], key: str) -> Entry[T]:
    entry = await bucket.get(key)
    if entry is None:
        raise Unavailable(f"the key {key} was written and can't be read yet; a replica is behind")
    return entry
