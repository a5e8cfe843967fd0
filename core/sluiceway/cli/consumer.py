"""`sluiceway consumer`: a place in the stream for each reader, and the permissions that its NATS user needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from . import options

if TYPE_CHECKING:
    from ..bus.durables import Durable
    from ..config import Core

EXAMPLES = """\b
Examples:
  sluiceway consumer add acme-desk --tenant acme --since all
  sluiceway consumer list
"""
FILTER = re.compile(r"(?:[A-Za-z0-9_-]{1,64}|\*)(?:\.(?:[A-Za-z0-9_-]{1,64}|\*))*(?:\.>)?|>")

name = click.argument("name", callback=options.token)


def _filter(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if FILTER.fullmatch(value):
        return value
    raise click.BadParameter(f"{value!r} is no filter below the tenant's events, such as message.received.>")


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Durable consumers for helpdesks, bots and routers, each of one tenant."""


@command.command(epilog="Example:  sluiceway consumer add acme-desk --tenant acme --since all")
@name
@click.option("--tenant", required=True, metavar="TENANT", callback=options.token, help="Whose events it reads.")
@click.option("--since", required=True, type=click.Choice(["all", "now"]), help="From the stream's beginning, or now.")
@click.option(
    "--subject",
    metavar="FILTER",
    default=">",
    callback=_filter,
    help="Only events whose subject goes on so after the tenant's `events.`, such as message.received.>",
)
@options.as_json
@options.config
def add(*, name: str, tenant: str, since: Literal["all", "now"], subject: str, as_json: bool, file: str | None) -> None:
    """Make a durable pull consumer NAME, and print the user that may read it, for nats-server's configuration.

    What it reads must be acknowledged within 30 s, else it comes again.
    """
    from ..config import load
    from ..permissions import of_reader
    from . import permissions

    core = load(file, optional=True).core
    whole = f"{core.nats.prefix}.v1.{tenant}.events.{subject}"
    stream = options.run(_add(core, name, tenant, whole, since))
    allowed = of_reader(core.nats, name, tenant)
    if as_json:
        _echo({"consumer": name, "stream": stream, "subject": whole, "permissions": permissions.lists(allowed)})
        return
    click.echo(f"# consumer {name} of the stream {stream}: {whole}")
    click.echo(permissions.snippet(name, allowed))


@command.command("list", epilog="Example:  sluiceway consumer list")
@options.as_json
@options.config
def list_(*, as_json: bool, file: str | None) -> None:
    """List the consumers that `add` made: name, tenant, what it reads, how far behind it is."""
    from ..config import load

    for found in options.run(_list(load(file, optional=True).core)):
        if as_json:
            _echo(msgspec.to_builtins(found))
            continue
        behind = f"{found.waiting} waiting, {found.unacknowledged} unacknowledged"
        click.echo(f"{found.name}  {found.tenant}  {found.subject}  {behind}")


@command.command(epilog="Example:  sluiceway consumer remove acme-desk")
@name
@options.config
def remove(*, name: str, file: str | None) -> None:
    """Remove the consumer NAME. The stream keeps its events; where the reader was is forgotten."""
    from ..config import load

    options.run(_remove(load(file, optional=True).core, name))
    click.echo(f"removed: {name}; remove its user from nats-server's configuration too")


async def _add(core: Core, name: str, tenant: str, subject: str, since: Literal["all", "now"]) -> str:
    from ..bus.durables import Durables
    from ..bus.streams import Layout
    from . import bus

    stream = Layout(core.nats).events
    async with bus.connected(core) as link:
        await Durables(link, stream).create(name, tenant, subject, since)
    return stream


async def _list(core: Core) -> list[Durable]:
    from ..bus.durables import Durables
    from ..bus.streams import Layout
    from . import bus

    async with bus.connected(core) as link:
        return await Durables(link, Layout(core.nats).events).all()


async def _remove(core: Core, name: str) -> None:
    from ..bus.durables import Durables
    from ..bus.streams import Layout
    from . import bus

    async with bus.connected(core) as link:
        await Durables(link, Layout(core.nats).events).remove(name)


def _echo(value: dict[str, object]) -> None:
    from .lines import as_json

    click.echo(as_json(msgspec.json.encode(value)))
