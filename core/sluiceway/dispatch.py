"""The dispatcher's process: its parts made and joined, and what each of them runs. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from msgspec import Struct

from sluiceway_contracts import (
    AgentSet,
    CallCancel,
    CallPlace,
    CallQueue,
    CallRequest,
    CallStep,
    CanSend,
    Command,
    ConsentSet,
    MediaUpload,
    MediaUrl,
    MessageSend,
)

from .accounts import Notice
from .answers import Answers
from .asks import Answering, Asks, answering
from .bus.consumer import Consumer, Delivery
from .bus.link import Link
from .bus.store import Bucket
from .bus.streams import Layout
from .calls.customers import Customers
from .calls.outbox import Outbox
from .calls.reader import WishReader
from .calls.records import CallIndex, CallRecord, Desk, Queue
from .calls.switchboard import Switchboard
from .consents import ConsentCommands, ConsentReader, ConsentRecord, Consents
from .continuity import Continuity
from .decisions import Decisions
from .dispatcher import NAME, Dispatcher, Handler
from .erasure import Erasure
from .failures import Failures
from .falls import Falls
from .forwarding import Forwarding
from .identity import Identity
from .idle import Idle
from .ladder import Ladder, RouteRecord
from .ledger import Ledger
from .links import Links
from .media import MediaStore
from .mediaasks import MediaAsks
from .placement import Placement
from .projection import Projection
from .register import Register
from .schedule import Schedule
from .sections import Calls
from .sends import Sends
from .stream import EventStream
from .survey import Survey
from .unserved import Unserved


class Shared(Struct, frozen=True, kw_only=True):
    """What gateways and dispatcher of one process have in common."""

    link: Link
    prefix: str
    layout: Layout
    identity: Identity
    stream: EventStream
    placement: Placement
    ledger: Ledger
    register: Bucket[Notice]
    failures: Failures
    files: MediaStore
    links: Links

    @property
    def continuity(self) -> Continuity:
        return self.placement.continuity


class Dispatch:
    """All that is done for every tenant, once in a deployment."""

    def __init__(self, shared: Shared, calls: Calls, secret: bytes) -> None:
        link, commands, start = shared.link, shared.layout.commands, f"{shared.prefix}.v1.*"
        self._shared = shared
        self._addressed = Consumer(link, commands, NAME, f"{start}.commands.*.any.>")
        self._all = Consumer(link, commands, "unserved", f"{start}.commands.>")
        self._consent = Consumer(link, shared.layout.events, "consents", f"{start}.events.consent.changed.>")
        self._routes = Bucket(link, shared.layout.messages, RouteRecord)
        self._register = Register(shared.register)
        self._idle = Idle(Schedule(link, shared.prefix), shared.placement)
        self._consents = Consents(Bucket(link, shared.layout.identity, ConsentRecord), shared.identity)
        self._switchboard = self._make_switchboard(calls, secret)
        received = Consumer(link, shared.layout.events, "wishes", f"{start}.events.message.received.>", since="new")
        self._wishes = WishReader(
            received,
            link,
            shared.prefix,
            settings=calls,
            indexes=Bucket(link, shared.layout.messages, CallIndex),
            identity=shared.identity,
            secret=secret,
        )
        self._hears = (received,) if calls.tenants else ()
        self._survey = Survey(shared.continuity, self._register, shared.placement.latest, self._consents)

    async def create(self) -> None:
        """Make the consumers. Raises `ConsumerError` or `Unavailable`."""
        for consumer in (self._addressed, self._all, self._consent, *self._hears):
            await consumer.create()
        s = self._shared
        self._projection = await Projection.create(s.link, s.layout, s.prefix, self._idle.hear)

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run until it is cancelled."""
        s = self._shared
        yield Dispatcher(self._addressed, s.prefix, self._handlers(), s.failures).run()
        yield Unserved(self._all, s.prefix, s.register, s.ledger, s.failures).run()
        yield ConsentReader(self._consent, s.prefix, self._consents).run()
        yield Falls(s.link, s.prefix, s.layout.commands, self._routes).run()
        yield self._projection.run()
        if self._hears:
            yield self._wishes.run()
        yield Asks(s.link, s.prefix, self._questions()).run()

    def _handlers(self) -> Mapping[str, Handler]:
        """Who carries out which command: one line each."""
        s = self._shared
        consents = ConsentCommands(self._consents, self._register, s.continuity, s.stream, s.identity)
        return {
            MessageSend.type: self._sends().send,
            ConsentSet.type: consents.set,
            **{kind.type: self._call for kind in (CallRequest, CallCancel, CallPlace, CallStep, AgentSet)},
            **self._decisions().handlers,
        }

    def _make_switchboard(self, calls: Calls, secret: bytes) -> Switchboard:
        s = self._shared
        return Switchboard(
            Bucket(s.link, s.layout.messages, CallRecord),
            Bucket(s.link, s.layout.messages, CallIndex),
            Bucket(s.link, s.layout.identity, Desk),
            Bucket(s.link, s.layout.messages, Queue),
            post=Outbox(s.link, s.prefix, s.stream),
            people=Customers(s.continuity, self._register, self._consents, s.placement.latest),
            identity=s.identity,
            settings=calls,
            secret=secret,
        )

    async def _call(self, command: Command, delivery: Delivery) -> None:
        await self._switchboard.take(command, delivery.epoch)

    def _decisions(self) -> Decisions:
        s = self._shared
        erasure = Erasure(
            s.link,
            s.layout,
            s.prefix,
            s.identity,
            continuity=s.continuity,
            stream=s.stream,
            files=s.files,
            forget_calls=self._switchboard.forget,
        )
        return Decisions(s.placement, s.identity, self._register, self._idle, erasure)

    def _questions(self) -> Mapping[str, Answering]:
        """Who answers which question: one line each."""
        s = self._shared
        media = MediaAsks(s.files, s.links)
        return {
            CanSend.name: answering(CanSend, self._survey.can_send),
            MediaUrl.name: answering(MediaUrl, media.url),
            MediaUpload.name: answering(MediaUpload, media.upload),
            CallQueue.name: answering(CallQueue, self._switchboard.queue),
            **Answers(s.link, s.layout.state, s.continuity).asks,
        }

    def _sends(self) -> Sends:
        s = self._shared
        forwarding, schedule = Forwarding(s.link, s.prefix), Schedule(s.link, s.prefix)
        ladder = Ladder(self._routes, s.ledger, self._survey, forwarding, schedule, s.stream, s.identity)
        return Sends(s.prefix, self._survey, forwarding, ladder, s.ledger, schedule)
