"""Facts on their way to the stream: credited to an account, redacted, resolved to a conversation, published.

What can't be used is parked. Knows neither providers nor how a fact came here: off a hook, or out of the spool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from sluiceway_contracts import (
    STATUS_ORDER,
    ConsentChanged,
    Error,
    Event,
    Message,
    MessageDeleted,
    MessageEdited,
    MessageReaction,
    MessageReceived,
    MessageSeen,
    MessageSent,
    Party,
    Piece,
    addresses,
)
from sluiceway_contracts import CallStep as CallStepped
from sluiceway_contracts.events import EventData
from sluiceway_contracts.parts import complete, plain
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Accounts, Served
from .continuity import FRESH, Place
from .errors import Malformed, SluicewayError, Unavailable
from .fetches import Fetches
from .gateway import (
    AnyFact,
    CallStep,
    Consent,
    Correspondent,
    Deleted,
    Edited,
    Reaction,
    Receipt,
    Received,
    Seen,
    Unreadable,
)
from .identity import Identity
from .ledger import Ledger, MessageRecord
from .locks import Locks
from .parking import Parcel, Parking
from .placement import Placement
from .record import CAUSES, Record
from .redact import redact
from .reports import status_event
from .stream import EventStream
from .targets import Target, Targets
from .wire import JSON

log = structlog.get_logger(__name__)

MAX_NAMED_CHARS = 500
MAX_PARKED_BYTES = 1 << 19
"""A delivery that is larger is not kept whole for one bad entry."""
CallTeller = Callable[[Served, CallStepped, str], Awaitable[None]]
"""Tells the queue of calls of a step, under this id. Raises `Unavailable`."""
AnyRemark = Reaction | Edited | Deleted | Seen


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
        *,
        fetches: Fetches,
        calls: CallTeller,
    ) -> None:
        self._accounts = accounts
        self._identity = identity
        self._placement = placement
        self._ledger = ledger
        self._targets = Targets(identity, ledger)
        self._stream = stream
        self._parking = parking
        self._fetches = fetches
        self._calls = calls
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
                case Received(echo=True):
                    await self._echo(served, record, fact)
                case Received():
                    await self._received(served, record, fact)
                case Reaction() | Edited() | Deleted() | Seen():
                    await self._remark(served, fact)
                case Receipt():
                    await self._receipt(served, fact)
                case Consent():
                    await self._consent(served, record, fact)
                case CallStep():
                    await self._call(served, record, fact)
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
        if fact is not None and request is not None and len(request.body) > MAX_PARKED_BYTES:
            request = None  # only what can't be used: the whole would not fit into a message of NATS
        raw, content_type = (request.body, request.content_type) if request is not None else (b"", "")
        if isinstance(fact, Unreadable):
            raw = fact.raw
        elif request is None and fact is not None:
            raw, content_type = _encoded(fact), JSON
        return Parcel(
            tenant=self._accounts.tenant_of(record.connection),
            channel=record.channel or self._accounts.channel_of(record.connection),
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
            reply_to, parts = await self._targets.answered(served, fact)
            parts = complete(parts)
            suggested = {"suggested_conversation": place.suggested} if place.suggested else {}
            ext = {**fact.ext, **suggested}
            message = Message(
                id=id,
                author=_customer(fact, address, place),
                to=_parties(served, fact.to) or (Party(role="system", address=served.account.address),),
                cc=_parties(served, fact.cc),
                subject=fact.subject,
                thread=fact.thread,
                parts=parts,
                text=plain(parts),
                external_ids=fact.external_ids,
                occurred_at=fact.occurred_at,
                received_at=record.arrived_at,
                lang=fact.lang,
                reply_to=reply_to,
                referral=fact.referral,
                reply_window_ends=fact.reply_window_ends,
                redactions=redactions or record.redactions.get(fact.key, ()),
                ext={served.channel: ext} if ext else {},
            )
            data = MessageReceived(message=message, resolved_by=place.resolved_by, is_new_conversation=place.is_new)
            ack = await self._stream.publish(_event(served, id, place, data, actor="customer"))
            await self._fetches.put(served, place, id, parts, fact.media)
            await self._note(served, fact, address, place)
        what = "message.duplicate" if ack.duplicate else "message.received"
        log.debug(what, account=served.name, message=id, conversation=place.conversation, sequence=ack.seq)

    async def _note(self, served: Served, fact: Received, address: str, place: Place) -> None:
        """Whom a letter lets take part: its author, and those to whom an author who is proven addressed it."""
        if fact.thread is None or fact.thread.message_id is None:
            return
        others = (*fact.to, *fact.cc) if fact.assurance != "asserted" else ()
        addressed = (one.address for one in others if one.address != served.account.address)
        await self._placement.threads.note(served, fact.thread.message_id, place, (address, *addressed))

    async def _echo(self, served: Served, record: Record, fact: Received) -> None:
        """Tell what one of us wrote in the channel's own app, unless it was sent through us."""
        fact, redactions = redact(fact)
        address = addresses.normalise(fact.sender)
        id = self._identity.id(served.tenant, served.channel, served.name, "echo", fact.key)
        external_id = fact.external_ids[0] if fact.external_ids else fact.key
        async with self._locks.of((served.tenant, address)):
            known = await self._ledger.named(served.tenant, served.name, external_id)
            if known is not None and known.message_id != id:
                return
            place = await self._placement.of(served, fact, address)
            sent = MessageRecord(
                state="done",
                command_id="",
                channel=served.channel,
                account=served.name,
                contact=place.contact,
                conversation=place.conversation,
                pieces=(Piece(index=1, of=1, status="sent", recipient=address, external_id=external_id),),
            )
            waiting = await self._ledger.adopt(served.tenant, external_id, id, sent)
            if waiting is None:
                return
            reply_to, parts = await self._targets.answered(served, fact)
            parts = complete(parts)
            message = Message(
                id=id,
                author=Party(role="agent"),
                sender=Party(role="system", address=served.account.address),
                to=(Party(role="customer", address=address, contact_id=place.contact, name=fact.name),),
                parts=parts,
                text=plain(parts),
                external_ids=fact.external_ids,
                occurred_at=fact.occurred_at,
                received_at=record.arrived_at,
                reply_to=reply_to,
                redactions=redactions or record.redactions.get(fact.key, ()),
                ext={served.channel: fact.ext} if fact.ext else {},
            )
            event_id = self._identity.id(served.tenant, MessageSent.type, served.name, id)
            await self._stream.publish(_event(served, event_id, place, MessageSent(message=message), actor="agent"))
            await self._fetches.put(served, place, id, parts, fact.media)
        for receipt in sorted(waiting, key=lambda receipt: STATUS_ORDER.get(receipt.status, len(STATUS_ORDER))):
            applied = await self._ledger.raise_status(served.tenant, id, 1, receipt)
            if applied.news:
                event = status_event(served.tenant, id, applied.record, applied.piece, receipt, self._identity)
                await self._stream.publish(event)

    async def _remark(self, served: Served, fact: AnyRemark) -> None:
        """Tell what was said of a message; where that is one of ours, no conversation is opened for it."""
        if isinstance(fact, Edited):
            fact, _ = redact(fact)
        address = addresses.normalise(fact.sender)
        async with self._locks.of((served.tenant, address)):
            target = await self._targets.of(served, fact)
            place = None
            if target.conversation is not None:
                place = await self._placement.of_sent(served.tenant, target.conversation)
            if place is None:
                place = await self._placement.of(served, fact, address)
            by = Party(role="agent") if fact.echo else _customer(fact, address, place)
            data = _told(fact, target, by)
            id = self._identity.id(served.tenant, served.channel, served.name, data.type, fact.key)
            await self._stream.publish(_event(served, id, place, data, actor=by.role))
            if isinstance(data, MessageEdited) and isinstance(fact, Edited) and data.target.id is not None:
                await self._fetches.put(served, place, data.target.id, data.parts, fact.media)

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

    async def _call(self, served: Served, record: Record, fact: CallStep) -> None:
        """Hand a step of a call to the queue of calls: one publish, for somebody is on the line."""
        step = CallStepped(
            call_id=fact.call_id,
            step=fact.step,
            leg=fact.leg,
            attempt=fact.attempt,
            external_id=fact.external_id,
            channel=served.channel,
            account=served.name,
            address=addresses.normalise(fact.address) if fact.address is not None else None,
            assurance=fact.assurance,
            name=fact.name,
            duration_ms=fact.duration_ms,
            recording=fact.recording,
            skill=fact.skill,
            occurred_at=fact.occurred_at or record.arrived_at,
            error=fact.error,
        )
        id = self._identity.id(served.tenant, served.channel, served.name, "call", fact.key)
        await self._calls(served, step, id)

    async def _was_erased(self, served: Served, record: Record, address: str) -> bool:
        """Whether it waited, in a spool say, while its sender was erased: then it is dropped."""
        erased = await self._placement.continuity.was_erased(served.tenant, address, record.arrived_at)
        if erased:
            metrics.count(metrics.facts_erased, served.name).inc()
            log.info("fact.erased", account=served.name)
        return erased


