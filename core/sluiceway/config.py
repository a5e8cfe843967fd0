"""The configuration: sluiceway.toml, its folder of accounts and SLUICEWAY_… variables, decoded or refused in one line.

Nothing is guessed: an unknown key, a wrong type, a missing secret each raise `ConfigError` with file, key and remedy.
A variable with two underscores between section and key, such as SLUICEWAY_NATS__URL, takes the place of that key.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from sluiceway_contracts import addresses, subjects

from . import plugins, sources
from .errors import ConfigError
from .faults import faults
from .gateway import Account, Gateway, Secret, Settings, Webhook
from .sections import Conversations, Core, Egress, Http, Identity, Limits, Log, Nats, Probes, Section, Spool

__all__ = [
    "Config",
    "Connection",
    "Conversations",
    "Core",
    "Egress",
    "Http",
    "Identity",
    "Limits",
    "Log",
    "Nats",
    "Probes",
    "Section",
    "Spool",
    "load",
]

DEFAULT_FILE = "sluiceway.toml"
NAMED = ("connections", "accounts")
T = TypeVar("T", bound=Struct)


class Connection(Struct, frozen=True, kw_only=True):
    """One provider login: its gateway's class, its settings, its hook."""

    name: str
    gateway: str
    hook: str
    type: type[Gateway[Any, Any]]
    settings: Settings

    def inlet(self, base_url: str) -> str:
        """Where what customers write comes in: our hook, where the gateway listens itself, or where it reads."""
        if issubclass(self.type, Webhook):
            return f"{base_url}/hooks/{self.hook}"
        return str(getattr(self.settings, "listen", None) or getattr(self.settings, "host", None) or self.gateway)


