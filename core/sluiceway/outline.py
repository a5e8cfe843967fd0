"""Which accounts a configuration has, of which tenant and channel: read as written, so that no secret need be there.

Checks only what is read here; `Config.accounts` checks the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sluiceway_contracts import subjects

from . import plugins
from .config import Config


class Outlined(NamedTuple):
    """One account: all three are subject tokens."""

    tenant: str
    channel: str
    account: str


def tenants(config: Config) -> set[str]:
    """Those of all accounts. Raises `ConfigError`."""
    _, accounts = config.raw
    return {_tenant(config, name, table) for name, table in accounts.items()}


def outline(config: Config, channels: Iterable[str] = ()) -> list[Outlined]:
    """Every account of these channels, or of all, by name. Raises `ConfigError`."""
    wanted = set(channels)
    found = (
        Outlined(_tenant(config, name, table), _channel(config, name, table), _named(config, name))
        for name, table in sorted(config.raw[1].items())
    )
    return [one for one in found if not wanted or one.channel in wanted]


def _tenant(config: Config, account: str, table: Any) -> str:
    key = f"accounts.{account}.tenant"
    tenant = table.get("tenant") if isinstance(table, Mapping) else None
    if not isinstance(tenant, str):
        raise config.fault(key, "is missing; add it")
    try:
        return subjects.name(tenant)
    except subjects.InvalidSubject as error:
        raise config.fault(key, str(error)) from error


def _channel(config: Config, account: str, table: Mapping[str, Any]) -> str:
    connections, _ = config.raw
    connection = connections.get(name := str(table.get("connection", "")))
    if not isinstance(connection, Mapping):
        known = ", ".join(connections) or "none; add [connections.<name>]"
        raise config.fault(f"accounts.{account}.connection", f"name one of your connections: {known}")
    gateway = str(connection.get("gateway"))
    if gateway not in plugins.installed():  # somebody else's image has it; it is named for its channel, too
        return gateway.partition(".")[0]
    try:
        return plugins.gateway(gateway).channel
    except plugins.PluginError as error:
        raise config.fault(f"connections.{name}.gateway", str(error)) from error


def _named(config: Config, account: str) -> str:
    try:
        return subjects.name(account)
    except subjects.InvalidSubject as error:
        raise config.fault(f"accounts.{account}", str(error)) from error
