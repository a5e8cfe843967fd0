"""The ledger of what we send: intent before the send, what became of it after, and whose receipt is whose.

At most once: a message's record is created before the provider is asked, so that a second try, whoever makes it, finds
it. A receipt may overtake the answer to its own send: it waits under the provider's id until the sender claims that id.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from sluiceway_contracts import Command, Error, MessageSend, Piece, Price

from .attempts import ARRIVED, MessageRecord, Try, rises
from .bus.link import Link
from .bus.store import Bucket, Conflict, Entry
from .checks import Refusal
from .discreet import DiscreetMessages, Texts
from .errors import Unavailable
from .gateway import Receipt
from .identity import Identity

__all__ = ["ARRIVED", "Applied", "ExternalRecord", "Ledger", "MessageRecord", "Try", "WaitingReceipt", "rises"]

TRIES = 10


class WaitingReceipt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A receipt, as it waits for its message."""

    key: str
    status: str
    error: Error | None = None
    price: Price | None = None
    segments: int | None = None
    occurred_at: datetime.datetime | None = None
    ext: Mapping[str, Any] = {}


class ExternalRecord(Struct, frozen=True, omit_defaults=True):
    """`<tenant>.x.<external key>`: which message's attempt and piece the provider's id names.

    Or receipts that came too early.
    """

    message: str | None = None
    piece: int = 1
    attempt: int = 1
    waiting: tuple[WaitingReceipt, ...] = ()


class Named(NamedTuple):
    """A message of ours that a provider's id names; the record is absent where a replica is behind."""

    message_id: str
    record: MessageRecord | None


class Applied(NamedTuple):
    """What a receipt came to: the message, its record afterwards, and whether the status rose or was this already."""

    message_id: str
    record: MessageRecord
    piece: Piece
    news: bool


