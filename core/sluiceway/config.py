"""The configuration: sluiceway.toml and SLUICEWAY_… variables, decoded into structures or refused in one line.

Nothing is guessed: an unknown key, a wrong type, a missing secret each raise `ConfigError` with file, key and remedy.
A variable with two underscores between section and key, such as SLUICEWAY_NATS__URL, takes the place of that key.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from sluiceway_contracts import addresses, subjects

from . import plugins
from .calls.hours import Hours
from .calls.texts import Texts
from .errors import ConfigError
from .gateway import Account, Gateway, Secret, Settings, Webhook
from .places import authorities_fault, file_fault, host_fault, listen_fault, network_fault, proxy_fault, url_fault
from .sections import (
    Conversations,
    Core,
    Egress,
    Http,
    Identity,
    Limits,
    Log,
    Nats,
    Probes,
    Section,
    Spool,
    TenantCalls,
)

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
    """A configuration file, read. `core` is checked; `connections()` and `accounts()` check theirs when asked."""

    def __init__(
        self, file: str, tables: Mapping[str, Any], environment: Mapping[str, str], only: Collection[str] = ()
    ) -> None:
        """With `only`, these sections and keys ("nats.prefix") of `core` alone: no other secret need be there."""
        self.file = file
        self._environment = environment
        tables = dict(tables)
        self._connections = tables.pop("connections", {})
        self._accounts = tables.pop("accounts", {})
        for key in ("connections", "accounts"):
            if not isinstance(getattr(self, f"_{key}"), dict):
                raise ConfigError(file, key, f"must be tables: [{key}.<name>]")
        sections = _with_environment(tables, environment)
        self.core = self._convert(_chosen(sections, only) if only else sections, Core, "")
        for token in self.core.nats.prefix.split("."):
            self._token(token, "nats.prefix")
        self._token(self.core.nats.names, "nats.names")
        for key, fault in _faults(self.core):
            if fault is not None:
                raise ConfigError(file, key, fault)
        if "@" in (self.core.nats.url or ""):
            what = "has a login in it; give nats.user and nats.password, or nats.token, of their own"
            raise ConfigError(file, "nats.url", what)

    def connections(self) -> dict[str, Connection]:
        """Every connection by name. Raises `ConfigError`."""
        return {name: self.connection(name) for name in self.connection_names}

    def accounts(self, connections: Mapping[str, Connection]) -> dict[str, Account]:
        """Every account by name, as the type that its gateway wants. Raises `ConfigError`."""
        return {name: self.account(name, connections) for name in self.account_names}

    @property
    def raw(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tables of connections and of accounts as they are written: unchecked, and no secret is looked for."""
        return self._connections, self._accounts

    @property
    def connection_names(self) -> tuple[str, ...]:
        return tuple(self._connections)

    @property
    def account_names(self) -> tuple[str, ...]:
        return tuple(self._accounts)

    def connection(self, name: str) -> Connection:
        """One connection. Raises `ConfigError`."""
        key = f"connections.{name}"
        self._token(name, key)
        table = self._table(self._connections[name], key)
        gateway, hook = table.pop("gateway", None), table.pop("hook", name)
        if not isinstance(gateway, str):
            raise ConfigError(self.file, f"{key}.gateway", f"name one of: {', '.join(plugins.installed())}")
        if not isinstance(hook, str):
            raise ConfigError(self.file, f"{key}.hook", "must be a name, the last part of the hook's URL")
        self._token(hook, f"{key}.hook")
        try:
            type = plugins.gateway(gateway)
        except plugins.PluginError as error:
            raise ConfigError(self.file, f"{key}.gateway", str(error)) from error
        settings = self._convert(table, type.settings_type, key)
        return Connection(name=name, gateway=gateway, hook=hook, type=type, settings=settings)

    def account(self, name: str, connections: Mapping[str, Connection]) -> Account:
        """One account, on one of these connections. Raises `ConfigError`."""
        key = f"accounts.{name}"
        self._token(name, key)
        table = self._table(self._accounts[name], key)
        connection = str(table.get("connection", ""))
        if connection not in connections:
            if connection in self._connections:
                raise ConfigError(self.file, f"{key}.connection", f"the connection {connection} can't be used")
            known = ", ".join(connections) or "none; add [connections.<name>]"
            raise ConfigError(self.file, f"{key}.connection", f"name one of your connections: {known}")
        account = self._convert(table, connections[connection].type.account_type, key)
        self._token(account.tenant, f"{key}.tenant")
        try:
            address = addresses.normalise(account.address)
        except addresses.InvalidAddress as error:
            raise ConfigError(self.file, f"{key}.address", str(error)) from error
        return msgspec.structs.replace(account, address=address)

    def _table(self, table: Any, key: str) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise ConfigError(self.file, key, f"must be a table: [{key}]")
        return dict(table)

    def _token(self, text: str, key: str) -> None:
        try:
            subjects.name(text)
        except subjects.InvalidSubject as error:
            raise ConfigError(self.file, key, str(error)) from error

    def _convert(self, table: Mapping[str, Any], type: type[T], key: str) -> T:
        self._refuse_unknown(table, type, key)
        try:
            return msgspec.convert(table, type, dec_hook=self._secret)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$")
            if found := re.search(r"missing required field `(\w+)`", what):
                what, path = "is missing; add it", f"{path.rstrip('`')}.{found[1]}"
            raise ConfigError(self.file, f"{key}{path.rstrip('`')}".lstrip("."), what) from error

    def _refuse_unknown(self, table: Mapping[str, Any], type: type[Struct], key: str) -> None:
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(type)}
        for name, value in table.items():
            path = f"{key}.{name}".lstrip(".")
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"
                raise ConfigError(self.file, path, f"is no known key; {hint}")
            inner = fields[name]
            if inspect.isclass(inner) and issubclass(inner, Section) and isinstance(value, dict):
                self._refuse_unknown(value, inner, path)

    def _secret(self, type: type, value: Any) -> Any:
        if type is not Secret:
            raise ValueError(f"can't be read as {type.__name__}")
        source, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        match source:
            case "env":
                secret = self._environment.get(name, "")
                missing = f"the environment variable {name} is not set; set it, or use file:PATH"
            case "file":
                secret, missing = _read(Path(self.file).parent / name)
            case _:
                raise ValueError("is a secret: write env:NAME or file:PATH, never the secret itself")
        if not secret:
            raise ValueError(missing)
        return Secret(secret)


