"""Where a message belongs: what a reply token admits to, else its sender's own conversation; and who its sender is."""

from __future__ import annotations

from sluiceway_contracts.values import now

from . import metrics
from .accounts import Served
from .bus.link import Link
from .bus.streams import Layout
from .config import Core
from .contacts import Reach
from .continuity import Continuity, Place
from .gateway import Consent, Received, Remark, ReplyToken
from .identity import Identity
from .latest import Latest
from .stream import EventStream
from .tokens import Tokens
from .unions import Unions
from .windows import Windows


class Placement:
    """Contacts and conversations, as facts and commands need them, under one deployment's `secret`."""

    def __init__(self, core: Core, secret: bytes, link: Link, layout: Layout, stream: EventStream) -> None:
        self.latest = Latest(link, layout.events, core.nats.prefix)
        self.windows = Windows(core.conversations)
        self.continuity = Continuity(link, layout.identity, Identity(secret), stream, self.windows)
        self.unions = Unions(self.continuity, self.latest)
        self._tokens = Tokens([secret])

    async def of(self, served: Served, fact: Received | Consent | Remark, address: str) -> Place:
        """The place of what somebody said from this address, on this account. Raises `Unavailable`."""
        reach = Reach(address=address, channel=served.channel, account=served.name)
        if isinstance(fact, Consent):
            return await self.continuity.resolve(served.tenant, reach, "inbound")
        reason = "outbound" if fact.echo else "inbound"
        if isinstance(fact, Remark):
            return await self.continuity.resolve(served.tenant, reach, reason, fact.assurance)
        conversation = self._admitted(served.tenant, fact.reply_tokens)
        place = None
        if conversation is not None:
            place = await self.continuity.admit(served.tenant, conversation, reach, fact.assurance)
        if place is None:
            place = await self.continuity.resolve(served.tenant, reach, reason, fact.assurance)
        if (fact.also or fact.asserted) and not place.guest:
            await self.unions.hear(served, place.contact, fact)
        if fact.also and not place.guest:  # it may be another contact's conversation now
            now_at = await self.continuity.speak(served.tenant, place.contact, reach, reason)
            return now_at._replace(is_new=now_at.is_new or (place.is_new and now_at.conversation == place.conversation))
        return place

    async def of_sent(self, tenant: str, conversation: str) -> Place | None:
        """Where a conversation that we wrote in goes on; opens and reopens none. Raises `Unavailable`."""
        talk = await self.continuity.find(tenant, conversation)
        return Place(talk.contact, talk.conversation) if talk is not None else None

    def _admitted(self, tenant: str, texts: tuple[ReplyToken, ...]) -> str | None:
        """The conversation of the first valid token; what is none is counted, and ignored."""
        for token in texts:
            reading = self._tokens.find(token.text, now(), tenant=tenant, purpose=token.purpose)
            if reading is not None:
                metrics.count(metrics.reply_tokens, reading.outcome).inc()
                if reading.admission is not None:
                    return reading.admission.conversation
        return None
