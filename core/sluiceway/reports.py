"""What became of a message of ours, told on the stream. Telling twice is one event: ids follow from what is told."""

from __future__ import annotations

from sluiceway_contracts import STATUS_ORDER, ConsentChanged, Event, Message, MessageSent, MessageStatus, Party, Piece
from sluiceway_contracts.events import EventData
from sluiceway_contracts.parts import complete, plain
from sluiceway_contracts.values import now

from .accounts import Served
from .checks import Task
from .gateway import Receipt
from .identity import Identity
from .ledger import Ledger, MessageRecord, WaitingReceipt
from .patience import surely
from .stream import EventStream


class Reports:
    """Tells of the messages of one account. Waits for NATS as long as it must."""

    def __init__(self, served: Served, identity: Identity, ledger: Ledger, stream: EventStream) -> None:
        self._served = served
        self._identity = identity
        self._ledger = ledger
        self._stream = stream

    async def sent(self, task: Task, record: MessageRecord) -> None:
        """`message.sent`, then the receipts that came before it, piece by piece."""
        send = task.send
        parts = complete(send.parts)
        taken = [piece for piece in record.pieces if piece.external_id is not None]
        message = Message(
            id=send.message_id,
            author=send.author,
            sender=Party(role="system", address=self._served.account.address),
            to=(Party(role="customer", address=taken[0].recipient, contact_id=record.contact),),
            parts=parts,
            text=plain(parts),
            external_ids=tuple(piece.external_id or "" for piece in taken),
            occurred_at=now(),
            reply_to=send.reply_to,
        )
        key = send.message_id if record.attempt == 1 else f"{send.message_id}:{record.attempt}"
        await self._publish(record, key, MessageSent(message=message, attempt=record.attempt))
        for piece in taken:
            await self._early_receipts(send.message_id, record.attempt, piece)

    async def status(self, task: Task, record: MessageRecord, piece: Piece) -> None:
        """`message.status` of a piece, as the record has it."""
        event = status_event(self._served.tenant, task.send.message_id, record, piece, None, self._identity)
        await surely(self._stream.publish, event)

    async def _early_receipts(self, message_id: str, attempt: int, piece: Piece) -> None:
        tenant, account, external_id = self._served.tenant, self._served.name, piece.external_id or ""
        waiting = await surely(self._ledger.claim, tenant, account, external_id, message_id, piece.index, attempt)
        for receipt in sorted(waiting, key=lambda receipt: STATUS_ORDER.get(receipt.status, len(STATUS_ORDER))):
            applied = await surely(self._ledger.raise_status, tenant, message_id, piece.index, receipt, attempt)
            if applied.news:
                event = status_event(tenant, message_id, applied.record, applied.piece, receipt, self._identity)
                await surely(self._stream.publish, event)

    async def opted_out(self, task: Task, record: MessageRecord, provider_code: str | None) -> None:
        """`consent.changed`: the provider says that the recipient wants nothing more."""
        address = record.pieces[0].recipient or ""
        fault = self._served.gateway.errors.get(provider_code or "")
        consent = ConsentChanged(
            address=address,
            channel=record.channel,
            purpose=fault.purpose if fault is not None else "all",
            state="revoked",
            method="provider",
            evidence=provider_code,
        )
        await self._publish(record, f"{address}:{task.send.message_id}", consent)

    async def _publish(self, record: MessageRecord, key: str, data: EventData) -> None:
        id = self._identity.id(self._served.tenant, data.type, self._served.name, key)
        await surely(self._stream.publish, _event(id, self._served.tenant, record, data))


def status_event(
    tenant: str,
    message_id: str,
    record: MessageRecord,
    piece: Piece,
    receipt: Receipt | WaitingReceipt | None,
    identity: Identity,
) -> Event:
    """`message.status` for a piece, by a receipt where there is one.

    Its id follows from message, attempt, piece and status.
    """
    data = MessageStatus(
        message_id=message_id,
        status=piece.status,
        overall=record.overall,
        pieces=record.pieces,
        attempt=record.attempt,
        occurred_at=receipt.occurred_at if receipt else None,
        price=(receipt.price if receipt else None) or record.price,
        segments=(receipt.segments if receipt else None) or record.segments,
        ext={record.channel: receipt.ext} if receipt and receipt.ext else {},
    )
    attempt = () if record.attempt == 1 else (str(record.attempt),)
    id = identity.id(tenant, data.type, message_id, str(piece.index), piece.status, *attempt)
    return _event(id, tenant, record, data)


def _event(id: str, tenant: str, record: MessageRecord, data: EventData) -> Event:
    return Event(
        id=id,
        tenant=tenant,
        channel=record.channel,
        account=record.account,
        contactid=record.contact or None,
        subject=record.conversation or None,
        causationid=record.command_id or None,
        data=data,
    )