def _faults(core: Core) -> Iterator[tuple[str, str | None]]:
    """What can be told to be wrong before anything is opened."""
    yield "http.listen", listen_fault(core.http.listen)
    yield "probes.listen", listen_fault(core.probes.listen)
    if core.http.public_url is not None:
        yield "http.public_url", url_fault(core.http.public_url, "https", "http")
    for network in core.http.trusted_proxies:
        yield "http.trusted_proxies", network_fault(network)
    yield from _egress_faults(core.egress)
    for url in (core.nats.url or "").split(",") if core.nats.url else ():
        yield "nats.url", url_fault(url, "nats", "tls", "ws", "wss")
    if not 0 < core.nats.port <= 65535:
        yield "nats.port", "must be a port, from 1 to 65535"
    for tenant, policy in core.calls.tenants.items():
        yield f"calls.tenants.{tenant}", _calls_fault(policy)
    for name in ("ca", "certificate", "key", "credentials"):
        if (path := getattr(core.nats, name)) is not None:
            yield f"nats.{name}", file_fault(path)


def _egress_faults(egress: Egress) -> Iterator[tuple[str, str | None]]:
    if egress.proxy is not None:
        yield "egress.proxy", proxy_fault(egress.proxy)
    elif egress.proxy_user is not None or egress.no_proxy:
        yield "egress.proxy", "is missing; add it, as in http://proxy.example:3128"
    if (egress.proxy_user is None) != (egress.proxy_password is None):
        missing = "proxy_user" if egress.proxy_user is None else "proxy_password"
        yield f"egress.{missing}", "is missing; a login has both, proxy_user and proxy_password"
    if ":" in (egress.proxy_user or ""):
        yield "egress.proxy_user", "can't have a colon in it"
    if egress.ca is not None:
        yield "egress.ca", file_fault(egress.ca) or authorities_fault(egress.ca)
    for host in egress.no_proxy:
        yield "egress.no_proxy", host_fault(host)


def _calls_fault(policy: TenantCalls) -> str | None:
    try:
        Hours(policy)
        Texts(policy.lang, policy.texts)
    except ValueError as error:
        return str(error)
    return None


def load(
    file: str | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    optional: bool = False,
    only: Collection[str] = (),
) -> Config:
    """Read the file given, else $SLUICEWAY_CONFIG, else sluiceway.toml here. Raises `ConfigError`.

    `optional`: where no file was named and there is none here, the defaults do. `only`: these sections or keys alone.
    """
    named = file or environment.get("SLUICEWAY_CONFIG")
    path = named or DEFAULT_FILE
    if optional and not named and not Path(path).exists():
        return Config("configuration", {}, environment, only)
    try:
        with open(path, "rb") as stream:
            tables = tomllib.load(stream)
    except FileNotFoundError as error:
        raise ConfigError(path, "", "no such file; name one with --config, or see the README for an example") from error
    except OSError as error:
        raise ConfigError(path, "", f"can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, "", f"is not TOML: {error}") from error
    return Config(path, tables, environment, only)


def _with_environment(tables: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in tables.items()}
    sections = {field.name: field.type for field in msgspec.structs.fields(Core)}
    for variable, text in environment.items():
        section, found, key = variable.removeprefix("SLUICEWAY_").lower().partition("__")
        if not (variable.startswith("SLUICEWAY_") and found):
            continue
        known = {f.name: f.type for f in msgspec.structs.fields(sections[section])} if section in sections else {}
        if key not in known:
            raise ConfigError(
                variable, "", "no such setting; write SLUICEWAY_<SECTION>__<KEY>, as in SLUICEWAY_NATS__URL"
            )
        number = int in (known[key], *get_args(known[key])) and text.isdecimal()
        table = merged.setdefault(section, {})
        if isinstance(table, dict):  # anything else is refused soon
            table[key] = int(text) if number else text
    return merged


def _chosen(sections: Mapping[str, Any], only: Collection[str]) -> dict[str, Any]:
    """Without what nobody wants to know; what is no section or key of any is left, to be refused."""
    types = {field.name: field.type for field in msgspec.structs.fields(Core)}
    chosen = {}
    for name, table in sections.items():
        if name in only or name not in types or not isinstance(table, dict):
            chosen[name] = table
        elif any(one.startswith(f"{name}.") for one in only):
            known = {field.name for field in msgspec.structs.fields(types[name])}
            chosen[name] = {key: value for key, value in table.items() if key not in known or f"{name}.{key}" in only}
    return chosen


def _read(path: Path) -> tuple[str, str]:
    try:
        return path.read_text(encoding="utf-8").strip(), f"the file {path} is empty"
    except (OSError, UnicodeDecodeError) as error:
        return "", f"the file {path} can't be read: {error.__class__.__name__}; create it, or use env:NAME"
