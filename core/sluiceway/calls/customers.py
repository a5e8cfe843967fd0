"""Whom a call reaches, who calls us, and from which account: as contacts, consents and the register have it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sluiceway_contracts import MessageReceived, is_uuid

from ..consents import Consents
from ..contacts import Reach
from ..continuity import Continuity, Talk
from ..latest import Latest
from ..register import Register
from .change import CHANNEL
from .room import Number

TEL, WHATSAPP = "tel:", "whatsapp:"


class Customers:
    """The `People` of the switchboard. Methods raise `Unavailable`."""

    def __init__(self, continuity: Continuity, register: Register, consents: Consents, latest: Latest) -> None:
        self._continuity = continuity
        self._register = register
        self._consents = consents
        self._latest = latest

    async def number(self, tenant: str, conversation: str | None, address: str | None) -> Number | None:
        """The address, else the number that the conversation's contact was reached at last, else gave as theirs."""
        talk = None
        if conversation is not None and is_uuid(conversation):
            talk = await self._continuity.find(tenant, conversation)
        if talk is None:
            return await self._stranger(tenant, address) if address is not None else None
        proven = [one async for one in self._proven(tenant, talk)]
        asserted = tuple(one for one in talk.asserted if one.startswith(TEL))
        chosen = address or next(iter((*reversed(proven), *reversed(asserted))), None)
        if chosen is None:
            return None
        return Number(chosen, chosen in proven, talk.contact, talk.conversation)

    async def _stranger(self, tenant: str, address: str) -> Number:
        """Nobody says in which conversation: that of whose number it is, not of who typed it. It proves nothing."""
        found = await self._continuity.addresses.get(f"{tenant}.a.{self._continuity.token(address)}")
        person = await self._continuity.directory.find(tenant, found.value.contact) if found is not None else None
        if person is None:
            return Number(address, False)
        return Number(address, False, person.contact, person.record.conversation)

    async def _proven(self, tenant: str, talk: Talk) -> AsyncIterator[str]:
        """The telephone numbers that wrote to us; WhatsApp's are telephone numbers too. That we wrote there is none."""
        for reach in talk.reaches:
            number = _number(reach.address)
            if number is None or reach.address in talk.asserted:
                continue
            last = await self._latest.event(tenant, talk.contact, channel=reach.channel)
            written = last.data if last is not None else None
            if isinstance(written, MessageReceived) and written.message.author.address == reach.address:
                yield number

    async def caller(self, tenant: str, account: str, address: str, assurance: str) -> Number:
        """The conversation of whoever calls; a bare caller id speaks for itself alone."""
        reach = Reach(address=address, channel=CHANNEL, account=account)
        place = await self._continuity.resolve(tenant, reach, "inbound", assurance)
        return Number(address, True, place.contact, place.conversation)

    async def account(self, tenant: str) -> str | None:
        """The first, by name."""
        accounts = await self._register.accounts(tenant)
        return next((name for (_, name), notice in sorted(accounts.items()) if notice.calls), None)

    async def texts_by(self, tenant: str) -> tuple[str, str] | None:
        """The first account that sends to telephone numbers, by channel and name."""
        accounts = await self._register.accounts(tenant)
        fitting = (key for key, notice in sorted(accounts.items()) if notice.sends and "tel" in notice.schemes)
        return next(fitting, None)

    async def is_revoked(self, tenant: str, address: str) -> bool:
        return CHANNEL in await self._consents.revoked(tenant, address)


def _number(address: str) -> str | None:
    if address.startswith(TEL):
        return address
    digits = address.removeprefix(WHATSAPP)
    return f"{TEL}+{digits}" if address.startswith(WHATSAPP) and digits.isdecimal() else None