def _encoded(fact: AnyFact) -> bytes:
    """A fact in JSON; of one that no message of NATS would hold, or no JSON, what says which it was."""
    with contextlib.suppress(*CAUSES):
        encoded = msgspec.json.encode(fact)
        if len(encoded) <= MAX_PARKED_BYTES:
            return encoded
    ext = fact.ext if isinstance(fact, Received) else {}
    named = {"at": fact.at, "key": fact.key, "raw": ext.get("raw"), "html": ext.get("html")}
    return msgspec.json.encode({name: _short(value) for name, value in named.items() if isinstance(value, str)})


def _short(text: str) -> str:
    return text[:MAX_NAMED_CHARS].encode("utf-8", "replace").decode()


def explained(connection: str, error: Exception) -> Error:
    """Why a delivery, or a fact of it, can't be used; told in the log too."""
    known = isinstance(error, (SluicewayError, addresses.InvalidAddress))
    why = str(error) if isinstance(error, SluicewayError) else f"{type(error).__name__} in the gateway"
    log.error("delivery.unreadable", connection=connection, why=why, exc_info=None if known else error)
    return Error(code="unreadable" if known else "gateway_error", message=why)


def _customer(fact: Received | AnyRemark, address: str, place: Place) -> Party:
    return Party(
        role="customer",
        address=address,
        contact_id=None if place.guest else place.contact,
        name=fact.name,
        assurance=fact.assurance,
    )


def _parties(served: Served, named: tuple[Correspondent, ...]) -> tuple[Party, ...]:
    """Those whom a letter is addressed to; who they are is the letter's word alone."""
    return tuple(
        Party(role="system", address=one.address)
        if one.address == served.account.address
        else Party(role="customer", address=one.address, name=one.name, assurance="asserted")
        for one in named
    )


def _told(fact: AnyRemark, target: Target, by: Party) -> EventData:
    at = fact.occurred_at
    match fact:
        case Reaction():
            return MessageReaction(target=target.ref, by=by, action=fact.action, emoji=fact.emoji, occurred_at=at)
        case Edited():
            return MessageEdited(target=target.ref, by=by, parts=complete(fact.parts), occurred_at=at)
        case Deleted():
            return MessageDeleted(target=target.ref, by=by, occurred_at=at)
        case Seen():
            return MessageSeen(target=target.ref, by=by, occurred_at=at)


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
