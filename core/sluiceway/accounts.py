"""The accounts that this process serves, found by the provider's name for them or by ours. Knows no messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import structlog
from msgspec import Struct
from msgspec.structs import replace

from . import plugins
from .config import Config, Connection
from .errors import ConfigError
from .gateway import Account, Caller, Capabilities, Deliverer, Gateway, Sender

log = structlog.get_logger(__name__)

SEVERAL = "_"
"""In the place of a tenant, where there are several or none."""


class Served(Struct, frozen=True, kw_only=True):
    """One account with the gateway that serves it. `name`, `tenant` and `channel` are subject tokens.

    `kind` is the gateway's name, such as sms.twilio.
    """

    name: str
    channel: str
    connection: str
    kind: str = ""
    account: Account
    gateway: Gateway[Any, Any]

    @property
    def tenant(self) -> str:
        return self.account.tenant

    @property
    def key(self) -> str:
        """Where the register of accounts has it."""
        return f"{self.tenant}.{self.channel}.{self.name}"


class Notice(Struct, frozen=True, kw_only=True):
    """What KV `…_ACCOUNTS` says of an account, for whoever routes commands. `by` is the process that said so."""

    connection: str
    gateway: str
    address: str
    capabilities: Capabilities
    schemes: tuple[str, ...] = ()
    sends: bool = True
    calls: bool = False
    health: str = "healthy"
    by: str = ""

    def with_health(self, health: str) -> Notice:
        return replace(self, health=health)


class Change(NamedTuple):
    """What became of the accounts of a process: a changed one both left and came."""

    left: tuple[Served, ...]
    came: tuple[Served, ...]
    connections: frozenset[str]
    """Those that left, came or changed, or whose accounts did."""
    gateways: Mapping[str, Gateway[Any, Any]]
    """Those that serve nobody any more, by connection."""

    @property
    def gone(self) -> tuple[Served, ...]:
        """Accounts that left and did not come again."""
        there = {served.key for served in self.came}
        return tuple(served for served in self.left if served.key not in there)


class Accounts:
    """Every account of this process's channels. Those who hold it look in it anew each time: `take_over` changes it."""

    def __init__(
        self, connections: Mapping[str, Connection], accounts: Mapping[str, Account], base_url: str, file: str
    ):
        self.connections = connections
        mine: dict[str, list[Account]] = {name: [] for name in connections}
        for account in accounts.values():
            mine[account.connection].append(account)
        self.gateways: dict[str, Gateway[Any, Any]] = {
            name: c.type(c.settings, f"{base_url}/hooks/{c.hook}", mine[name]) for name, c in connections.items()
        }
        self._by_identity: dict[tuple[str, str], Served] = {}
        self._names = frozenset(accounts)
        for name, account in accounts.items():
            gateway = self.gateways[account.connection]
            served = Served(
                name=name,
                channel=gateway.channel,
                connection=account.connection,
                kind=connections[account.connection].gateway,
                account=account,
                gateway=gateway,
            )
            identity = (account.connection, gateway.identity(account))
            if identity in self._by_identity:
                twin = self._by_identity[identity].name
                raise ConfigError(file, f"accounts.{name}.address", f"is the account {twin}'s too; remove one of them")
            self._by_identity[identity] = served

    def __iter__(self) -> Iterator[Served]:
        return iter(self._by_identity.values())

    def has(self, name: str) -> bool:
        """Whether there is an account of this name."""
        return name in self._names

    def take_over(self, new: Accounts) -> Change:
        """Be as `new` is, at once; a connection that is the same, accounts and all, keeps its gateway."""
        same = {name for name in new.connections if self._has_same(name, new)}
        changed = frozenset((self.connections.keys() | new.connections.keys()) - same)
        kept = {served.key: served for served in self if served.connection in same}
        left = tuple(served for served in self if served.connection in changed)
        came = tuple(served for served in new if served.connection in changed)
        gateways = {name: gateway for name, gateway in self.gateways.items() if name in changed}
        self.connections = new.connections
        self.gateways = {name: self.gateways[name] if name in same else new.gateways[name] for name in new.gateways}
        self._names = new._names
        self._by_identity = {at: kept.get(served.key, served) for at, served in new._by_identity.items()}
        return Change(left, came, changed, gateways)

    def _has_same(self, name: str, new: Accounts) -> bool:
        if self.connections.get(name) != new.connections[name]:
            return False
        mine, theirs = ({s.name: s.account for s in all if s.connection == name} for all in (self, new))
        return mine == theirs

    def channel_of(self, connection: str) -> str:
        """The channel of a connection; `_` of one that is no more."""
        return self.gateways[connection].channel if connection in self.gateways else SEVERAL

    def at(self, connection: str, identity: str) -> Served | None:
        """The account that a connection's provider calls `identity`."""
        return self._by_identity.get((connection, identity))

    def tenant_of(self, connection: str) -> str:
        """The tenant of all of a connection's accounts; `_` where they have several, or there are none."""
        tenants = {s.tenant for s in self._by_identity.values() if s.connection == connection}
        return tenants.pop() if len(tenants) == 1 else SEVERAL

    def serves(self, served: Served) -> bool:
        """Whether the account is still this process's, by this gateway."""
        return self.at(served.connection, served.gateway.identity(served.account)) is served


def notice(served: Served, by: str) -> Notice:
    """What a process tells others of an account."""
    return Notice(
        connection=served.connection,
        gateway=served.kind,
        address=served.account.address,
        capabilities=served.gateway.capabilities,
        schemes=served.gateway.schemes,
        sends=isinstance(served.gateway, Sender | Deliverer),
        calls=isinstance(served.gateway, Caller),
        by=by,
    )


def none(config: Config) -> Accounts:
    """No accounts at all."""
    return Accounts({}, {}, config.core.http.base_url, config.file)


def of(config: Config, channels: Iterable[str] = (), base_url: str | None = None) -> Accounts:
    """The accounts of these channels, or of all. Raises `ConfigError`.

    `base_url` takes the place of the configuration's, for a process that goes on under the one that it began with.
    """
    wanted = set(channels)
    connections = config.connections(wanted)
    if missing := sorted(wanted - {connection.type.channel for connection in connections.values()}):
        known = plugins.channels()
        if unknown := [channel for channel in missing if channel not in known]:
            what = f"no installed gateway is of the channel {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            raise ConfigError(config.file, "connections", what)
        log.warning("channel.without_connection", channels=missing, remedy="add a connection and an account of it")
    return Accounts(connections, config.accounts(connections), base_url or config.core.http.base_url, config.file)
