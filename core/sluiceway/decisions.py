"""Commands about contacts and conversations: read, checked, done by `unions`; what becomes of them is on the stream.

Each may come again, and then finds its work done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from sluiceway_contracts import (
    Command,
    ContactErase,
    ContactLink,
    ContactMerge,
    ContactSplit,
    ContactUnlink,
    ConversationClose,
    ConversationOpen,
    Party,
    addresses,
    is_uuid,
)
from sluiceway_contracts.commands import CommandData
from sluiceway_contracts.values import now

from .bus.consumer import Delivery
from .checks import Refusal
from .contacts import Change, Known, Reach
from .dispatcher import Handler
from .erasure import Erasure
from .identity import Identity
from .idle import IDLE, Idle
from .merges import Grounds
from .placement import Placement
from .register import Register

T = TypeVar("T", bound=CommandData)


class Decisions:
    """Carries out what people decide."""

    def __init__(
        self, placement: Placement, identity: Identity, register: Register, idle: Idle, erasure: Erasure
    ) -> None:
        self._continuity = placement.continuity
        self._unions = placement.unions
        self._identity = identity
        self._register = register
        self._idle = idle
        self._erasure = erasure

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Who carries out which command."""
        return {
            ContactLink.type: self._link,
            ContactUnlink.type: self._unlink,
            ContactMerge.type: self._merge,
            ContactSplit.type: self._split,
            ContactErase.type: self._erase,
            ConversationOpen.type: self._open,
            ConversationClose.type: self._close,
        }

    async def _link(self, command: Command, _: Delivery) -> None:
        data = _data(command, ContactLink)
        known = Known(_address(data.address), data.assurance, "command", now(), data.evidence)
        await self._unions.link(_change(command, data.contact_id), known, _by(command))

    async def _unlink(self, command: Command, _: Delivery) -> None:
        data = _data(command, ContactUnlink)
        await self._unions.unlink(_change(command, data.contact_id), _address(data.address), _by(command))

    async def _merge(self, command: Command, _: Delivery) -> None:
        data = _data(command, ContactMerge)
        if data.from_id == data.into_id:
            raise Refusal("same_contact", "from_id and into_id are one contact")
        undo = self._identity.id(command.tenant, "undo", command.id)
        grounds = Grounds("command", data.evidence, _by(command))
        await self._unions.merge(_change(command, data.into_id), _contact(data.from_id), undo, grounds)

    async def _split(self, command: Command, _: Delivery) -> None:
        data = _data(command, ContactSplit)
        grounds = Grounds("command", None, _by(command))
        await self._unions.split(_change(command, data.contact_id), data.undo, grounds)

    async def _erase(self, command: Command, _: Delivery) -> None:
        data = _data(command, ContactErase)
        await self._erasure.erase(_change(command, data.contact_id), _by(command), data.reason)

    async def _open(self, command: Command, _: Delivery) -> None:
        data = _data(command, ConversationOpen)
        if data.conversation_id is not None:
            raise Refusal("unsupported", "a conversation's id is chosen here; leave conversation_id out")
        address = _address(data.address)
        reach = await self._reach(command, address)
        await self._continuity.resolve(command.tenant, reach, "command")

    async def _close(self, command: Command, _: Delivery) -> None:
        data = _data(command, ConversationClose)
        if not is_uuid(data.conversation_id):  # it becomes part of a key
            raise Refusal("unknown_conversation", "there is no such conversation; its id is an event's subject")
        if data.reason == IDLE:
            await self._idle.close(command.tenant, data.conversation_id)
        else:
            change = Change(command.tenant, "", now(), cause=command.id)
            await self._unions.close(change, data.conversation_id, data.reason or "command")

    async def _reach(self, command: Command, address: str) -> Reach:
        """The account that the command names, else the only one that sends to such addresses."""
        scheme = address.partition(":")[0]
        accounts = await self._register.accounts(command.tenant)
        fitting = [
            Reach(address=address, channel=channel, account=account)
            for (channel, account), notice in sorted(accounts.items())
            if notice.sends and scheme in notice.schemes and command.account in (None, account)
        ]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            raise Refusal("no_channel", f"no account of {command.tenant} sends to {scheme}: addresses")
        names = ", ".join(f"{reach.channel} {reach.account}" for reach in fitting)
        raise Refusal("ambiguous_account", f"several accounts reach the address; name one of: {names}")


def _data(command: Command, type: type[T]) -> T:
    if not isinstance(command.data, type):
        raise Refusal("invalid", f"the data is none of {type.type}")
    return command.data


def _change(command: Command, contact: str) -> Change:
    return Change(command.tenant, _contact(contact), now(), cause=command.id)


def _contact(id: str) -> str:
    """A contact's id, which becomes part of keys and subjects: a `*` in it would stand for everybody."""
    if not is_uuid(id):
        raise Refusal("unknown_contact", "there is no such contact; its id is an event's contactid")
    return id


def _by(command: Command) -> Party:
    return Party(role=command.actorrole or "agent", agent_id=command.actorid)


def _address(text: str) -> str:
    try:
        return addresses.normalise(text)
    except addresses.InvalidAddress as error:
        raise Refusal("invalid_address", str(error)) from error
