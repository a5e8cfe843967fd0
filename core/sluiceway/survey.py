"""What must be known before a way to a contact is chosen, gathered from the stream and from KV. Chooses nothing."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable

import msgspec

from sluiceway_contracts import (
    CanSend,
    CanSendAnswer,
    ClosedWay,
    Event,
    MessageReceived,
    OpenWay,
    is_uuid,
)
from sluiceway_contracts.values import now

from .checks import Refusal
from .consents import Consents
from .contacts import Reach
from .continuity import Continuity, Talk
from .latest import Latest
from .register import Register
from .routing import View, candidates, ways


class Survey:
    """Looks at contacts of all tenants. Methods raise `Unavailable`."""

    def __init__(self, continuity: Continuity, register: Register, latest: Latest, consents: Consents) -> None:
        self._continuity = continuity
        self._register = register
        self._latest = latest
        self._consents = consents

    async def talk(self, tenant: str, conversation: str) -> Talk:
        """A conversation. Raises `Refusal` where there is none."""
        found = await self._continuity.find(tenant, conversation) if is_uuid(conversation) else None
        if found is None:
            raise Refusal("unknown_conversation", "there is no such conversation; its id is an event's subject")
        return found

    async def of(self, tenant: str, talk: Talk) -> View:
        """All that is known of the ways to a conversation's contact."""
        channels = sorted({reach.channel for reach in talk.reaches})
        accounts = await self._register.accounts(tenant)
        last, *others = await asyncio.gather(
            self._latest.event(tenant, "*", conversation=talk.conversation),
            *(self._latest.event(tenant, talk.contact, channel=channel) for channel in channels),
        )
        if last is None and any(others):
            last = await self._latest.event(tenant, talk.contact)
        view = View(
            reaches=talk.reaches,
            asserted=talk.asserted,
            accounts=accounts,
            at=now(),
            last=_reach(last) if last is not None else None,
            windows=_windows(filter(None, others)),
        )
        return await self._with_consents(tenant, view)

    async def to(self, tenant: str, address: str) -> View:
        """The ways to an address of which nothing else is known."""
        view = View(reaches=(), asserted=(address,), accounts=await self._register.accounts(tenant), at=now())
        return await self._with_consents(tenant, view)

    async def can_send(self, tenant: str, question: CanSend) -> CanSendAnswer:
        """Which ways to a conversation's contact are open now, and why the others are not. Raises `Refusal`."""
        talk = await self.talk(tenant, question.conversation_id)
        every = ways(await self.of(tenant, talk))
        return CanSendAnswer(
            conversation_id=talk.conversation,
            contact_id=talk.contact,
            open=tuple(OpenWay(channel=w.channel, account=w.account, address=w.address) for w in every if w.is_open),
            closed=tuple(
                ClosedWay(channel=w.channel, account=w.account, address=w.address, code=w.code, why=w.why)
                for w in every
                if not w.is_open
            ),
        )

    async def _with_consents(self, tenant: str, view: View) -> View:
        found = sorted({reach.address for reach in candidates(view)})
        revoked = await asyncio.gather(*(self._consents.revoked(tenant, address) for address in found))
        pairs = ((channel, address) for address, channels in zip(found, revoked, strict=True) for channel in channels)
        return msgspec.structs.replace(view, revoked=frozenset(pairs))


def _reach(event: Event) -> Reach:
    author = event.data.message.author if isinstance(event.data, MessageReceived) else None
    address = author.address if author is not None else None
    return Reach(address=address or "", channel=event.channel or "", account=event.account or "")


def _windows(events: Iterable[Event]) -> dict[Reach, datetime.datetime]:
    return {
        _reach(event): event.data.message.reply_window_ends
        for event in events
        if isinstance(event.data, MessageReceived) and event.data.message.reply_window_ends is not None
    }
