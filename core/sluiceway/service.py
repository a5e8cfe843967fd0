"""One process: its parts made and joined, started, drained and stopped. Decides nothing that the parts decide."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import prometheus_client
import structlog

from . import metrics
from .accounts import Accounts, Notice, Served
from .bus.consumer import Consumer, ConsumerError
from .bus.link import Link
from .bus.store import Bucket
from .bus.streams import Layout, StreamsError, ensure
from .caps import Caps, Quota, Quotas
from .config import Core
from .errands import Errands
from .errors import ConfigError, SluicewayError, Unavailable
from .facts import Facts
from .failures import Failures
from .gateway import Sender, Webhook
from .health import Health
from .http.client import Client
from .http.server import Page, Route, Server, paths
from .identity import Identity
from .inbound import Inbound, senders
from .ledger import Ledger
from .outbound import AccountSender
from .parking import Parking
from .patience import surely
from .placement import Placement
from .reports import Reports
from .schedule import Schedule
from .sending import Sending
from .spool import Spool
from .stream import EventStream
from .unserved import Unserved
from .wire import Request, Response

log = structlog.get_logger(__name__)

CONNECT_PAUSE_S = 1.0
ANNOUNCE_S = 3600
GC_THRESHOLD = 20_000
HOOKS = "/hooks/"


class Hook:
    """A route to the connections that share one hook."""

    def __init__(self, service: Service, connections: list[str]) -> None:
        gateways = [service.accounts.gateways[name] for name in connections]
        self.methods = frozenset[str]().union(*(g.methods for g in gateways if isinstance(g, Webhook)))
        self.max_body_bytes = max(gateway.max_body_bytes for gateway in gateways)
        self._service = service
        self._connections = connections

    async def answer(self, request: Request) -> Response:
        return await self._service.inbound.deliver(self._connections, request)


class Service:
    """The gateways of some accounts, against one NATS."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        if core.identity.key is None:
            raise ConfigError("configuration", "identity.key", "is missing; make one: openssl rand -hex 32")
        self.accounts = accounts
        self.link = Link(core.nats, "sluiceway")
        self.fatal: ConfigError | None = None
        self._core = core
        self._secret = core.identity.key.reveal().encode()
        self._identity = Identity(self._secret)
        self._layout = Layout(core.nats)
        self._hooks = self._make_hooks()
        http = core.http
        self.server = Server(http.listen, self._find, http.base_url, http.max_connections, http.trusted_proxies)
        self.probes = Server(core.probes.listen, paths(self._probe_routes()))
        settings, keys = core.spool, partial(senders, accounts)
        self._spool = Spool(Path(settings.path), settings.max_bytes, keys) if settings.path is not None else None
        self._serving = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises `ConfigError` or `OSError` for a false start, else `SluicewayError`."""
        await self.start()
        waits = [asyncio.create_task(event.wait()) for event in (stop, self.link.closed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await self.stop()
        if self.fatal is not None:
            raise self.fatal
        if not stop.is_set():
            raise SluicewayError("a part broke, or the connection to NATS was closed for good; the log says why")

    async def start(self) -> None:
        """Listen, and connect in the background.

        Raises `OSError` where an address is taken, `ConfigError` where the spool can't be used.
        """
        if self._spool is not None:
            await self._spool.open()
            self.link.on_reconnect.append(self._spool.wake)
        self._client = Client()
        self.inbound = Inbound(self.accounts, self._client, self._spool)
        try:
            await self.probes.start()
            await self.server.start()
        except OSError:
            await self.stop()
            raise
        self._begin(self._connect())

    async def stop(self) -> None:
        """Stop accepting, finish what is in flight, give the accounts up, close."""
        await self.server.stop()
        for task in self._tasks:
            task.cancel()  # senders finish what is in flight
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._spool is not None:
            await self._spool.close()
        await self._client.close()
        await self.link.close()
        await self.probes.stop()

    @property
    def ready(self) -> bool:
        """Whether NATS has been reached; it stays so, since spooling or 503 is the service while NATS is away."""
        return self._serving

    async def _connect(self) -> None:
        """Until it works: connect, make sure of streams and key, begin to serve."""
        connected = False
        while True:
            try:
                if not connected:  # only once: a link that was lost comes back by itself
                    await self.link.connect()
                    connected = True
                await ensure(self.link, self._layout, create=self._core.nats.streams == "create")
                await self._begin_serving()
                break
            except ConfigError as error:
                self.fatal = error
                self.link.closed.set()
                return
            except (Unavailable, StreamsError, ConsumerError) as error:
                log.error("service.not_ready", why=str(error))
                await asyncio.sleep(CONNECT_PAUSE_S)
        gc.collect()
        gc.freeze()  # what was made until now stays: the collector need not look at it again
        gc.set_threshold(GC_THRESHOLD, 20, 100)
        log.info("service.ready", hooks=self.server.listen, accounts=len(list(self.accounts)))

    async def _begin_serving(self) -> None:
        prefix, layout, link = self._core.nats.prefix, self._layout, self.link
        stream = EventStream(link, prefix)
        placement = Placement(self._core, self._secret, link, layout, stream)
        await placement.continuity.check_key()
        self._begin(placement.continuity.directory.follow())
        ledger = Ledger(link, layout.messages, self._identity)
        register = Bucket(link, layout.accounts, Notice)
        failures = Failures(prefix, self._identity, stream)
        parking = Parking(link, prefix, self._identity, stream)
        limits = self._core.limits
        quotas = Quotas(Bucket(link, layout.messages, Quota), limits.per_tenant_hour)
        senders = [served for served in self.accounts if isinstance(served.gateway, Sender)]
        consumers = {served: await self._consumer(served) for served in senders}
        watcher = Consumer(link, layout.commands, "unserved", f"{prefix}.v1.*.commands.>")
        await watcher.create()
        await self.accounts.announce(register)
        self._begin(self._announce_again(register))
        self.inbound.facts = Facts(self.accounts, self._identity, placement, ledger, stream, parking)
        self._serving = True
        if self._spool is not None:
            self._begin(self._spool.drain(self.inbound.store))
        self._begin(Unserved(watcher, prefix, register, ledger, failures).run())
        for served, consumer in consumers.items():
            reports = Reports(served, self._identity, ledger, stream)
            health = Health(served, self.accounts.notice(served), register, stream)
            await health.recall()
            sending = Sending(served, ledger, reports, parking, self._client, health)
            sender = AccountSender(
                served,
                consumer,
                prefix,
                continuity=placement.continuity,
                sending=sending,
                failures=failures,
                schedule=Schedule(link, prefix),
                latest=placement.latest,
                caps=Caps(served, limits, quotas, ledger),
                errands=Errands(served, placement.continuity, self._identity, ledger, stream, self._client),
            )
            self._begin(sender.run())

    async def _announce_again(self, register: Bucket[Notice]) -> None:
        """The register forgets who is silent for a day."""
        while True:
            await asyncio.sleep(ANNOUNCE_S)
            await surely(self.accounts.announce, register)

    async def _consumer(self, served: Served) -> Consumer:
        where = f"{served.tenant}.commands.{served.channel}.{served.name}"
        durable = f"out_{served.tenant}_{served.channel}_{served.name}"
        consumer = Consumer(self.link, self._layout.commands, durable, f"{self._core.nats.prefix}.v1.{where}.>")
        await consumer.create()
        return consumer

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("service.broken", error=repr(error), exc_info=error)
            self.link.closed.set()

    def _make_hooks(self) -> dict[str, Hook]:
        shared: dict[str, list[str]] = {}
        for name, connection in self.accounts.connections.items():
            if isinstance(self.accounts.gateways[name], Webhook):
                shared.setdefault(connection.hook, []).append(name)
        return {hook: Hook(self, names) for hook, names in shared.items()}

    def _find(self, path: str) -> tuple[Route, str] | None:
        if not path.startswith(HOOKS):
            return None
        name, _, subpath = path.removeprefix(HOOKS).partition("/")
        hook = self._hooks.get(name)
        return (hook, subpath) if hook is not None else None

    def _probe_routes(self) -> dict[str, Route]:
        return {"/healthz": Page(self._health), "/readyz": Page(self._readiness), "/metrics": Page(self._metrics)}

    def _health(self) -> Response:
        return Response(status=503 if self.link.closed.is_set() else 200, body=b"ok\n")

    def _readiness(self) -> Response:
        return Response(body=b"ready\n") if self.ready else Response(status=503, body=b"NATS was not reached yet\n")

    def _metrics(self) -> Response:
        metrics.connected.set(self.link.connected)
        headers = {"content-type": prometheus_client.CONTENT_TYPE_LATEST}
        return Response(headers=headers, body=prometheus_client.generate_latest())
