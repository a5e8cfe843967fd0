"""Facts on their way to the stream: credited to an account, redacted, resolved to a conversation, published.

What can't be used is parked. Knows neither providers nor how a fact came here: off a hook, or out of the spool.
"""

from __future__ import annotations

import msgspec
import structlog

from sluiceway_contracts import ConsentChanged, Error, Event, Message, MessageReceived, Party, addresses
from sluiceway_contracts.events import EventData
from sluiceway_contracts.parts import complete, plain
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Accounts, Served
from .continuity import FRESH, Place
from .errors import Malformed, SluicewayError, Unavailable
from .gateway import AnyFact, Consent, Receipt, Received, Unreadable
from .identity import Identity
from .ledger import Ledger
from .locks import Locks
from .parking import Parcel, Parking
from .placement import Placement
from .record import Record
from .redact import redact
from .reports import status_event
from .stream import EventStream
from .wire import JSON

log = structlog.get_logger(__name__)


class Facts:
    """The way from a fact to its event, for every account of this process."""

    def __init__(
        self,
        accounts: Accounts,
        identity: Identity,
        placement: Placement,
        ledger: Ledger,
        stream: EventStream,
        parking: Parking,
    ) -> None:
        self._accounts = accounts
        self._identity = identity
        self._placement = placement
        self._ledger = ledger
        self._stream = stream
        self._parking = parking
        self._locks = Locks()

    async def take(self, record: Record, fact: AnyFact) -> None:
        """Store one fact of a delivery; twice taken, it is one event. Raises `Unavailable`."""
        served = self._accounts.at(record.connection, fact.at)
        if served is None:
            log.error("account.unknown", connection=record.connection, remedy="add an account for it")
            await self._parking.park_unknown(self._parcel(record, fact), fact.at)
            return
        try:
            match fact:
                case Received():
                    await self._received(served, record, fact)
                case Receipt():
                    await self._receipt(served, fact)
                case Consent():
                    await self._consent(served, record, fact)
                case Unreadable():
                    raise Malformed(fact.why)
        except Unavailable:
            raise
        except Exception as error:
            await self.park(record, explained(record.connection, error), fact)
        else:
            metrics.count(metrics.facts, served.name, type(fact).__name__.lower()).inc()

    async def park(self, record: Record, error: Error, fact: AnyFact | None = None) -> None:
        """Keep what is proven but can't be used: another try would not help. Raises `Unavailable`."""
        await self._parking.park(self._parcel(record, fact), error)

    def _parcel(self, record: Record, fact: AnyFact | None) -> Parcel:
        request = record.request
        raw, content_type = (request.body, request.content_type) if request is not None else (b"", "")
        if isinstance(fact, Unreadable):
            raw = fact.raw
        elif request is None and fact is not None:
            raw, content_type = msgspec.json.encode(fact), JSON
        return Parcel(
            tenant=self._accounts.tenant_of(record.connection),
            channel=self._accounts.gateways[record.connection].channel,
            connection=record.connection,
            raw=raw,
            content_type=content_type,
            request=request,
        )

    async def _received(self, served: Served, record: Record, fact: Received) -> None:
        fact, redactions = redact(fact)
        address = addresses.normalise(fact.sender)
        async with self._locks.of((served.tenant, address)):
            if now() - record.arrived_at > FRESH and await self._was_erased(served, record, address):
                return
            place = await self._placement.of(served, fact, address)
            id = self._identity.id(served.tenant, served.channel, served.name, "received", fact.key)
            author = Party(
                role="customer",
                address=address,
                contact_id=None if place.guest else place.contact,
                name=fact.name,
                assurance=fact.assurance,
            )
            parts = complete(fact.parts)
            message = Message(
                id=id,
                author=author,
                to=(Party(role="system", address=served.account.address),),
                parts=parts,
                text=plain(parts),
                external_ids=fact.external_ids,
                occurred_at=fact.occurred_at,
                received_at=record.arrived_at,
                lang=fact.lang,
                reply_to=fact.reply_to,
                referral=fact.referral,
                redactions=redactions or record.redactions.get(fact.key, ()),
                ext={served.channel: fact.ext} if fact.ext else {},
            )
            data = MessageReceived(message=message, resolved_by=place.resolved_by, is_new_conversation=place.is_new)
            ack = await self._stream.publish(_event(served, id, place, data, actor="customer"))
        what = "message.duplicate" if ack.duplicate else "message.received"
        log.debug(what, account=served.name, message=id, conversation=place.conversation, sequence=ack.seq)

    async def _receipt(self, served: Served, fact: Receipt) -> None:
        async with self._locks.of((served.tenant, fact.external_id)):
            applied = await self._ledger.apply(served.tenant, served.name, fact)
            if applied is None:
                log.info("receipt.waits", account=served.name, status=fact.status)
            elif applied.news:
                event = status_event(
                    served.tenant, applied.message_id, applied.record, applied.piece, fact, self._identity
                )
                await self._stream.publish(event)
                log.debug("message.status", account=served.name, message=applied.message_id, status=fact.status)

    async def _consent(self, served: Served, record: Record, fact: Consent) -> None:
        address = addresses.normalise(fact.address)
        async with self._locks.of((served.tenant, address)):
            if await self._was_erased(served, record, address):
                return
            place = await self._placement.of(served, fact, address)
            data = ConsentChanged(
                address=address,
                channel=served.channel,
                purpose=fact.purpose,
                state=fact.state,
                method=fact.method,
                evidence=fact.evidence,
            )
            id = self._identity.id(served.tenant, served.channel, served.name, "consent", fact.key)
            await self._stream.publish(_event(served, id, place, data, actor="customer"))

    async def _was_erased(self, served: Served, record: Record, address: str) -> bool:
        """Whether it waited, in a spool say, while its sender was erased: then it is dropped."""
        erased = await self._placement.continuity.was_erased(served.tenant, address, record.arrived_at)
        if erased:
            metrics.count(metrics.facts_erased, served.name).inc()
            log.info("fact.erased", account=served.name)
        return erased


def explained(connection: str, error: Exception) -> Error:
    """Why a delivery, or a fact of it, can't be used; told in the log too."""
    known = isinstance(error, (SluicewayError, addresses.InvalidAddress))
    why = str(error) if isinstance(error, SluicewayError) else f"{type(error).__name__} in the gateway"
    log.error("delivery.unreadable", connection=connection, why=why, exc_info=None if known else error)
    return Error(code="unreadable" if known else "gateway_error", message=why)


def _event(served: Served, id: str, place: Place, data: EventData, actor: str) -> Event:
    return Event(
        id=id,
        tenant=served.tenant,
        channel=served.channel,
        account=served.name,
        contactid=place.contact,
        subject=place.conversation,
        actorrole=actor,
        data=data,
    )
