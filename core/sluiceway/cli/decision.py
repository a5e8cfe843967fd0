"""A person's decision, put on the stream as a command; and what the dispatcher makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sluiceway_contracts import Command, CommandFailed, Event, EventData, Undecodable
from sluiceway_contracts.commands import CommandData

from ..errors import SluicewayError
from . import options
from .tail import show

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core

F = TypeVar("F", bound=Callable[..., Any])
Ends = type[EventData] | tuple[type[EventData], ...]
"""What is told of a command that was carried out."""


def wait(default: str) -> Callable[[F], F]:
    """The option that says how long to wait."""
    return click.option(
        "--wait",
        "wait_s",
        metavar="DURATION",
        callback=options.seconds,
        default=default,
        show_default=True,
        help="How long to wait for what comes of it; 0: not at all.",
    )


class NotDone(SluicewayError):
    """It was not carried out, or nobody has said that it was."""


async def carry(
    link: Link,
    core: Core,
    tenant: str,
    data: CommandData,
    ends: Ends,
    *,
    wait_s: float,
    as_json: bool,
    conversation: str | None = None,
) -> Event | None:
    """Publish it, print what comes of it, and return the event of type `ends`; None where nobody is to wait.

    Raises `NotDone` or `Unavailable`.
    """
    from ..bus.reader import Reader
    from ..bus.streams import Layout

    prefix = core.nats.prefix
    command = Command(tenant=tenant, source=f"/{tenant}/apps/cli", subject=conversation, actorrole="agent", data=data)
    reader = Reader(link, Layout(core.nats).events)
    start = await reader.end()
    await link.publish(command.nats_subject(prefix), command.encode(), command.headers())
    if not wait_s:
        click.echo(command.encode() if as_json else f"stored: command {command.id}")
        return None
    try:
        async with (
            asyncio.timeout(wait_s),
            aclosing(reader.messages(f"{prefix}.v1.{tenant}.events.>", start)) as messages,
        ):
            async for stored in messages:
                event = _about(command, stored.data)
                if event is not None:
                    show(stored.data, as_json=as_json)
                    if isinstance(event.data, CommandFailed):
                        raise NotDone("nothing was changed")
                    if isinstance(event.data, ends):
                        return event
    except TimeoutError:
        pass
    why = "there was nothing to change, or it takes longer, or no `sluiceway run dispatcher` runs, for which it stays"
    raise NotDone(f"nobody has said within {wait_s:g} s that command {command.id} was carried out: {why}")


def _about(command: Command, data: bytes) -> Event | None:
    try:
        event = Event.decode(data)
    except Undecodable:
        return None
    return event if event.causationid == command.id else None
