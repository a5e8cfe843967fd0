"""What is done for an account besides taking deliveries: messages sent, files fetched.

Parts made and joined, as the dispatcher's are in `dispatch`. Decides nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import structlog
from msgspec import Struct

from .accounts import Served
from .acts import Acts
from .attachments import Attachments
from .bus.consumer import Consumer, ConsumerError
from .bus.store import Bucket
from .bus.work import Queue
from .calls.placing import Placed, Placing
from .caps import Caps, Quotas
from .config import Core
from .dispatch import Shared
from .fetcher import Fetcher
from .fetches import Fetches
from .gateway import Caller, Deliverer, MediaFetcher, Sender
from .health import Health
from .http.client import Client
from .http.download import Downloads
from .loops import Answered, Loops
from .outbound import AccountSender
from .parking import Parking
from .patience import surely
from .reports import Reports
from .schedule import Schedule
from .sending import Sending

log = structlog.get_logger(__name__)

FAREWELL_S = 150.0
"""More than twice the time within which whoever serves an account announces one that the register has lost."""
FAREWELL_LOOK_S = 1.0
PATIENCE_S = 25.0
"""As long as a provider is given to answer, and a little."""


class Tools(Struct, frozen=True, kw_only=True):
    """What the accounts of a process share."""

    core: Core
    shared: Shared
    parking: Parking
    fetches: Fetches
    client: Client
    downloads: Downloads
    quotas: Quotas


class AccountWork:
    """For one account."""

    def __init__(self, served: Served, tools: Tools) -> None:
        self._served = served
        self._tools = tools
        sends = isinstance(served.gateway, Sender | Deliverer | Caller)
        self._health = Health(served, tools.shared.register, tools.shared.stream)
        self._consumer = self._new_consumer() if sends else None
        self._queue = self._new_queue() if isinstance(served.gateway, MediaFetcher) else None
        self._sending: AccountSender | None = None

    async def create(self) -> None:
        """Make the consumers, and recall how the account is. Raises `ConsumerError` or `Unavailable`."""
        if self._consumer is not None:
            await self._consumer.create()
            await self._health.recall()
        if self._queue is not None:
            await self._queue.create()

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run until it is cancelled."""
        if self._consumer is not None:
            self._sending = self._sender(self._consumer)
            yield self._sending.run()
        if self._queue is not None:
            yield self._fetcher(self._queue).run()

    def be_patient(self) -> None:
        """At its end, let providers answer what they were asked: this process need not hurry."""
        if self._sending is not None:
            self._sending.patience_s = PATIENCE_S

    async def farewell(self) -> None:
        """Of an account that was removed: the commands that wait for it are refused, unless somebody else serves it."""
        if self._consumer is None:
            return
        refusing: asyncio.Task[None] | None = None
        try:
            await asyncio.sleep(FAREWELL_S)
            while not await self._is_served() and (await surely(self._consumer.waiting)) > 0:
                if refusing is None:
                    refusing = asyncio.create_task(self._sender(self._consumer).refuse_all())
                await asyncio.sleep(FAREWELL_LOOK_S)
        except ConsumerError as error:
            log.info("account.consumer_gone", account=self._served.name, why=str(error))
        finally:
            if refusing is not None:
                refusing.cancel()
                await asyncio.gather(refusing, return_exceptions=True)

    async def _is_served(self) -> bool:
        return await surely(self._tools.shared.register.get, self._served.key) is not None

    def _new_consumer(self) -> Consumer:
        served, shared = self._served, self._tools.shared
        where = f"{served.tenant}.commands.{served.channel}.{served.name}"
        durable = f"out_{served.tenant}_{served.channel}_{served.name}"
        return Consumer(shared.link, shared.layout.commands, durable, f"{shared.prefix}.v1.{where}.>")

    def _new_queue(self) -> Queue:
        served, tools = self._served, self._tools
        durable, at_once = f"in_{served.tenant}_{served.channel}_{served.name}", tools.core.media.at_once
        shared = tools.shared
        return Queue(shared.link, shared.layout.fetches, durable, tools.fetches.subject(served), at_once)

    def _sender(self, consumer: Consumer) -> AccountSender:
        served, tools, s = self._served, self._tools, self._tools.shared
        reports = Reports(served, s.identity, s.ledger, s.stream)
        attachments = Attachments(served, s.files, s.links, tools.client)
        return AccountSender(
            served,
            consumer,
            s.prefix,
            continuity=s.continuity,
            sending=Sending(
                served,
                s.ledger,
                reports,
                tools.parking,
                driver=tools.client,
                health=self._health,
                attachments=attachments,
                placement=s.placement,
            ),
            failures=s.failures,
            schedule=Schedule(s.link, s.prefix),
            latest=s.placement.latest,
            caps=Caps(served, tools.core.limits, tools.quotas, s.ledger),
            acts=Acts(served, s.continuity, s.identity, s.ledger, s.stream, tools.client),
            attachments=attachments,
            loops=Loops(served, Bucket(s.link, s.layout.messages, Answered), s.identity, s.placement.latest),
            placing=Placing(
                served,
                s.link,
                s.prefix,
                identity=s.identity,
                placed=Bucket(s.link, s.layout.messages, Placed),
                driver=tools.client,
                health=self._health,
            ),
        )

    def _fetcher(self, queue: Queue) -> Fetcher:
        s = self._tools.shared
        return Fetcher(
            self._served,
            queue,
            driver=self._tools.client,
            downloads=self._tools.downloads,
            store=s.files,
            stream=s.stream,
            identity=s.identity,
            directory=s.continuity.directory,
        )
