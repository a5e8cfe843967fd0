"""One process: its parts made and joined, started, drained and stopped. Decides nothing that the parts decide."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection, Coroutine
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import structlog

from . import lag
from .accounts import Accounts, Change, Notice
from .accountwork import Tools
from .announcer import Announcer
from .bus.consumer import ConsumerError
from .bus.link import Link
from .bus.store import Bucket
from .bus.streams import Layout, StreamsError, ensure
from .calls.looking import Looking
from .calls.placing import publish
from .calls.records import CallRecord, Queue
from .caps import Quota, Quotas
from .config import Core
from .desk import Listening, check_tenants
from .dispatch import Dispatch, Shared
from .errors import ConfigError, SluicewayError, Unavailable
from .facts import Facts
from .failures import Failures
from .fetches import Fetches
from .gateway import Deliverer
from .hooks import Hooks
from .http.client import Client
from .http.download import Downloads
from .http.egress import Way
from .http.server import Server, either, paths
from .identity import Identity
from .inbound import Inbound, senders
from .isolation import Workers
from .ledger import Ledger
from .links import Links
from .media import MediaStore
from .mediaroute import MediaRoute
from .parking import Parking
from .placement import Placement
from .probing import Probing
from .refrain import Refrain
from .spool import Spool
from .staff import Staff
from .stream import EventStream
from .wire import Request, Response

log = structlog.get_logger(__name__)

CONNECT_PAUSE_S = 1.0
GC_THRESHOLD = 20_000
AT_ONCE = 4
"""So many processes parse what strangers wrote."""


class Service:
    """The gateways of some accounts, the dispatcher, or both, against one NATS."""

    def __init__(self, core: Core, accounts: Accounts, *, gateways: bool = True, dispatches: bool = True) -> None:
        if core.identity.key is None:
            raise ConfigError("configuration", "identity.key", "is missing; make one: openssl rand -hex 32")
        self.accounts = accounts
        self.link = Link(core.nats, "sluiceway")
        self.fatal: ConfigError | None = None
        self._core = core
        self._gateways = gateways
        self._dispatches = dispatches
        self._secret = core.identity.key.reveal().encode()
        self._identity = Identity(self._secret)
        self._layout = Layout(core.nats)
        self._register = Bucket(self.link, self._layout.accounts, Notice)
        self._announcer = Announcer(accounts, self._register)
        self._files = MediaStore(self.link, self._layout, core.media.max_bytes)
        self._links = Links(self._secret, core.http.base_url)
        self.media = MediaRoute(self._links)
        self._hooks, http = Hooks(accounts, self._deliver), core.http
        find = either(self._hooks.find, self.media.find)
        self.server = Server(http.listen, find, http.base_url, http.max_connections, http.trusted_proxies)
        path, keys = core.spool.path if gateways else None, partial(senders, accounts)
        self._spool = Spool(Path(path), core.spool.max_bytes, keys) if path is not None else None
        self._probing = Probing(self.link, accounts, lambda: self.ready, spools=path is not None)
        self.probes = Server(core.probes.listen, paths(self._probing.routes))
        self._staff: Staff | None = None
        self._followed: set[str] = set()
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

        Raises `OSError` where an address is taken, `ConfigError` where the spool or a connection can't be used.
        """
        check_tenants(self.accounts)
        if self._spool is not None:
            await self._spool.open()
            self.link.on_reconnect.append(self._spool.wake)
        way = Way(self._core.egress)
        self._client, self._downloads = Client(self._files, way), Downloads(way=way)
        self._workers = Workers(AT_ONCE, seconds=10.0, cpu_seconds=2.0)
        self.inbound = Inbound(self.accounts, self._client, self._spool)
        try:
            await self.probes.start()
            if self._gateways:
                await self.server.start()
        except OSError:
            await self.stop()
            raise
        self._begin(lag.watch())
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
        await self._downloads.close()
        await self._workers.close()
        for gateway in self.accounts.gateways.values():
            if isinstance(gateway, Deliverer):
                await gateway.close()
        await self.link.close()
        await self.probes.stop()

    @property
    def ready(self) -> bool:
        """Whether all has begun; it stays so, since spooling or 503 is the service while NATS is away."""
        return self._staff is not None

    async def _connect(self) -> None:
        """Until it works: connect, make sure of streams and key, begin to serve."""
        connected, failures = False, Refrain()
        while True:
            try:
                if not connected:  # only once: a link that was lost comes back by itself
                    await self.link.connect()
                    connected, self._probing.lacking = True, ""
                tenants = {served.tenant for served in self.accounts}
                create = self._core.nats.streams == "create"
                await ensure(self.link, self._layout, create=create, tenants=tenants)
                await self._begin_serving()
                break
            except ConfigError as error:
                self.fatal = error
                self.link.closed.set()
                return
            except (Unavailable, StreamsError, ConsumerError) as error:
                self._probing.lacking = why = str(error)
                if times := failures.times(why):
                    log.error("service.not_ready", why=why, times=times)
                await asyncio.sleep(CONNECT_PAUSE_S)
        gc.collect()
        gc.freeze()  # what was made until now stays: the collector need not look at it again
        gc.set_threshold(GC_THRESHOLD, 20, 100)
        hooks = self.server.listen if self._gateways else None
        log.info("service.ready", hooks=hooks, accounts=len(list(self.accounts)), dispatches=self._dispatches)

    async def renew(self, accounts: Accounts) -> None:
        """Serve these from now on; what is as before goes on untouched.

        Raises `ConfigError`, `StreamsError` or `Unavailable`: then nothing has changed.
        """
        if self._staff is None:
            raise Unavailable("NATS was not reached yet")
        check_tenants(accounts)
        tenants = {served.tenant for served in accounts}
        await ensure(self.link, self._layout, create=self._core.nats.streams == "create", tenants=tenants)
        change = self.accounts.take_over(accounts)
        self._hooks.renew()
        self._follow(tenants)
        if not change.connections:
            return
        try:
            await self._staff.change(change)
        except Exception:  # some would be served by nobody: another process, or this one anew, is better
            self.link.closed.set()
            raise
        self._begin(self._tell(change, self._staff))
        log.info("accounts.renewed", left=len(change.gone), came=len(change.came), accounts=len(list(accounts)))

    async def _tell(self, change: Change, staff: Staff) -> None:
        """Others, of a change; only then what was left behind is nobody's."""
        await self._announcer.change(change)
        staff.part(change.gone)

    async def _begin_serving(self) -> None:
        shared = self._shared
        await shared.continuity.check_key()
        self._follow({"*"} if self._dispatches else {served.tenant for served in self.accounts})
        parking = Parking(self.link, shared.prefix, self._identity, shared.stream)
        fetches = Fetches(self.link, shared.prefix, self._identity)
        dispatch = Dispatch(shared, self._core.calls, self._secret) if self._dispatches else None
        if dispatch is not None:
            await dispatch.create()
        listening = self._listening(shared)
        staff = Staff(self.accounts, self._tools(shared, parking, fetches), listening, self._begin)
        await staff.create()
        await self._announcer.announce()
        self._begin(self._announcer.run())
        self.inbound.facts = Facts(
            self.accounts,
            self._identity,
            shared.placement,
            shared.ledger,
            shared.stream,
            parking,
            fetches=fetches,
            calls=partial(publish, self.link, shared.prefix),
        )
        self.inbound.asked = self._looking(shared.layout).answer
        self.inbound.desks = listening.desks
        self.media.store = shared.files
        self._staff = staff
        if self._spool is not None:
            self._begin(self._spool.drain(self.inbound.store))
        for work in dispatch.work() if dispatch is not None else ():
            self._begin(work)
        staff.start()

    def _follow(self, tenants: Collection[str]) -> None:
        """Hear of changes to the contacts of these tenants, from now on; `*` are all."""
        for tenant in set(tenants) - self._followed if "*" not in self._followed else ():
            self._followed.add(tenant)
            self._begin(self._shared.continuity.directory.follow(tenant))

    def _listening(self, shared: Shared) -> Listening:
        bucket = shared.layout.messages
        return Listening(self.accounts, self.inbound, shared.files, self._workers, self._downloads, self.link, bucket)

    def _looking(self, layout: Layout) -> Looking:
        calls = Bucket(self.link, layout.messages, CallRecord)
        return Looking(self.accounts, calls, Bucket(self.link, layout.messages, Queue), self._core.calls)

    def _tools(self, shared: Shared, parking: Parking, fetches: Fetches) -> Tools:
        quotas = Quotas(Bucket(self.link, shared.layout.messages, Quota), self._core.limits.per_tenant_hour)
        return Tools(
            core=self._core,
            shared=shared,
            parking=parking,
            fetches=fetches,
            client=self._client,
            downloads=self._downloads,
            quotas=quotas,
        )

    @cached_property
    def _shared(self) -> Shared:
        prefix, layout, link, identity = self._core.nats.prefix, self._layout, self.link, self._identity
        stream = EventStream(link, prefix, self.accounts.has)
        return Shared(
            link=link,
            prefix=prefix,
            layout=layout,
            identity=identity,
            stream=stream,
            placement=Placement(self._core, self._secret, link, layout, stream),
            ledger=Ledger(link, layout.messages, identity, layout.identity),
            register=self._register,
            failures=Failures(prefix, identity, stream),
            files=self._files,
            links=self._links,
        )

    def also(self, work: Coroutine[Any, Any, None]) -> None:
        """Something more that runs until the service stops, and whose end by an error is the service's."""
        self._begin(work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("service.broken", error=repr(error), exc_info=error)
            self.link.closed.set()

    async def _deliver(self, connections: list[str], request: Request) -> Response:
        return await self.inbound.deliver(connections, request)
