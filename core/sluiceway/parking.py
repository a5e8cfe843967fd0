"""Deliveries that can't be used, put aside with their raw bytes and announced. Nothing is thrown away or retried."""

from __future__ import annotations

import hashlib

from msgspec import Struct

from sluiceway_contracts import AccountUnknown, Error, ErrorDeadLetter, Event, subjects
from sluiceway_contracts.events import EventData

from .bus.link import Link, Refused
from .errors import Unavailable
from .identity import Identity
from .stream import EventStream

MAX_HEADER_CHARS = 300


class Parcel(Struct, frozen=True, kw_only=True):
    """What is put aside, and where it came from. `tenant` is `_` where nobody knows whose it is."""

    tenant: str
    channel: str
    connection: str
    raw: bytes
    content_type: str


class Parking:
    """The stream of dead letters, `<prefix>.v1.<tenant>.dead.inbound.<channel>.<connection>`."""

    def __init__(self, link: Link, prefix: str, identity: Identity, stream: EventStream) -> None:
        self._link = link
        self._prefix = prefix
        self._identity = identity
        self._stream = stream

    async def park(self, parcel: Parcel, error: Error) -> None:
        """Keep a delivery that can't be read, and say so. Raises `Unavailable`."""
        sequence = await self._store(parcel, error)
        dead = ErrorDeadLetter(error=error, sequence=sequence, connection=parcel.connection)
        await self._announce(parcel, dead, "")

    async def park_unknown(self, parcel: Parcel, identity: str) -> None:
        """Keep a delivery to an identity that is nobody's account, and say so. Raises `Unavailable`."""
        error = Error(code="account_unknown", message="no account has this identity")
        sequence = await self._store(parcel, error)
        unknown = AccountUnknown(connection=parcel.connection, identity=identity, sequence=sequence)
        await self._announce(parcel, unknown, identity)

    async def _store(self, parcel: Parcel, error: Error) -> int:
        names = (parcel.tenant, "dead.inbound", parcel.channel, parcel.connection)
        subject = ".".join((self._prefix, subjects.VERSION, *names))
        headers = {
            "Nats-Msg-Id": f"{parcel.tenant}:{parcel.connection}:{_key(parcel)}",
            "content-type": _header(parcel.content_type),
            "sluiceway-error": _header(error.code),
            "sluiceway-reason": _header(error.message),
        }
        try:
            return (await self._link.publish(subject, parcel.raw, headers)).seq
        except Refused as refused:
            raise Unavailable(f"the stream of dead letters refuses: {refused}") from refused

    async def _announce(self, parcel: Parcel, data: EventData, what: str) -> None:
        id = self._identity.id(parcel.tenant, data.type, parcel.connection, _key(parcel), what)
        await self._stream.publish(Event(id=id, tenant=parcel.tenant, channel=parcel.channel, data=data))


def _key(parcel: Parcel) -> str:
    return hashlib.sha256(parcel.raw).hexdigest()


def _header(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:MAX_HEADER_CHARS]
