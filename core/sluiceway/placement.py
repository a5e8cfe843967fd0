"""Where a message belongs: what a reply token admits to, else its sender's own conversation; and who its sender is."""

from __future__ import annotations

import datetime

from sluiceway_contracts.values import now

from . import metrics
from .accounts import Served
from .bus.link import Link
from .bus.store import Bucket
from .bus.streams import Layout
from .config import Core
from .contacts import Reach
from .continuity import ASSERTED, Continuity, Place
from .gateway import Consent, Received, Remark, ReplyToken
from .identity import Identity
from .latest import Latest
from .ledger import Ledger
from .stream import EventStream
from .threads import ThreadRecord, Threads
from .tokens import Tokens
from .unions import Unions
from .windows import Windows

TOKEN_LASTS = datetime.timedelta(days=180)


class Placement:
    """Contacts and conversations, as facts and commands need them, under one deployment's `secret`."""

    def __init__(
        self, core: Core, secret: bytes, link: Link, layout: Layout, stream: EventStream, ledger: Ledger | None = None
    ) -> None:
        self.latest = Latest(link, layout.events, core.nats.prefix)
        self.windows = Windows(core.conversations)
        identity = Identity(secret)
        self.continuity = Continuity(link, layout.identity, identity, stream, self.windows)
        ledger = ledger or Ledger(link, layout.messages, identity, layout.identity)
        letters = Bucket(link, layout.messages, ThreadRecord)
        self.threads = Threads(letters, ledger, identity, self.continuity, self.latest)
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
        place = await self._referred(served, fact, reach)
        if place is None or place.suggested is not None:
            suggested = place.suggested if place is not None else None
            place = await self.continuity.resolve(
                served.tenant, reach, reason, fact.assurance, automatic=fact.automatic
            )
            place = place._replace(suggested=suggested)
        if (fact.also or fact.asserted) and not place.guest:
            await self.unions.hear(served, place.contact, fact)
        if fact.also and not place.guest:  # it may be another contact's conversation now
            now_at = await self.continuity.speak(served.tenant, place.contact, reach, reason)
            is_new = now_at.is_new or (place.is_new and now_at.conversation == place.conversation)
            return now_at._replace(is_new=is_new, by=place.by, suggested=place.suggested)
        return place

    async def _referred(self, served: Served, fact: Received, reach: Reach) -> Place | None:
        """What a token admits to, or a letter that it answers; None where there is neither."""
        tenant, conversation = served.tenant, self._admitted(served.tenant, fact.reply_tokens)
        if conversation is not None:
            return await self.continuity.admit(tenant, conversation, reach, fact.assurance, automatic=fact.automatic)
        thread = await self.threads.find(served, reach.address, fact.answers) if fact.answers else None
        if thread is None:
            return None
        if not thread.is_party or fact.assurance == ASSERTED:
            return Place("", "", suggested=thread.conversation)
        place = await self.continuity.admit(
            tenant, thread.conversation, reach, fact.assurance, automatic=fact.automatic
        )
        return place._replace(by="message_id") if place is not None else None

    def reply_token(self, tenant: str, conversation: str, written_at: datetime.datetime) -> str:
        """For the address that answers to a letter go to; the same for the same letter."""
        return self._tokens.issue(tenant, conversation, written_at + TOKEN_LASTS, purpose="address")

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