class Config:
    """A configuration file and its folder, read. `core` is checked; `connections()` and `accounts()` when asked.

    `read` has every file that something came from, or should have come from: what to watch for changes. With `secrets`,
    the secrets and files of these sections alone are read ("nats"), all others are taken to be there.
    """

    def __init__(
        self,
        file: str,
        tables: Mapping[str, Any],
        environment: Mapping[str, str],
        secrets: Collection[str] | None = None,
    ) -> None:
        self.file = file
        self.read: set[Path] = set()
        self._environment = environment
        self._secrets = secrets
        self._from: dict[str, str] = {}
        self._wrong: ConfigError | None = None
        tables = dict(tables)
        self._connections, self._accounts = (self._named(tables, key, file) for key in NAMED)
        self.core = self._sections(sources.with_environment(tables, environment))
        for token in self.core.nats.prefix.split("."):
            self._token(token, "nats.prefix")
        self._token(self.core.nats.names, "nats.names")
        for key, fault in faults(self.core, self._is_read):
            if fault is not None:
                raise ConfigError(file, key, fault)
        if "@" in (self.core.nats.url or ""):
            what = "has a login in it; give nats.user and nats.password, or nats.token, of their own"
            raise ConfigError(file, "nats.url", what)

    @property
    def folder(self) -> Path:
        """Where more connections and accounts are, in files of their own."""
        return Path(self.file).parent / self.core.reload.folder

    def include(self) -> None:
        """Take in what the folder has, if there is one; what is wrong in it is told to who wants accounts of it."""
        try:
            self._include()
        except ConfigError as error:
            self._wrong = error

    def _include(self) -> None:
        for path in sources.files(self.folder):
            self.read.add(path)
            tables = sources.tables(str(path))
            if not tables:
                raise ConfigError(str(path), "", "is empty, as while it is written; remove it if it is not needed")
            for key, mine in zip(NAMED, (self._connections, self._accounts), strict=True):
                for name, table in self._named(tables, key, str(path)).items():
                    if name in mine:
                        there = self._from[f"{key}.{name}"]
                        raise ConfigError(str(path), f"{key}.{name}", f"is in {there} too; remove one of them")
                    mine[name] = table
                    self._from[f"{key}.{name}"] = str(path)
            if tables:
                what = "belongs into the configuration itself; here are connections and accounts alone"
                raise ConfigError(str(path), next(iter(tables)), what)

    def connections(self, channels: Collection[str] = ()) -> dict[str, Connection]:
        """Every connection by name, or those of these channels; no other's secrets are read. Raises `ConfigError`."""
        return {name: self.connection(name) for name in self.connections_of(channels)}

    def connections_of(self, channels: Collection[str] = ()) -> list[str]:
        """The names of those of these channels, or of all. Others' gateways need not be installed."""
        connections, _ = self.raw
        return [name for name in connections if not channels or self._is_of(name, channels)]

    def _is_of(self, name: str, channels: Collection[str]) -> bool:
        gateway = str(self._table(self._connections[name], f"connections.{name}").get("gateway"))
        if gateway not in plugins.installed() and gateway.partition(".")[0] not in channels:
            return False
        return self.gateway(name).channel in channels

    def accounts(self, connections: Mapping[str, Connection]) -> dict[str, Account]:
        """Every account of these connections by name, as the type that its gateway wants. Raises `ConfigError`."""
        return {name: self.account(name, connections) for name in self.accounts_on(connections)}

    def accounts_on(self, connections: Collection[str]) -> list[str]:
        """The names of the accounts of these connections, and of those whose connection is none."""
        known, accounts = self.raw
        others = known.keys() - set(connections)
        return [name for name, table in accounts.items() if _connection(table) not in others]

    @property
    def raw(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tables of connections and of accounts as they are written: no value is checked, no secret looked for.

        Raises `ConfigError` where the folder has what can't be taken in.
        """
        if self._wrong is not None:
            raise self._wrong
        return self._connections, self._accounts

    @property
    def connection_names(self) -> tuple[str, ...]:
        return tuple(self.raw[0])

    def connection(self, name: str) -> Connection:
        """One connection. Raises `ConfigError`."""
        key, type = f"connections.{name}", self.gateway(name)
        table = self._table(self._connections[name], key)
        gateway, hook = table.pop("gateway"), table.pop("hook", name)
        if not isinstance(hook, str):
            raise self.fault(f"{key}.hook", "must be a name, the last part of the hook's URL")
        self._token(hook, f"{key}.hook")
        settings = self._convert(table, type.settings_type, key)
        return Connection(name=name, gateway=gateway, hook=hook, type=type, settings=settings)

    def gateway(self, name: str) -> type[Gateway[Any, Any]]:
        """The class of a connection's gateway. Raises `ConfigError`."""
        key = f"connections.{name}"
        self._token(name, key)
        gateway = self._table(self._connections[name], key).get("gateway")
        if not isinstance(gateway, str):
            raise self.fault(f"{key}.gateway", f"name one of: {', '.join(plugins.installed())}")
        try:
            return plugins.gateway(gateway)
        except plugins.PluginError as error:
            raise self.fault(f"{key}.gateway", str(error)) from error

    def account(self, name: str, connections: Mapping[str, Connection]) -> Account:
        """One account, on one of these connections. Raises `ConfigError`."""
        key = f"accounts.{name}"
        self._token(name, key)
        table = self._table(self._accounts[name], key)
        connection = _connection(table)
        if connection not in connections:
            if connection in self._connections:
                raise self.fault(f"{key}.connection", f"the connection {connection} can't be used")
            known = ", ".join(connections) or "none; add [connections.<name>]"
            raise self.fault(f"{key}.connection", f"name one of your connections: {known}")
        account = self._convert(table, connections[connection].type.account_type, key)
        self._token(account.tenant, f"{key}.tenant")
        try:
            address = addresses.normalise(account.address)
        except addresses.InvalidAddress as error:
            raise self.fault(f"{key}.address", str(error)) from error
        return msgspec.structs.replace(account, address=address)

    def _sections(self, tables: Mapping[str, Any]) -> Core:
        self._refuse_unknown(tables, Core, "")
        types = {field.name: field.type for field in msgspec.structs.fields(Core)}
        return Core(**{name: self._convert(table, types[name], name) for name, table in tables.items()})

    def _named(self, tables: dict[str, Any], key: str, file: str) -> dict[str, Any]:
        """Takes the tables of connections or accounts out of a file's."""
        named = tables.pop(key, {})
        if not isinstance(named, dict):
            raise ConfigError(file, key, f"must be tables: [{key}.<name>]")
        self._from |= {f"{key}.{name}": file for name in named if f"{key}.{name}" not in self._from}
        return dict(named)

    def file_of(self, key: str) -> str:
        """Which file has this table, such as `accounts.uk-sms`, or what is in it."""
        return self._from.get(".".join(key.split(".")[:2]), self.file)

    def fault(self, key: str, what: str) -> ConfigError:
        """To raise, of whichever file has the key."""
        return ConfigError(self.file_of(key), key, what)

    def _table(self, table: Any, key: str) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise self.fault(key, f"must be a table: [{key}]")
        return dict(table)

    def _token(self, text: str, key: str) -> None:
        try:
            subjects.name(text)
        except subjects.InvalidSubject as error:
            raise self.fault(key, str(error)) from error

    def _convert(self, table: Mapping[str, Any], type: type[T], key: str) -> T:
        if isinstance(table, dict):
            self._refuse_unknown(table, type, key)
        is_read = self._is_read(key.partition(".")[0])
        try:
            return msgspec.convert(table, type, dec_hook=partial(self._secret, is_read=is_read))
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$")
            if found := re.search(r"missing required field `(\w+)`", what):
                what, path = "is missing; add it", f"{path.rstrip('`')}.{found[1]}"
            raise self.fault(f"{key}{path.rstrip('`')}".lstrip("."), what) from error

    def _refuse_unknown(self, table: Mapping[str, Any], type: type[Struct], key: str) -> None:
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(type)}
        for name, value in table.items():
            path = f"{key}.{name}".lstrip(".")
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"
                raise self.fault(path, f"is no known key; {hint}")
            inner = fields[name]
            if inspect.isclass(inner) and issubclass(inner, Section) and isinstance(value, dict):
                self._refuse_unknown(value, inner, path)

    def _is_read(self, section: str) -> bool:
        return self._secrets is None or section in self._secrets

    def _secret(self, type: type, value: Any, *, is_read: bool) -> Any:
        if type is not Secret:
            raise ValueError(f"can't be read as {type.__name__}")
        source, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if source in ("env", "file") and not is_read:
            return Secret("not read")
        match source:
            case "env":
                secret = self._environment.get(name, "")
                missing = f"the environment variable {name} is not set; set it, or use file:PATH"
            case "file":
                path = Path(self.file).parent / name
                self.read.add(path)
                secret, missing = sources.secret(path)
            case _:
                raise ValueError("is a secret: write env:NAME or file:PATH, never the secret itself")
        if not secret:
            raise ValueError(missing)
        return Secret(secret, (lambda: sources.secret(path)[0]) if source == "file" else None)


def load(
    file: str | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    optional: bool = False,
    secrets: Collection[str] | None = None,
) -> Config:
    """Read the file given, else $SLUICEWAY_CONFIG, else sluiceway.toml here, and its folder. Raises `ConfigError`.

    What is wrong in the folder is told to whoever asks for accounts.
    `optional`: where no file was named and there is none here, the defaults do.
    """
    named = file or environment.get("SLUICEWAY_CONFIG")
    path = named or DEFAULT_FILE
    if optional and not named and not Path(path).exists():
        return Config("configuration", {}, environment, secrets)
    config = Config(path, sources.tables(path), environment, secrets)
    config.read.add(Path(path))
    config.include()
    return config


def _connection(table: Any) -> str:
    """The connection that an account's table names."""
    return str(table.get("connection", "")) if isinstance(table, dict) else ""
