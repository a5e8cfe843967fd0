"""`sluiceway play`: recorded events and commands put on the stream, for a reader without a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import click

from . import options, recording

if TYPE_CHECKING:
    from ..config import Core


@click.command(epilog="Example:  sluiceway play contracts/samples/story.ndjson")
@click.argument("recorded", metavar="FILE", type=click.File("rb"))
@click.option("--tenant", metavar="TENANT", callback=options.token, help="Play it as this tenant's.")
@options.config
def command(*, recorded: BinaryIO, tenant: str | None, file: str | None) -> None:
    """Put the events and commands of FILE on the stream: JSON lines, one JSON object or an array; - is standard input.

    Each keeps its id, so that what is there already is not stored again. The whole file is checked first.
    """
    from ..config import load

    core = load(file, optional=True).core
    messages = recording.read(recorded.name, recorded.read(), tenant=tenant, prefix=core.nats.prefix)
    stored, there, live = options.run(_play(core, messages))
    told = [
        f"{stored} stored",
        *([f"{there} were there already"] if there else []),
        *([f"{live} live"] if live else []),
    ]
    click.echo(f"{recorded.name}: {', '.join(told)}")


async def _play(core: Core, messages: list[recording.Recorded]) -> tuple[int, int, int]:
    """How many were stored, were there already, and are live only."""
    from ..bus.streams import Layout, ensure
    from . import bus

    stored = there = live = 0
    async with bus.connected(core) as link:
        await ensure(link, Layout(core.nats), create=core.nats.streams == "create")
        for message in messages:
            if message.live:
                await link.send(message.subject, message.data, headers=message.headers)
                live += 1
                continue
            ack = await link.publish(message.subject, message.data, message.headers)
            there += ack.duplicate
            stored += not ack.duplicate
    return stored, there, live
