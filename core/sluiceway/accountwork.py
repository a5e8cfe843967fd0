"""What is done for each account besides taking deliveries: messages sent, files fetched, customers shown who types.

Parts made and joined, as the dispatcher's are in `dispatch`. Decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

from .accounts import Accounts, Served
from .acts import Acts
from .attachments import Attachments
from .bus.consumer import Consumer
from .bus.store import Bucket
from .bus.work import Queue
from .calls.placing import Placed, Placing
from .caps import Caps, Quota, Quotas
from .config import Core
from .dispatch import Shared
from .fetcher import Fetcher
from .fetches import Fetches
from .gateway import Caller, Deliverer, MediaFetcher, Sender
from .health import Health
from .http.client import Client
from .http.download import Downloads
from .indicators import Indicators
from .loops import Answered, Loops
from .outbound import AccountSender
from .parking import Parking
from .reports import Reports
from .schedule import Schedule
from .sending import Sending


class AccountWork:
    """For every account of this process."""

    def __init__(
        self,
        core: Core,
        accounts: Accounts,
        shared: Shared,
        *,
        parking: Parking,
        fetches: Fetches,
        client: Client,
        downloads: Downloads,
    ) -> None:
        self._core = core
        self._accounts = accounts
        self._shared = shared
        self._parking = parking
        self._client = client
        self._downloads = downloads
        self._quotas = Quotas(Bucket(shared.link, shared.layout.messages, Quota), core.limits.per_tenant_hour)
        sending = (served for served in accounts if isinstance(served.gateway, Sender | Deliverer | Caller))
        self._consumers = {served: self._consumer(served) for served in sending}
        fetching = (served for served in accounts if isinstance(served.gateway, MediaFetcher))
        self._queues = {served: self._queue(served, fetches.subject(served)) for served in fetching}
        self._health = {served: self._health_of(served, accounts) for served in self._consumers}

    async def create(self) -> None:
        """Make the consumers, and recall how the accounts are. Raises `ConsumerError` or `Unavailable`."""
        for consumer in self._consumers.values():
            await consumer.create()
        for queue in self._queues.values():
            await queue.create()
        for health in self._health.values():
            await health.recall()

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run until it is cancelled."""
        for served, consumer in self._consumers.items():
            yield self._sender(served, consumer).run()
        for served, queue in self._queues.items():
            yield self._fetcher(served, queue).run()
        s = self._shared
        yield Indicators(self._accounts, s.link, s.prefix, s.placement, self._client).run()

    def _consumer(self, served: Served) -> Consumer:
        nats, where = self._core.nats, f"{served.tenant}.commands.{served.channel}.{served.name}"
        durable = f"out_{served.tenant}_{served.channel}_{served.name}"
        return Consumer(self._shared.link, self._shared.layout.commands, durable, f"{nats.prefix}.v1.{where}.>")

    def _queue(self, served: Served, subject: str) -> Queue:
        durable = f"in_{served.tenant}_{served.channel}_{served.name}"
        return Queue(self._shared.link, self._shared.layout.fetches, durable, subject, self._core.media.at_once)

    def _health_of(self, served: Served, accounts: Accounts) -> Health:
        return Health(served, accounts.notice(served), self._shared.register, self._shared.stream)

    def _sender(self, served: Served, consumer: Consumer) -> AccountSender:
        s = self._shared
        reports = Reports(served, s.identity, s.ledger, s.stream)
        attachments = Attachments(served, s.files, s.links, self._client)
        return AccountSender(
            served,
            consumer,
            s.prefix,
            continuity=s.continuity,
            sending=Sending(
                served,
                s.ledger,
                reports,
                self._parking,
                driver=self._client,
                health=self._health[served],
                attachments=attachments,
                placement=s.placement,
            ),
            failures=s.failures,
            schedule=Schedule(s.link, s.prefix),
            latest=s.placement.latest,
            caps=Caps(served, self._core.limits, self._quotas, s.ledger),
            acts=Acts(served, s.continuity, s.identity, s.ledger, s.stream, self._client),
            attachments=attachments,
            loops=Loops(served, Bucket(s.link, s.layout.messages, Answered), s.identity, s.placement.latest),
            placing=Placing(
                served,
                s.link,
                s.prefix,
                identity=s.identity,
                placed=Bucket(s.link, s.layout.messages, Placed),
                driver=self._client,
                health=self._health[served],
            ),
        )

    def _fetcher(self, served: Served, queue: Queue) -> Fetcher:
        s = self._shared
        return Fetcher(
            served,
            queue,
            driver=self._client,
            downloads=self._downloads,
            store=s.files,
            stream=s.stream,
            identity=s.identity,
            directory=s.continuity.directory,
        )
