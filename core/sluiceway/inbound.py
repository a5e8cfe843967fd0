"""What a provider delivers, on its way to the stream: verify, receive, credit, resolve, publish, and only then reply.

The order is fixed. Nothing is acknowledged before JetStream has it; what can't be read is parked; what fails in here is
the provider's 503, so that it tries again. Reads no sockets and knows no provider.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from sluiceway_contracts import ConsentChanged, Error, Event, Message, MessageReceived, Party, addresses
from sluiceway_contracts.events import EventData
from sluiceway_contracts.parts import complete, plain
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Accounts, Served
from .continuity import Continuity, Place, Reach
from .driver import Driver
from .errors import Ambiguous, Malformed, SluicewayError, Throttled, Unavailable, Unreachable, Unverified
from .gateway import AnyFact, Consent, Intake, Receipt, Received, Unreadable, Webhook
from .identity import Identity
from .ledger import Ledger
from .locks import Locks
from .parking import Parcel, Parking
from .redact import redact
from .reports import status_event
from .stream import EventStream
from .wire import Request, Response

log = structlog.get_logger(__name__)

RETRY_LATER = Response(status=503, headers={"retry-after": "5"})


class Inbound:
    """The way in, for every hook of this process."""

    def __init__(
        self,
        accounts: Accounts,
        identity: Identity,
        continuity: Continuity,
        ledger: Ledger,
        stream: EventStream,
        parking: Parking,
        driver: Driver,
    ) -> None:
        self._accounts = accounts
        self._identity = identity
        self._continuity = continuity
        self._ledger = ledger
        self._stream = stream
        self._parking = parking
        self._driver = driver
        self._locks = Locks()

    async def deliver(self, connections: Sequence[str], request: Request) -> Response:
        """Take a delivery on a hook that these connections share, and give the provider's answer. Never raises."""
        refusal: Unverified | Malformed | None = None
        reply: Response | None = None
        for connection in connections:
            try:
                self._webhook(connection).verify(request)
            except (Unverified, Malformed) as error:
                refusal = error
                continue
            try:
                taken = await self._take(connection, request)
            except Unavailable as error:
                metrics.count(metrics.deliveries, connection, "unavailable").inc()
                log.error("delivery.unavailable", connection=connection, error=str(error))
                return RETRY_LATER
            reply = reply or taken
        if reply is not None:
            return reply
        return self._refuse(connections[0], refusal)

    def _refuse(self, connection: str, error: Unverified | Malformed | None) -> Response:
        metrics.count(metrics.deliveries, connection, "refused").inc()
        log.warning("delivery.refused", connection=connection, why=str(error))
        return Response(status=error.status if isinstance(error, Malformed) else 403)

    async def _take(self, connection: str, request: Request) -> Response:
        try:
            intake = await self._receive(connection, request)
        except Unavailable:
            raise
        except Exception as error:
            await self._park(connection, request, error)
            metrics.count(metrics.deliveries, connection, "parked").inc()
            return self._webhook(connection).accepted
        for fact in intake.facts:
            await self._take_fact(connection, request, fact)
        metrics.count(metrics.deliveries, connection, "stored").inc()
        return intake.reply

    async def _receive(self, connection: str, request: Request) -> Intake:
        received = self._webhook(connection).receive(request)
        if isinstance(received, Intake):
            return received
        try:
            return await self._driver.play(received)
        except (Unreachable, Throttled, Ambiguous) as error:
            raise Unavailable(f"the provider could not be asked: {error.code}") from error

    async def _take_fact(self, connection: str, request: Request, fact: AnyFact) -> None:
        served = self._accounts.at(connection, fact.at)
        if served is None:
            log.error("account.unknown", connection=connection, remedy="add an account for it to the configuration")
            await self._parking.park_unknown(self._parcel(connection, request), fact.at)
            return
        metrics.count(metrics.facts, served.name, type(fact).__name__.lower()).inc()
        try:
            match fact:
                case Received():
                    await self._received(served, fact)
                case Receipt():
                    await self._receipt(served, fact)
                case Consent():
                    await self._consent(served, fact)
                case Unreadable():
                    raise Malformed(fact.why)
        except Unavailable:
            raise
        except Exception as error:
            raw = fact.raw if isinstance(fact, Unreadable) else None
            await self._park(connection, request, error, raw)

    async def _park(self, connection: str, request: Request, error: Exception, raw: bytes | None = None) -> None:
        """Keep what is proven but can't be used: another try would not help, so it is acknowledged."""
        known = isinstance(error, (SluicewayError, addresses.InvalidAddress))
        why = str(error) if isinstance(error, SluicewayError) else f"{type(error).__name__} in the gateway"
        log.error("delivery.unreadable", connection=connection, why=why, exc_info=None if known else error)
        unreadable = Error(code="unreadable" if known else "gateway_error", message=why)
        await self._parking.park(self._parcel(connection, request, raw), unreadable)

    def _parcel(self, connection: str, request: Request, raw: bytes | None = None) -> Parcel:
        return Parcel(
            tenant=self._accounts.tenant_of(connection),
            channel=self._accounts.gateways[connection].channel,
            connection=connection,
            raw=request.body if raw is None else raw,
            content_type=request.content_type,
        )

    async def _received(self, served: Served, fact: Received) -> None:
        fact, redactions = redact(fact)
        address = addresses.normalise(fact.sender)
        async with self._locks.of((served.tenant, address)):
            place = await self._continuity.resolve(served.tenant, _reach(served, address), "inbound")
            id = self._identity.id(served.tenant, served.channel, served.name, "received", fact.key)
            author = Party(
                role="customer", address=address, contact_id=place.contact, name=fact.name, assurance="channel"
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
                received_at=now(),
                lang=fact.lang,
                reply_to=fact.reply_to,
                referral=fact.referral,
                redactions=redactions,
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

    async def _consent(self, served: Served, fact: Consent) -> None:
        address = addresses.normalise(fact.address)
        async with self._locks.of((served.tenant, address)):
            place = await self._continuity.resolve(served.tenant, _reach(served, address), "inbound")
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

    def _webhook(self, connection: str) -> Webhook:
        gateway = self._accounts.gateways[connection]
        assert isinstance(gateway, Webhook)  # noqa: S101  # hooks are made of these alone
        return gateway


def _reach(served: Served, address: str) -> Reach:
    return Reach(address=address, channel=served.channel, account=served.name)


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
