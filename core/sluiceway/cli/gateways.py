"""`sluiceway gateways`: what is installed, whose it is, and what it can do."""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint
from typing import Any

import click
import msgspec

from .. import gateway, plugins
from . import options


class Row(msgspec.Struct, omit_defaults=True):
    """One installed gateway; `error` says why it can't be used."""

    name: str
    distribution: str
    version: str
    channel: str | None = None
    abilities: tuple[str, ...] = ()
    simulator: bool = False
    error: str | None = None


@click.command(epilog="Example:  sluiceway gateways")
@options.as_json
def command(*, as_json: bool) -> None:
    """List the gateways that are installed: name, channel, distribution, abilities. Broken ones say what is wrong."""
    rows = [_row(name, point) for name, point in plugins.installed().items()]
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
        return
    if not rows:
        click.echo("no gateway is installed")
    widths = [max(len(cell) for cell in column) for column in zip(*map(_cells, rows), strict=True)] if rows else []
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(_cells(row), widths, strict=True))
        click.secho(f"{line}  {row.error or ''}".rstrip(), fg="red" if row.error else None)


def _row(name: str, point: EntryPoint) -> Row:
    row = Row(name, point.dist.name if point.dist else "?", point.dist.version if point.dist else "?")
    try:
        found = plugins.gateway(name)
    except plugins.PluginError as error:
        return msgspec.structs.replace(row, error=str(error))
    except Exception as error:  # its module is a stranger's: whatever it raises is what is wrong with it
        return msgspec.structs.replace(row, error=f"importing it raises {type(error).__name__}: {error}")
    simulator = name in plugins.installed(plugins.SIMULATORS)
    return msgspec.structs.replace(row, channel=found.channel, abilities=_abilities(found), simulator=simulator)


def _abilities(found: type[gateway.Gateway[Any, Any]]) -> tuple[str, ...]:
    """The abstract classes of the author-facing API that it implements."""
    known = {getattr(gateway, name) for name in gateway.__all__} - {gateway.Gateway}
    return tuple(base.__name__ for base in found.__mro__ if base in known and inspect.isabstract(base))


def _cells(row: Row) -> tuple[str, ...]:
    can = (*row.abilities, *(["simulator"] if row.simulator else []))
    return row.name, row.channel or "-", f"{row.distribution} {row.version}", ", ".join(can) or "-"
