"""`sluiceway check`: whether configuration and NATS are as they must be. Looks, and changes nothing."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from ..errors import ConfigError, SluicewayError
from . import options

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Config, Core

State = Literal["ok", "failed", "skipped"]
COLOURS: dict[State, str] = {"ok": "green", "failed": "red", "skipped": "yellow"}

LEAST_SERVER = (2, 14, 0)
LACKS = "it can't reset a consumer, without which a killed gateway's commands wait 35 minutes or leave out of order"


class Finding(msgspec.Struct):
    """One thing that was looked at."""

    what: str
    state: State
    detail: str


@click.command(epilog="Example:  sluiceway check --config /etc/sluiceway.toml")
@click.option(
    "--ready", "urls", multiple=True, metavar="URL", help="Ask this running process, and look at nothing else."
)
@options.channels
@options.as_json
@options.config
def command(*, channels: tuple[str, ...], urls: tuple[str, ...], as_json: bool, file: str | None) -> None:
    """Check the configuration, secrets and all, and the NATS that it names. Exit code 1 where something is wrong.

    With CHANNELs, of connections and accounts those of these alone, as the process that serves them sees them.

    With --ready, ask instead whether the processes whose probes are at these addresses, such as http://sms:9090, are
    ready.
    """
    from ..config import load

    if urls:
        if not options.run(_ready(urls, as_json=as_json)):
            sys.exit(1)
        return
    try:
        config = load(file)
        config.connections_of()  # what is wrong with the folder
    except ConfigError as error:
        tell(Finding("configuration", "failed", str(error)), as_json=as_json)
        sys.exit(1)
    if not options.run(_check(config, channels, as_json=as_json)):
        sys.exit(1)


async def _check(config: Config, channels: Collection[str], *, as_json: bool) -> bool:
    """Tell of each finding as it is found; whether none failed."""
    good = True
    for finding in _configuration(config, channels):
        good = good and finding.state != "failed"
        tell(finding, as_json=as_json)
    async for finding in _nats(config.core):
        good = good and finding.state != "failed"
        tell(finding, as_json=as_json)
    return good


def tell(finding: Finding, *, as_json: bool) -> None:
    """A finding as a line."""
    if as_json:
        click.echo(msgspec.json.encode(finding))
        return
    click.echo(f"{click.style(f'{finding.state:7}', fg=COLOURS[finding.state])} {finding.what}: {finding.detail}")


async def _ready(urls: tuple[str, ...], *, as_json: bool) -> bool:
    """Ask each once; whether all are ready."""
    from ..errors import SluicewayError
    from ..http.client import Client
    from ..wire import Request

    client, good = Client(), True
    for url in urls:
        try:
            answer = await client.exchange(Request.get(f"{url.rstrip('/')}/readyz"))
            is_ready, said = answer.status == 200, answer.body[:300].decode(errors="replace").strip()
            detail = said if is_ready else f"answers {answer.status}: {said}"
            finding = Finding(url, "ok" if is_ready else "failed", detail)
        except SluicewayError as error:
            finding = Finding(url, "failed", f"does not answer: {error}")
        good = good and finding.state == "ok"
        tell(finding, as_json=as_json)
    await client.close()
    return good


def of_accounts(config: Config, channels: Collection[str]) -> Iterator[Finding]:
    """Connections and accounts, of these channels or of all."""
    from ..accounts import Accounts
    from ..desk import check_tenants

    url, mine = config.core.http.base_url, config.connections_of(channels)
    connections, accounts = {}, {}
    for name in mine:
        try:
            connections[name] = found = config.connection(name)
            yield Finding(f"connection {name}", "ok", f"{found.gateway} at {found.inlet(url)}")
        except ConfigError as error:
            yield Finding(f"connection {name}", "failed", str(error))
    for name in config.accounts_on(mine):
        try:
            accounts[name] = account = config.account(name, connections)
            Accounts(connections, accounts, url, config.file)  # refuses the same address twice
            yield Finding(f"account {name}", "ok", f"{account.address} of {account.tenant} on {account.connection}")
        except ConfigError as error:
            accounts.pop(name, None)
            yield Finding(f"account {name}", "failed", str(error))
    try:
        check_tenants(Accounts(connections, accounts, url, config.file))
    except ConfigError as error:
        yield Finding("tenants", "failed", str(error))


def _configuration(config: Config, channels: Collection[str]) -> Iterator[Finding]:
    from ..identity import Identity

    core = config.core
    yield Finding("configuration", "ok", config.file)
    yield from of_accounts(config, channels)
    if core.identity.key is None:
        yield Finding(
            "identity key", "skipped", "`sluiceway up` makes one; `sluiceway run` needs it in the configuration"
        )
        return
    try:
        Identity(core.identity.key.reveal().encode())
        yield Finding("identity key", "ok", "long enough")
    except ConfigError as error:
        yield Finding("identity key", "failed", str(error))


async def _nats(core: Core) -> AsyncIterator[Finding]:
    from ..errors import Unavailable
    from . import bus

    url = bus.settings(core).url
    try:
        async with bus.connected(core) as link:
            yield Finding("nats", "ok", f"{url} answers")
            yield _server(link)
            async for finding in _streams(core, link):
                yield finding
    except Unavailable as error:
        if core.nats.url is None:
            yield Finding("nats", "skipped", f"{error}; `sluiceway up` starts it")
        else:
            yield Finding("nats", "failed", str(error))


def _server(link: Link) -> Finding:
    version = ".".join(map(str, link.server_version))
    if link.server_version < LEAST_SERVER:
        return Finding("nats version", "failed", f"{version} is older than 2.14: {LACKS}; update nats-server")
    return Finding("nats version", "ok", version)


async def _streams(core: Core, link: Link) -> AsyncIterator[Finding]:
    from ..bus.streams import Layout, exists

    layout = Layout(core.nats)
    for name, wanted in layout.configs.items():
        try:
            there = await exists(link, name, wanted)
        except SluicewayError as error:
            yield Finding(f"stream {name}", "failed", str(error))
            continue
        if there:
            yield Finding(f"stream {name}", "ok", "as it must be")
        elif core.nats.streams == "create":
            yield Finding(f"stream {name}", "skipped", "is missing; the first gateway creates it")
        else:
            yield Finding(f"stream {name}", "failed", "is missing; create it, or set nats.streams to create")
