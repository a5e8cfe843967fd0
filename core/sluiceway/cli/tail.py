"""`sluiceway tail`: the stream as it grows, or as it has been."""

from __future__ import annotations

import datetime
import os
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

import click

from sluiceway_contracts import now

from . import options

if TYPE_CHECKING:
    from ..config import Core

EXAMPLES = """\b
Examples:
  sluiceway tail --channel sms --since 10m
  sluiceway tail --conversation 019c22f1-d578-7625-af24-35aeedc2728d --no-follow
  sluiceway tail --json | jq .data.message.text

\b
← from the customer, → to the customer. Ctrl-C ends it.
"""


def _since(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime.datetime | Literal["all"] | None:
    if value is None:
        return None
    if value == "all":
        return "all"
    try:
        return now() - datetime.timedelta(seconds=options.seconds(context, parameter, value))
    except OverflowError:
        return "all"


@click.command(epilog=EXAMPLES)
@click.option("--channel", metavar="CHANNEL", callback=options.token, help="Only this channel, such as sms.")
@click.option("--conversation", metavar="ID", callback=options.conversation, help="Only this conversation.")
@click.option("--tenant", metavar="TENANT", callback=options.token, help="Only this tenant's.")
@click.option(
    "--since", metavar="DURATION", callback=_since, help="From so long ago: 30s, 10m, 2h, 1d, or all; else now."
)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after so many events.")
@click.option("--no-follow", is_flag=True, help="End with what is there; without --since, with all of it.")
@options.as_json
@options.config
def command(
    *,
    channel: str | None,
    conversation: str | None,
    tenant: str | None,
    since: datetime.datetime | Literal["all"] | None,
    count: int | None,
    no_follow: bool,
    as_json: bool,
    file: str | None,
) -> None:
    """Show the events on the stream, one a line, as they come. With --json each line is the CloudEvent as it is."""
    from ..config import load

    core = load(file, optional=True).core
    subject = f"{core.nats.prefix}.v1.{tenant or '*'}.events.*.*.{channel or '*'}.*.{conversation or '*'}"
    start = since or ("all" if no_follow else None)
    try:
        options.run(_tail(core, subject, start, follow=not no_follow, count=count, as_json=as_json))
    except BrokenPipeError:  # whoever read it, `head` perhaps, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _tail(
    core: Core,
    subject: str,
    since: datetime.datetime | Literal["all"] | None,
    *,
    follow: bool,
    count: int | None,
    as_json: bool,
) -> None:
    from ..bus.reader import Reader
    from ..bus.streams import Layout
    from . import bus

    async with bus.connected(core) as link:
        reader = Reader(link, Layout(core.nats).events)
        start = since if since is not None else await reader.end()
        left = count
        async with aclosing(reader.messages(subject, start, follow=follow)) as messages:
            async for stored in messages:
                show(stored.data, as_json=as_json)
                left = None if left is None else left - 1
                if left == 0:
                    return


def show(data: bytes, *, as_json: bool) -> None:
    """Print an event. What is no JSON is told on standard error where JSON is wanted."""
    from . import lines

    if not as_json:
        click.echo(lines.readable(data))
        return
    try:
        line = lines.as_json(data)
    except (ValueError, RecursionError) as error:
        click.echo(f"sluiceway: an event is no JSON: {error}", err=True)
        return
    click.echo(line)
