"""The ledger of what we send: intent before the send, what became of it after, and whose receipt is whose.

At most once: a message's record is created before the provider is asked, so that a second try, whoever makes it, finds
it. A receipt may overtake the answer to its own send: it waits under the provider's id until the sender claims that id.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from sluiceway_contracts import STATUS_ORDER, TERMINAL, Command, Error, Piece, Price
from sluiceway_contracts.values import Time, now

from .bus.link import Link
from .bus.store import Bucket, Conflict, Entry
from .checks import Refusal
from .errors import Unavailable
from .gateway import Receipt
from .identity import Identity

T = TypeVar("T", bound=Struct)
TRIES = 10
HISTORY = 20
"""How many tries a record remembers."""


class Try(Struct, frozen=True, omit_defaults=True):
    """One try of a piece that came to nothing. `code` is a word of the contract's `Error`."""

    at: Time
    piece: int
    code: str


class MessageRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`<tenant>.m.<message>`.

    `state` is refused where nothing is sent, intent while the provider is asked to take piece number `at`, waiting
    while it is to be asked, and done after the last. `tries` counts those of that piece, `since` is the time of the
    last change. `tried` counts all tries that came to nothing, `history` has the last of them. Without `command_id` it
    was sent by one of us in the channel's own app.
    """

    state: str
    since: Time | None = None
    at: int = 1
    tries: int = 1
    command_id: str
    channel: str
    account: str
    contact: str
    conversation: str
    pieces: tuple[Piece, ...]
    attempt: int = 1
    tried: int = 0
    history: tuple[Try, ...] = ()
    segments: int | None = None
    price: Price | None = None

    def after(self, code: str) -> MessageRecord:
        """The record after one more try of this piece that came to nothing."""
        history = (*self.history, Try(now(), self.at, code))[-HISTORY:]
        return msgspec.structs.replace(self, tried=self.tried + 1, history=history)

    @property
    def overall(self) -> str:
        """The lowest status of all pieces; failed where any piece has failed."""
        statuses = [piece.status for piece in self.pieces]
        ended = next((status for status in statuses if status in TERMINAL), None)
        return ended or min(statuses, key=lambda status: STATUS_ORDER.get(status, 0))


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
    """`<tenant>.x.<external key>`: which message and piece the provider's id names, or receipts that came too early."""

    message: str | None = None
    piece: int = 1
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

    def __init__(self, link: Link, bucket: str, identity: Identity) -> None:
        self._identity = identity
        self._messages = Bucket(link, bucket, MessageRecord)
        self._externals = Bucket(link, bucket, ExternalRecord)

    async def get(self, tenant: str, message_id: str) -> Entry[MessageRecord] | None:
        """A message's record. Raises `Unavailable`."""
        return await self._messages.get(f"{tenant}.m.{message_id}")

    async def begin(self, tenant: str, message_id: str, record: MessageRecord) -> int:
        """Write the intent to send and return its revision. Raises `Conflict` where there is a record already."""
        return await self._messages.create(f"{tenant}.m.{message_id}", record)

    async def refuse(self, tenant: str, command: Command, message_id: str, refusal: Refusal) -> bool:
        """Write that a command was refused, and will be by whoever reads it again.

        Returns whether the ledger says so: False where the message was begun, or is another command's.
        """
        error = Error(code=refusal.code, message=str(refusal))
        record = MessageRecord(
            state="refused",
            command_id=command.id,
            channel=command.channel or "",
            account=command.account or "",
            contact="",
            conversation="",
            pieces=(Piece(index=1, of=1, status="rejected", error=error),),
        )
        try:
            await self.begin(tenant, message_id, record)
        except Conflict:
            found = await self.get(tenant, message_id)
            return found is not None and (found.value.state, found.value.command_id) == ("refused", command.id)
        return True

    async def write(self, tenant: str, message_id: str, record: MessageRecord, revision: int) -> int:
        """Replace a record. Raises `Conflict`."""
        return await self._messages.update(f"{tenant}.m.{message_id}", record, revision)

    async def claim(
        self, tenant: str, account: str, external_id: str, message_id: str, piece: int
    ) -> tuple[WaitingReceipt, ...]:
        """Say whose the provider's id is, and take the receipts that came before. Raises `Unavailable`."""
        key = self._external(tenant, account, external_id)
        mine = ExternalRecord(message=message_id, piece=piece)
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
                    claimed = ExternalRecord(message=message_id, piece=piece, waiting=found.value.waiting)
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
                return await self.raise_status(tenant, found.value.message, found.value.piece, receipt)
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
        self, tenant: str, message_id: str, index: int, receipt: Receipt | WaitingReceipt
    ) -> Applied:
        """Raise the status of one piece. Raises `Unavailable`, also where the message can't be read.

        It was written before anybody could name it: who reads nothing asked a replica that is behind.
        """
        for _ in range(TRIES):
            entry = await self.get(tenant, message_id)
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


def rises(old: str, new: str) -> bool:
    """Whether a piece with status `old` may take `new`: statuses only rise, and little follows an end."""
    if old in TERMINAL:
        return False
    if old in ("delivered", "read"):
        return new in ("bounced", "complained") or (old, new) == ("delivered", "read")
    return new in TERMINAL or STATUS_ORDER.get(new, -1) > STATUS_ORDER.get(old, -1)


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