class Ledger:
    """Records of all tenants."""

    def __init__(self, link: Link, bucket: str, identity: Identity, texts: str) -> None:
        """`texts` is the bucket that has the recipients' addresses."""
        self._identity = identity
        self._messages = DiscreetMessages(Bucket(link, bucket, MessageRecord), Texts(link, texts, identity))
        self._externals = Bucket(link, bucket, ExternalRecord)

    async def get(self, tenant: str, message_id: str, attempt: int = 1) -> Entry[MessageRecord] | None:
        """The record of an attempt to send a message. Raises `Unavailable`."""
        return await self._messages.get(_key(tenant, message_id, attempt))

    async def begin(self, tenant: str, message_id: str, record: MessageRecord) -> int:
        """Write the intent to send and return its revision. Raises `Conflict` where there is a record already."""
        return await self._messages.create(_key(tenant, message_id, record.attempt), record)

    async def refuse(self, tenant: str, command: Command, send: MessageSend, refusal: Refusal) -> MessageRecord | None:
        """Write that a command was refused, and will be by whoever reads it again.

        Returns the record that says so; None where the message was begun, or is another command's.
        """
        message_id, error = send.message_id, Error(code=refusal.code, message=str(refusal))
        record = MessageRecord(
            state="refused",
            command_id=command.id,
            channel=command.channel or "",
            account=command.account or "",
            contact=command.contactid or "",
            conversation=command.subject or "",
            pieces=(Piece(index=1, of=1, status="rejected", error=error),),
            attempt=send.attempt or 1,
        )
        try:
            await self.begin(tenant, message_id, record)
        except Conflict:
            found = await self.get(tenant, message_id, record.attempt)
            same = found is not None and (found.value.state, found.value.command_id) == ("refused", command.id)
            return found.value if found is not None and same else None
        return record

    async def supersede(self, tenant: str, message_id: str, fresh: MessageRecord) -> MessageRecord:
        """Give an attempt up: what of it has not arrived, or failed, is superseded, and never sent from now on.

        `fresh` is its record where it was not begun. Returns the record as it then is: one that was delivered
        meanwhile stays so. Raises `Unavailable`.
        """
        for _ in range(TRIES):
            entry = await self.get(tenant, message_id, fresh.attempt)
            record = entry.value if entry is not None else fresh
            given_up = record.given_up
            if given_up == record and entry is not None:
                return record
            try:
                await self._messages.update(
                    _key(tenant, message_id, fresh.attempt), given_up, entry.revision if entry is not None else 0
                )
            except Conflict:
                continue
            return given_up
        raise Unavailable("the ledger's record of a message keeps changing")

    async def write(self, tenant: str, message_id: str, record: MessageRecord, revision: int) -> int:
        """Replace a record. Raises `Conflict`."""
        return await self._messages.update(_key(tenant, message_id, record.attempt), record, revision)

    async def claim(
        self, tenant: str, account: str, external_id: str, message_id: str, piece: int, attempt: int = 1
    ) -> tuple[WaitingReceipt, ...]:
        """Say whose the provider's id is, and take the receipts that came before. Raises `Unavailable`."""
        key = self._external(tenant, account, external_id)
        mine = ExternalRecord(message=message_id, piece=piece, attempt=attempt)
        for _ in range(TRIES):
            try:
                await self._externals.create(key, mine)
            except Conflict:
                found = await self._externals.get(key)
                if found is None:
                    continue
                if found.value.message is not None:
                    return found.value.waiting
                try:  # they stay in the record: should this process die now, they are told by the next
                    claimed = msgspec.structs.replace(mine, waiting=found.value.waiting)
                    await self._externals.update(key, claimed, found.revision)
                except Conflict:
                    continue
                return found.value.waiting
            return ()
        raise Unavailable("the ledger's record of a receipt keeps changing")

    async def named(self, tenant: str, account: str, external_id: str) -> Named | None:
        """The message that the provider's id names; None where it was not sent through us. Raises `Unavailable`."""
        found = await self._externals.get(self._external(tenant, account, external_id))
        if found is None or found.value.message is None:
            return None
        entry = await self.get(tenant, found.value.message)
        return Named(found.value.message, entry.value if entry is not None else None)

    async def adopt(
        self, tenant: str, external_id: str, message_id: str, record: MessageRecord
    ) -> tuple[WaitingReceipt, ...] | None:
        """Enter a message that was sent past us, so that receipts find it; returns those that came before.

        None where it was sent through us. Raises `Unavailable`.
        """
        named = await self.named(tenant, record.account, external_id)
        if named is None or named.message_id == message_id:
            with contextlib.suppress(Conflict):
                await self.begin(tenant, message_id, record)
            waiting = await self.claim(tenant, record.account, external_id, message_id, 1)
            named = await self.named(tenant, record.account, external_id)  # a sender may have been faster
            if named is not None and named.message_id == message_id:
                return waiting
        return None

    async def apply(self, tenant: str, account: str, receipt: Receipt) -> Applied | None:
        """Raise the status of the message that a receipt names; None where the receipt must wait for its message.

        A status that is lower than what is known changes nothing. Raises `Unavailable`.
        """
        key = self._external(tenant, account, receipt.external_id)
        for _ in range(TRIES):
            found = await self._externals.get(key)
            if found is not None and found.value.message is not None:
                names = found.value
                return await self.raise_status(tenant, found.value.message, names.piece, receipt, names.attempt)
            waiting = found.value.waiting if found is not None else ()
            if all(other.key != receipt.key for other in waiting):
                waiting = (*waiting, _waiting(receipt))
            try:
                await self._externals.update(key, ExternalRecord(waiting=waiting), found.revision if found else 0)
            except Conflict:
                continue
            return None
        raise Unavailable("the ledger's record of a receipt keeps changing")

    async def raise_status(
        self, tenant: str, message_id: str, index: int, receipt: Receipt | WaitingReceipt, attempt: int = 1
    ) -> Applied:
        """Raise the status of one piece. Raises `Unavailable`, also where the message can't be read.

        It was written before anybody could name it: who reads nothing asked a replica that is behind.
        """
        for _ in range(TRIES):
            entry = await self.get(tenant, message_id, attempt)
            if entry is None:
                raise Unavailable("the ledger's record of a message can't be read yet; a replica is behind")
            record = entry.value
            piece = record.pieces[index - 1]
            if piece.status == receipt.status:
                return Applied(message_id, record, piece, news=True)
            if not rises(piece.status, receipt.status):
                return Applied(message_id, record, piece, news=False)
            piece = msgspec.structs.replace(piece, status=receipt.status, error=receipt.error)
            pieces = (*record.pieces[: index - 1], piece, *record.pieces[index:])
            record = msgspec.structs.replace(record, pieces=pieces)
            try:
                await self.write(tenant, message_id, record, entry.revision)
            except Conflict:
                continue
            return Applied(message_id, record, piece, news=True)
        raise Unavailable("the ledger's record of a message keeps changing")

    def _external(self, tenant: str, account: str, external_id: str) -> str:
        return f"{tenant}.x.{self._identity.external_key(account, external_id)}"


def _key(tenant: str, message_id: str, attempt: int) -> str:
    return f"{tenant}.m.{message_id}" if attempt == 1 else f"{tenant}.m.{message_id}.{attempt}"


def _waiting(receipt: Receipt) -> WaitingReceipt:
    return WaitingReceipt(
        key=receipt.key,
        status=receipt.status,
        error=receipt.error,
        price=receipt.price,
        segments=receipt.segments,
        occurred_at=receipt.occurred_at,
        ext=receipt.ext,
    )
