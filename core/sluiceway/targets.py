"""Which message a provider's id names: one sent through us, else one that the customer wrote. Stores nothing."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from sluiceway_contracts import Choice, MessageRef
from sluiceway_contracts.parts import AnyPart

from .accounts import Served
from .gateway import Deleted, Edited, Received, Remark, Seen
from .identity import Identity
from .ledger import Ledger


class Target(NamedTuple):
    """A message, and the conversation that it was sent in where it is ours."""

    ref: MessageRef
    conversation: str | None = None


class Targets:
    """Knows our messages by the ledger, and the customers' by their ids, which follow from their keys."""

    def __init__(self, identity: Identity, ledger: Ledger) -> None:
        self._identity = identity
        self._ledger = ledger

    async def of(self, served: Served, fact: Remark) -> Target:
        """The message that something is said of. Raises `Unavailable`."""
        if not fact.target:
            return Target(MessageRef())
        ours = await self._ours(served, fact.target)
        if ours is not None:
            return ours
        # what one of us edited or deleted, and what a customer saw, no customer wrote
        theirs = not isinstance(fact, Seen) and not (fact.echo and isinstance(fact, Edited | Deleted))
        return Target(self._theirs(served, fact.target) if theirs else MessageRef(external_id=fact.target))

    async def known(self, served: Served, ref: MessageRef) -> MessageRef:
        """With both ids, as far as they are known. Raises `Unavailable`."""
        if ref.external_id is None and ref.id is not None:
            entry = await self._ledger.get(served.tenant, ref.id)
            pieces = entry.value.pieces if entry is not None else ()
            found = (piece.external_id for piece in pieces if piece.external_id)
            return msgspec.structs.replace(ref, external_id=next(found, None))
        if ref.external_id is not None and ref.id is None:
            ours = await self._ours(served, ref.external_id)
            return ours.ref if ours is not None else self._theirs(served, ref.external_id)
        return ref

    async def answered(self, served: Served, fact: Received) -> tuple[MessageRef | None, tuple[AnyPart, ...]]:
        """What a message answers, with our id; and its parts, whose choices name it. Raises `Unavailable`."""
        ref = fact.reply_to
        if ref is not None and ref.external_id is not None:
            ref = msgspec.structs.replace(ref, id=(await self.known(served, ref)).id)
        if ref is None or ref.id is None:
            return ref, fact.parts
        return ref, tuple(
            msgspec.structs.replace(part, prompt_id=ref.id)
            if isinstance(part, Choice) and part.prompt_id is None
            else part
            for part in fact.parts
        )

    async def _ours(self, served: Served, external_id: str) -> Target | None:
        named = await self._ledger.named(served.tenant, served.name, external_id)
        if named is None:
            return None
        conversation = named.record.conversation if named.record is not None else None
        return Target(MessageRef(id=named.message_id, external_id=external_id), conversation)

    def _theirs(self, served: Served, external_id: str) -> MessageRef:
        id = self._identity.id(served.tenant, served.channel, served.name, "received", external_id)
        return MessageRef(id=id, external_id=external_id)
