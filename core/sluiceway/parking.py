"""Deliveries and commands that can't be used, put aside with their bytes and announced. Nothing is retried here.

A dead letter is the delivery's body or the command as it came; all else about it is in its headers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from msgspec import Struct

from sluiceway_contracts import AccountUnknown, Error, ErrorDeadLetter, Event, Piece, subjects
from sluiceway_contracts.events import EventData

from . import metrics
from .bus.link import Ack, Link, Refused
from .checks import Task
from .errors import Unavailable
from .identity import Identity
from .ledger import MessageRecord
from .stream import EventStream
from .wire import Request

NOBODYS = "_"
"""For the tenant or channel of what is none's that is known."""
MAX_HEADER_CHARS = 300
MAX_PATH_CHARS = 2000

ERROR, REASON, METHOD, URL, SUBPATH = (f"sluiceway-{name}" for name in ("error", "reason", "method", "url", "subpath"))
HISTORY, TRIED, ARRIVED = (f"sluiceway-{name}" for name in ("history", "tried", "arrived"))


class Parcel(Struct, frozen=True, kw_only=True):
    """What is put aside, and where it came from. `tenant` is `_` where nobody knows whose it is.

    `raw` is what can't be read: the body, or one entry of it. With `request` the whole delivery is kept, so that it
    can be replayed; never its query or other headers, which may hold secrets.
    """

    tenant: str
    channel: str
    connection: str
    raw: bytes
    content_type: str
    request: Request | None = None

    @property
    def kept(self) -> bytes:
        return self.raw if self.request is None else self.request.body


class Parking:
    """The stream of dead letters, `<prefix>.v1.<tenant>.dead.` and `inbound.<channel>.<connection>` or
    `commands.<channel>.<account>`.
    """

    def __init__(self, link: Link, prefix: str, identity: Identity, stream: EventStream) -> None:
        self._link = link
        self._start = f"{prefix}.{subjects.VERSION}"
        self._identity = identity
        self._stream = stream

    async def park(self, parcel: Parcel, error: Error) -> None:
        """Keep a delivery that can't be read, and say so. Raises `Unavailable`."""
        sequence = await self._keep(parcel, error)
        dead = ErrorDeadLetter(error=error, sequence=sequence, connection=parcel.connection)
        await self._announce(parcel, dead, "")

    async def park_unknown(self, parcel: Parcel, identity: str) -> None:
        """Keep a delivery to an identity that is nobody's account, and say so. Raises `Unavailable`."""
        error = Error(code="account_unknown", message="no account has this identity")
        sequence = await self._keep(parcel, error)
        unknown = AccountUnknown(connection=parcel.connection, identity=identity, sequence=sequence)
        await self._announce(parcel, unknown, identity)

    async def bury(self, task: Task, record: MessageRecord, piece: Piece) -> None:
        """Keep a command whose tries are used up, with their history, and say so. Raises `Unavailable`.

        Doing it twice, after a crash, keeps one. `piece` is the one that could not be sent.
        """
        tenant, command_id = task.command.tenant, task.command.id
        error = piece.error or Error(code=piece.status, message="its tries are used up")
        arrived = sum(piece.external_id is not None for piece in record.pieces)
        names = (self._start, tenant, "dead.commands", record.channel, record.account)
        headers = {
            "Nats-Msg-Id": f"{tenant}:{command_id}:dead",
            "content-type": "application/cloudevents+json",
            ERROR: _header(error.code),
            REASON: _header(error.message),
            TRIED: str(record.tried),
            HISTORY: msgspec.json.encode(record.history).decode(),
            ARRIVED: f"{arrived}/{len(record.pieces)}",
        }
        ack = await self._store(".".join(names), task.delivery.data, headers)
        if not ack.duplicate:
            metrics.count(metrics.dead_letters, "commands", record.account).inc()
        data = ErrorDeadLetter(error=error, sequence=ack.seq, command_id=command_id)
        event = Event(
            id=self._identity.id(tenant, data.type, record.account, command_id),
            tenant=tenant,
            channel=record.channel,
            account=record.account,
            contactid=record.contact,
            subject=record.conversation,
            causationid=command_id,
            data=data,
        )
        await self._stream.publish(event)

    async def _keep(self, parcel: Parcel, error: Error) -> int:
        names = (self._start, parcel.tenant, "dead.inbound", parcel.channel, parcel.connection)
        headers = {
            "Nats-Msg-Id": f"{parcel.tenant}:{parcel.connection}:{_digest(parcel.kept)}",
            "content-type": _header(parcel.content_type),
            ERROR: _header(error.code),
            REASON: _header(error.message),
        }
        if parcel.request is not None:
            headers |= _where(parcel.request)
        ack = await self._store(".".join(names), parcel.kept, headers)
        if not ack.duplicate:
            metrics.count(metrics.dead_letters, "inbound", parcel.connection).inc()
        return ack.seq

    async def _store(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Ack:
        try:
            return await self._link.publish(subject, payload, headers)
        except Refused as refused:
            raise Unavailable(f"the stream of dead letters refuses: {refused}") from refused

    async def _announce(self, parcel: Parcel, data: EventData, what: str) -> None:
        id = self._identity.id(parcel.tenant, data.type, parcel.connection, _digest(parcel.raw), what)
        channel = None if parcel.channel == NOBODYS else parcel.channel
        await self._stream.publish(Event(id=id, tenant=parcel.tenant, channel=channel, data=data))


def _where(request: Request) -> dict[str, str]:
    """What a gateway's `receive` needs besides the body."""
    return {
        "content-type": _header(request.headers.get("content-type", "")),
        METHOD: _header(request.method),
        URL: quote(request.url.partition("?")[0], safe="%/:@[]!$&'()*+,;=~")[:MAX_PATH_CHARS],
        SUBPATH: quote(request.subpath.partition("?")[0], safe="%/:@[]!$&'()*+,;=~")[:MAX_PATH_CHARS],
    }


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _header(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:MAX_HEADER_CHARS]
