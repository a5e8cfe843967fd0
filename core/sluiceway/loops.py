"""What keeps two machines from writing letters to each other for ever: few automatic ones, and none to a machine.

Only channels with letters know of it (RFC 3834). Counts in KV, so that every process and every restart agrees.
"""

from __future__ import annotations

import datetime

from msgspec import Struct

from sluiceway_contracts import MessageReceived, MessageSend
from sluiceway_contracts.values import Time, now

from .accounts import Served
from .bus.store import Bucket
from .checks import Refusal
from .identity import Identity
from .latest import Latest

AUTOMATIC = frozenset({"bot", "system"})
"""Authors who are no people."""
ONE_IN = datetime.timedelta(days=1)


class Answered(Struct, frozen=True):
    """`<tenant>.l.<hash of account and address>`: which automatic letter was the last, and when."""

    message_id: str
    at: Time


class Loops:
    """One account's. Methods raise `Unavailable`."""

    def __init__(self, served: Served, bucket: Bucket[Answered], identity: Identity, latest: Latest) -> None:
        self._served = served
        self._bucket = bucket
        self._identity = identity
        self._latest = latest

    async def admit(self, send: MessageSend, contact: str, address: str) -> None:
        """Return where it may go, and count it, once. Raises `Refusal` for one automatic letter too many."""
        if not self._served.gateway.capabilities.letters or send.author.role not in AUTOMATIC:
            return
        await self._refuse_machines(contact, address)
        key = f"{self._served.tenant}.l.{self._identity.external_key(self._served.name, address)}"
        last = await self._bucket.get(key)
        if last is not None and last.value.message_id != send.message_id and now() - last.value.at < ONE_IN:
            raise Refusal("too_many_automatic", "the address had an automatic letter within a day; a person may write")
        if last is None or last.value.message_id != send.message_id:
            await self._bucket.put(key, Answered(send.message_id, now()))

    async def _refuse_machines(self, contact: str, address: str) -> None:
        event = await self._latest.event(self._served.tenant, contact, channel=self._served.channel)
        if event is None or not isinstance(event.data, MessageReceived):
            return
        message = event.data.message
        if message.author.address == address and message.ext.get(self._served.channel, {}).get("automatic"):
            raise Refusal("automatic_sender", "what it answers was sent by a machine; a person may answer")
