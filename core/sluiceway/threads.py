"""Which conversation a letter is in, by the msg-ids that it answers; and what a letter of ours is to answer.

A msg-id travels on, in quotations, archives and forwarded letters: it leads to a conversation only those who wrote the
letter or to whom it was addressed, by an address that is proven. Who took part is kept as keyed hashes, for as long as
the bucket of messages keeps its records.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from sluiceway_contracts import EmailThread, MessageReceived

from .accounts import Served
from .bus.store import Bucket, Conflict
from .continuity import Continuity, Place
from .identity import Identity
from .latest import Latest
from .ledger import Ledger

LOOKED_AT = 10
"""Of the msg-ids that a letter refers to, the nearest."""
CHAIN = 50
MAX_SUBJECT = 900


class ThreadRecord(Struct, frozen=True):
    """`<tenant>.i.<hash of the msg-id>`: the conversation that a letter is in, and hashes of those who took part."""

    conversation: str
    parties: frozenset[str]


class Thread(NamedTuple):
    """A conversation that a letter refers to, and whether its sender takes part in it."""

    conversation: str
    is_party: bool


class Ahead(NamedTuple):
    """What the next letter of ours in a conversation answers, and the subject that it has by that."""

    thread: EmailThread
    subject: str | None


class Threads:
    """Letters of all tenants. Methods raise `Unavailable`."""

    def __init__(
        self, bucket: Bucket[ThreadRecord], ledger: Ledger, identity: Identity, continuity: Continuity, latest: Latest
    ) -> None:
        self._bucket = bucket
        self._ledger = ledger
        self._identity = identity
        self._continuity = continuity
        self._latest = latest

    async def find(self, served: Served, address: str, message_ids: Iterable[str]) -> Thread | None:
        """The conversation that the nearest of these letters is in, for whoever writes from this address."""
        token = self._continuity.token(address)
        wanted = list(dict.fromkeys(message_ids))[:LOOKED_AT]
        found = await asyncio.gather(*(self._record(served, message_id) for message_id in wanted))
        records = [record for record in found if record is not None]
        best = next((record for record in records if token in record.parties), None) or next(iter(records), None)
        return Thread(best.conversation, token in best.parties) if best is not None else None

    async def note(self, served: Served, message_id: str, place: Place, addresses: Iterable[str]) -> None:
        """Remember a customer's letter, and whom it was from and to; done again, it changes nothing."""
        record = ThreadRecord(place.conversation, frozenset(map(self._continuity.token, addresses)))
        with contextlib.suppress(Conflict):
            await self._bucket.create(thread_key(self._identity, served.tenant, served.name, message_id), record)

    async def ahead(self, served: Served, contact: str, conversation: str, subject: str | None) -> Ahead:
        """What a letter of ours answers: the customer's last one in the conversation."""
        event = await self._latest.event(
            served.tenant, contact, channel=served.channel, conversation=conversation
        ) or await self._latest.event(served.tenant, contact, channel=served.channel)
        message = event.data.message if event is not None and isinstance(event.data, MessageReceived) else None
        thread = message.thread if message is not None else None
        if message is None or thread is None or thread.message_id is None:
            return Ahead(EmailThread(), subject)
        before = tuple(dict.fromkeys((*thread.references, *thread.in_reply_to)))
        chain = (*before[:1], *before[1:][-(CHAIN - 2) :], thread.message_id)
        answered = EmailThread(in_reply_to=(thread.message_id,), references=tuple(dict.fromkeys(chain)))
        return Ahead(answered, subject or _answering(message.subject))

    async def _record(self, served: Served, message_id: str) -> ThreadRecord | None:
        ours, theirs = await asyncio.gather(
            self._ledger.named(served.tenant, served.name, message_id),
            self._bucket.get(thread_key(self._identity, served.tenant, served.name, message_id)),
        )
        if ours is not None and ours.record is not None:
            to = (piece.recipient for piece in ours.record.pieces if piece.recipient is not None)
            return ThreadRecord(ours.record.conversation, frozenset(map(self._continuity.token, to)))
        return theirs.value if theirs is not None else None


def _answering(subject: str | None) -> str | None:
    if not subject:
        return None
    return subject if subject[:3].lower() == "re:" else f"Re: {subject}"[:MAX_SUBJECT]


def thread_key(identity: Identity, tenant: str, account: str, message_id: str) -> str:
    """Where the record of a letter is."""
    return f"{tenant}.i.{identity.external_key(account, message_id)}"
