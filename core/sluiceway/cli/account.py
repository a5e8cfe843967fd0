"""`sluiceway account`: the accounts configured and served, and whether what is written of them can be used."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from . import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..accounts import Notice
    from ..bus.link import Link
    from ..config import Config

EXAMPLES = """\b
Examples:
  sluiceway account list
  sluiceway account check --no-secrets
"""
NOBODY = "served by nobody"
ELSEWHERE = "elsewhere"


class Row(msgspec.Struct, kw_only=True):
    """One account. `waiting` are commands that its gateway has not finished; None where nobody could say."""

    name: str
    tenant: str
    channel: str
    address: str
    gateway: str
    file: str
    state: str = "unknown"
    waiting: int | None = None


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Accounts: which there are, how they are, and whether files of accounts can be used."""


@command.command("list", epilog="Example:  sluiceway account list --json")
@options.as_json
@options.config
def list_(*, as_json: bool, file: str | None) -> None:
    """List the accounts of the configuration, and those that other processes serve on the same NATS.

    Each with its address, who serves it and how it is, and how many commands wait for it. Secrets are not read.
    """
    from ..config import load

    config = load(file, secrets=("nats",))
    rows, why = options.run(_looked(config))
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
    else:
        _table(rows)
    if why is not None:
        click.secho(f"how they are is not known: {why}", fg="yellow", err=True)


@command.command(epilog="Example:  sluiceway account check --no-secrets")
@click.option("--no-secrets", is_flag=True, help="Secrets are not here, as in a pipeline; take each to be there.")
@options.channels
@options.as_json
@options.config
def check(*, channels: tuple[str, ...], no_secrets: bool, as_json: bool, file: str | None) -> None:
    """Check connections and accounts, those of the folder [reload] names too, or those of CHANNELs. NATS is not asked.

    Exit code 1 where something is wrong: then a running gateway would go on with what it has.
    """
    from ..config import load
    from ..errors import ConfigError
    from .check import Finding, of_accounts, tell

    try:
        findings = [*of_accounts(load(file, secrets=() if no_secrets else None), channels)]
    except ConfigError as error:
        findings = [Finding("configuration", "failed", str(error))]
    for finding in findings:
        tell(finding, as_json=as_json)
    if any(finding.state == "failed" for finding in findings):
        sys.exit(1)


async def _looked(config: Config) -> tuple[list[Row], str | None]:
    """Every account, and why it is not known how they are where it is not."""
    from ..errors import Unavailable
    from . import bus

    mine = {f"{row.tenant}.{row.channel}.{row.name}": row for row in _configured(config)}
    try:
        async with bus.connected(config.core) as link:
            notices = await _notices(link, config)
            rows = mine | {key: _elsewhere(key, notice) for key, notice in notices.items() if key not in mine}
            for key, row in rows.items():
                row.state = notices[key].health if key in notices else NOBODY
            for row in rows.values():
                with contextlib.suppress(Unavailable):  # we may not ask
                    row.waiting = await _waiting(link, config, row)
    except Unavailable as error:
        return [*mine.values()], str(error)
    return [*rows.values()], None


def _configured(config: Config) -> list[Row]:
    from .. import plugins

    connections = config.connections(plugins.channels())  # of gateways that are not installed here, others tell
    return [
        Row(
            name=name,
            tenant=account.tenant,
            channel=connections[account.connection].type.channel,
            address=account.address,
            gateway=connections[account.connection].gateway,
            file=config.file_of(f"accounts.{name}"),
        )
        for name, account in config.accounts(connections).items()
    ]


def _elsewhere(key: str, notice: Notice) -> Row:
    tenant, channel, name = key.split(".")
    return Row(
        name=name, tenant=tenant, channel=channel, address=notice.address, gateway=notice.gateway, file=ELSEWHERE
    )


async def _notices(link: Link, config: Config) -> Mapping[str, Notice]:
    from ..accounts import Notice
    from ..bus.store import Bucket
    from ..bus.streams import Layout

    bucket = Bucket(link, Layout(config.core.nats).accounts, Notice)
    found = {key: await bucket.get(key) for key in await bucket.keys()}
    return {key: entry.value for key, entry in found.items() if entry is not None}


async def _waiting(link: Link, config: Config, row: Row) -> int | None:
    """None where there is no consumer, or we may not ask."""
    from ..bus.streams import Layout

    durable = f"out_{row.tenant}_{row.channel}_{row.name}"
    answer = await link.request(link.api(f"CONSUMER.INFO.{Layout(config.core.nats).commands}.{durable}"))
    info = msgspec.json.decode(answer.data or b"{}", type=dict[str, object])
    counts = (info.get("num_pending"), info.get("num_ack_pending"))
    return sum(count for count in counts if isinstance(count, int)) if "error" not in info and info else None


def _table(rows: list[Row]) -> None:
    if not rows:
        click.echo("there is no account; add [accounts.<name>]")
    cells = [(r.name, r.tenant, r.channel, r.address, r.gateway, r.state, _said(r.waiting)) for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    for row, line in zip(rows, cells, strict=True):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.secho(text, fg=None if row.state in ("healthy", "unknown") else "red")


def _said(waiting: int | None) -> str:
    return "" if waiting is None else f"{waiting} waiting"
