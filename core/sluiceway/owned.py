"""A message's record while this process sends it: whoever lost it to another process is told, and sends nothing more.

Each intent is a strict compare-and-set: of two processes that both believe that a message is theirs, one goes on. What
a provider has answered is written in any case, into whatever the other has made of the record.
"""

from __future__ import annotations

import asyncio
import datetime

import msgspec

from sluiceway_contracts import Piece
from sluiceway_contracts.values import now

from .bus.store import Conflict
from .errors import Unavailable
from .ledger import Ledger, MessageRecord
from .patience import surely

LOOK_S = 0.5


class Lost(Exception):
    """Another process has the message now."""


class Begun(Lost):
    """The message was begun before; the ledger has how far it came."""


class Owned:
    """One record, as this process last wrote it."""

    def __init__(self, ledger: Ledger, tenant: str, message_id: str, record: MessageRecord, revision: int) -> None:
        self.record = record
        self._ledger = ledger
        self._tenant = tenant
        self._message_id = message_id
        self._revision = revision

    @classmethod
    async def find(cls, ledger: Ledger, tenant: str, message_id: str, attempt: int) -> Owned | None:
        """What the ledger has of a message's attempt; None where it was never begun."""
        found = await surely(ledger.get, tenant, message_id, attempt)
        return cls(ledger, tenant, message_id, found.value, found.revision) if found is not None else None

    @property
    def piece(self) -> Piece:
        """The piece that is next, or was last."""
        return self.record.pieces[self.record.at - 1]

    async def intend(self, **changes: object) -> None:
        """Write what changed before anything is done. Raises `Lost` where another process wrote meanwhile."""
        changed = msgspec.structs.replace(self.record, since=now(), **changes)
        try:
            self._revision = await surely(self._ledger.write, self._tenant, self._message_id, changed, self._revision)
        except Conflict:
            current = await self._current()
            if current.record != changed:  # else it is our own write, whose answer got lost
                raise (Lost if self._revision else Begun) from None
            self._revision = current._revision
        self.record = changed

    async def settle(self, pieces: list[Piece]) -> None:
        """Write what became of these pieces, and that the next one waits, or that all is done.

        Raises `Lost`, after it was written, where another process has the message.
        """
        changes = _settled(self.record, pieces)
        try:
            await self.intend(**changes)
        except Lost:
            await self._amend(pieces)
            raise

    async def wait_out(self, age: datetime.timedelta) -> None:
        """Wait while somebody may still be asking the provider: until that is settled, or its intent is this old."""
        while self.record.state == "intent" and self.record.since is not None:
            left_s = (self.record.since + age - now()).total_seconds()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, LOOK_S))
            current = await self._current()
            self.record, self._revision = current.record, current._revision

    async def _current(self) -> Owned:
        return await surely(_present, self._ledger, self._tenant, self._message_id, self.record.attempt)

    async def _amend(self, pieces: list[Piece]) -> None:
        known = {piece.index: piece for piece in pieces if piece.external_id is not None}
        while True:
            current = await self._current()
            amended = tuple(_amended(piece, known.get(piece.index)) for piece in current.record.pieces)
            changed = msgspec.structs.replace(current.record, pieces=amended)
            try:
                await surely(self._ledger.write, self._tenant, self._message_id, changed, current._revision)
                return
            except Conflict:
                continue


def _amended(piece: Piece, told: Piece | None) -> Piece:
    """What the provider said of a piece, in what another process has made of it: superseded, it stays so."""
    if told is None or piece.external_id is not None:
        return piece
    if piece.status == "superseded":
        return msgspec.structs.replace(piece, external_id=told.external_id)
    return told


def _settled(record: MessageRecord, pieces: list[Piece]) -> dict[str, object]:
    new = {piece.index: piece for piece in pieces}
    after = max(new)
    every = tuple(new.get(piece.index, piece) for piece in record.pieces)
    if after < len(every):
        return {"pieces": every, "at": after + 1, "tries": 0, "state": "waiting"}
    return {"pieces": every, "state": "done"}


async def _present(ledger: Ledger, tenant: str, message_id: str, attempt: int) -> Owned:
    found = await ledger.get(tenant, message_id, attempt)
    if found is None:
        raise Unavailable("the ledger's record was written and can't be read yet; a replica is behind")
    return Owned(ledger, tenant, message_id, found.value, found.revision)
