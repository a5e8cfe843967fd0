"""What core does for gateways that listen or collect: facts stored, files fetched and kept, parsing isolated.

Speaks no protocol. A listener that breaks is begun again, and ends nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from sluiceway_contracts import StoredFile
from sluiceway_contracts.values import now

from . import metrics
from .accounts import SEVERAL, Accounts
from .bus.link import Link
from .bus.store import Bucket
from .errors import ConfigError, Malformed, MediaError, Rejected, Throttled, Unavailable, Unreachable
from .gateway import Account, AnyFact, Collector, Gateway, Listener
from .http.download import Downloads
from .http.guard import Forbidden
from .inbound import Inbound
from .isolation import Crashed, Workers
from .lease import Holder, Lease
from .media import MediaStore
from .record import Record
from .wire import Request

log = structlog.get_logger(__name__)

READ_BYTES = 1 << 17
AGAIN_S = 5.0
FETCHED_BYTES = 64 << 20


class Cursor(Struct, frozen=True):
    """`<tenant>.p.<connection>`: how far a listener has read."""

    at: bytes


class ConnectionDesk:
    """For one connection that listens or collects."""

    def __init__(
        self,
        connection: str,
        accounts: Accounts,
        inbound: Inbound,
        store: MediaStore,
        workers: Workers,
        downloads: Downloads,
        cursors: Bucket[Cursor],
    ) -> None:
        self._connection = connection
        self._accounts = accounts
        self._inbound = inbound
        self._store = store
        self._workers = workers
        self._downloads = downloads
        self._cursors = cursors
        self._key = f"{accounts.tenant_of(connection)}.p.{connection}"
        self._channel = accounts.channel_of(connection)

    def account(self, identity: str) -> Account | None:
        served = self._accounts.at(self._connection, identity)
        return served.account if served is not None else None

    async def accept(self, *facts: AnyFact) -> None:
        await self._inbound.accept(
            Record(connection=self._connection, channel=self._channel, arrived_at=now(), facts=facts)
        )

    async def keep(self, at: str, path: str, mime: str) -> StoredFile:
        served = self._accounts.at(self._connection, at)
        if served is None:
            raise Malformed("no account has this identity")
        try:
            return await self._store.keep(served.tenant, _chunks(Path(path)), mime)
        except MediaError as error:
            if error.code == "store_full":
                raise Unavailable(str(error)) from error
            raise

    async def fetch(self, request: Request, hosts: tuple[str, ...], path: str) -> None:
        try:
            async with self._downloads.open(request, hosts) as download:
                await _write(download.chunks, path)
        except (Unreachable, Throttled, OSError) as error:
            raise Unavailable(f"it can't be fetched now: {error}") from error
        except Forbidden as error:
            raise Rejected(str(error), "forbidden") from error

    async def isolated(self, function: str, *arguments: str) -> bytes:
        try:
            return await self._workers.call(function, *arguments)
        except Crashed as error:
            raise Malformed(f"it could not be read: {error}") from error

    async def cursor(self) -> bytes:
        found = await self._cursors.get(self._key)
        return found.value.at if found is not None else b""

    async def move(self, cursor: bytes) -> None:
        await self._cursors.put(self._key, Cursor(cursor))

    def let_in(self, yes: bool) -> None:
        metrics.login_refused.labels(self._connection).set(not yes)


class Listening:
    """The listeners of the connections of this process, and the desks of those that collect."""

    def __init__(
        self,
        accounts: Accounts,
        inbound: Inbound,
        store: MediaStore,
        workers: Workers,
        downloads: Downloads,
        link: Link,
        bucket: str,
    ) -> None:
        self._accounts = accounts
        self._inbound = inbound
        self._store = store
        self._workers = workers
        self._downloads = downloads
        self._leases = Bucket(link, bucket, Holder)
        self._cursors = Bucket(link, bucket, Cursor)
        self.desks: dict[str, ConnectionDesk] = {}
        self.renew(accounts.connections)

    def renew(self, connections: Iterable[str]) -> None:
        """New desks for these connections, or none where they are no more."""
        for name in connections:
            self.desks.pop(name, None)
            metrics.forget(name, metrics.login_refused)
            if isinstance(self._accounts.gateways.get(name), Listener | Collector):
                self.desks[name] = self._desk(name)

    def listener(self, connection: str) -> Coroutine[Any, Any, None] | None:
        """What is to run for a connection until it is cancelled; None where it does not listen."""
        gateway = self._accounts.gateways.get(connection)
        if not isinstance(gateway, Listener):
            return None
        key = f"{self._accounts.tenant_of(connection)}.k.{connection}"
        lease = Lease(self._leases, key) if gateway.exclusive else None
        return listen(gateway, self.desks[connection], lease, connection)

    def _desk(self, name: str) -> ConnectionDesk:
        return ConnectionDesk(
            name, self._accounts, self._inbound, self._store, self._workers, self._downloads, self._cursors
        )


def check_tenants(accounts: Accounts) -> None:
    """What names no account of a mailbox belongs to its first: that must be nobody else's. Raises `ConfigError`."""
    for name, gateway in accounts.gateways.items():
        is_shared = len(gateway.accounts) > 1 and accounts.tenant_of(name) == SEVERAL
        if isinstance(gateway, Listener) and gateway.exclusive and is_shared:
            raise ConfigError(f"connections.{name}", "gateway", "reads one mailbox: its accounts belong to one tenant")


async def listen(gateway: Gateway[Any, Any], desk: ConnectionDesk, lease: Lease | None, connection: str) -> None:
    """Run a listener until cancelled; with a lease, only while it is held."""
    assert isinstance(gateway, Listener)  # noqa: S101  # only these are run
    while True:
        try:
            if lease is None:
                await gateway.listen(desk)
            else:
                await lease.hold(gateway.listen(desk))
        except OSError as error:
            log.error("listener.broken", gateway=gateway.channel, why=str(error))
        except Exception:
            log.exception("listener.broken", gateway=gateway.channel)
        metrics.count(metrics.listeners_broken, connection).inc()
        await asyncio.sleep(AGAIN_S)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(READ_BYTES):
            yield chunk


async def _write(chunks: AsyncIterator[bytes], path: str) -> None:
    """Raises `Rejected` for what is too large."""
    size = 0
    with await asyncio.to_thread(Path(path).open, "wb") as opened:
        async for chunk in chunks:
            size += len(chunk)
            if size > FETCHED_BYTES:
                raise Rejected(f"it has more than {FETCHED_BYTES:,} bytes", "too_large")
            opened.write(chunk)
