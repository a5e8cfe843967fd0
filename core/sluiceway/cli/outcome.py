"""A command put on the stream, and what becomes of it, told as it comes. Chooses no account and no words."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from sluiceway_contracts import (
    STATUS_ORDER,
    TERMINAL,
    Command,
    CommandFailed,
    Event,
    Media,
    MessageSend,
    MessageSent,
    MessageStatus,
    Party,
    Text,
    Undecodable,
    uuid7,
)

from ..errors import SluicewayError
from . import options
from .tail import show

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core

wait = click.option(
    "--wait",
    "wait_s",
    metavar="DURATION",
    callback=options.seconds,
    default="10s",
    show_default=True,
    help="How long to wait for delivery or failure; 0: not at all.",
)

ARRIVED = STATUS_ORDER["delivered"]
TAKEN = STATUS_ORDER["queued"]


class NotSent(SluicewayError):
    """The message was not sent, or nobody has said that it was."""


def message_send(
    text: str,
    *,
    tenant: str,
    channel: str | None,
    account: str | None = None,
    conversation: str | None = None,
    to: str | None = None,
    media: Media | None = None,
) -> Command:
    """An agent's text, and file, for a conversation or an address, by this account or the dispatcher's choice."""
    data = MessageSend(
        message_id=uuid7(),
        author=Party(role="agent"),
        parts=(Text(text=text),) if media is None else (Text(text=text), media),
        conversation_id=conversation,
        to=() if to is None else (to,),
    )
    return Command(
        source=f"/{tenant}/apps/cli",
        tenant=tenant,
        channel=channel,
        account=account,
        subject=conversation,
        actorrole="agent",
        data=data,
    )


async def carry(link: Link, core: Core, command: Command, *, wait_s: float, as_json: bool) -> None:
    """Publish it and print what becomes of it, for `wait_s` seconds at most. Raises `NotSent` or `Unavailable`."""
    from ..bus.reader import Reader
    from ..bus.streams import Layout

    prefix = core.nats.prefix
    reader = Reader(link, Layout(core.nats).events)
    start = await reader.end()
    await link.publish(command.nats_subject(prefix), command.encode(), command.headers())
    if not wait_s:
        _tell_stored(command, as_json=as_json)
        return
    told = _Told()
    channel = command.channel if command.account else "*"  # what the dispatcher refuses is told of no channel
    subject = f"{prefix}.v1.{command.tenant}.events.*.*.{channel}.*.{command.subject or '*'}"
    try:
        async with asyncio.timeout(wait_s), aclosing(reader.messages(subject, start)) as messages:
            async for stored in messages:
                if told.hear(command, stored.data):
                    show(stored.data, as_json=as_json)
                if told.settled:
                    break
    except TimeoutError:
        pass
    told.judge(command, wait_s)


class _Told:
    """What the stream has said of a command so far."""

    def __init__(self) -> None:
        self.settled = False
        self._taken = False
        self._failed = False

    def hear(self, command: Command, data: bytes) -> bool:
        """Whether an event is about the command."""
        try:
            event = Event.decode(data)
        except Undecodable:
            return False
        if event.causationid != command.id:
            return False
        match event.data:
            case CommandFailed():
                self._failed = self.settled = True
            case MessageSent():
                self._taken = True
            case MessageStatus(overall=status):
                rank = STATUS_ORDER.get(status, -1)
                self._taken = self._taken or rank >= TAKEN
                self._failed = status in TERMINAL
                self.settled = self._failed or rank >= ARRIVED
        return True

    def judge(self, command: Command, wait_s: float) -> None:
        """Raises `NotSent`, unless the provider took it."""
        if self._failed:
            raise NotSent("the message was not sent, or did not arrive")
        if not self._taken:
            who = "a gateway of this account" if command.account else "a dispatcher (`sluiceway run dispatcher`)"
            why = f"is {who} running? the command stays on the stream for it"
            raise NotSent(f"nobody has said within {wait_s:g} s that command {command.id} was carried out; {why}")


def _tell_stored(command: Command, *, as_json: bool) -> None:
    if as_json:
        show(command.encode(), as_json=True)
    elif isinstance(command.data, MessageSend):
        click.echo(f"stored: command {command.id}, message {command.data.message_id}")
