"""`sluiceway conversation`: which there are, from their records; and what was said in one, from the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
import msgspec

from sluiceway_contracts import ConversationState, Event, Undecodable

from ..errors import SluicewayError
from . import options

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core
    from .timeline import Timeline

EXAMPLES = """\b
Examples:
  sluiceway conversation list --channel sms --limit 5
  sluiceway conversation show 019c22f1-d578-7625-af24-35aeedc2728d
"""
WINDOW, WIDER = 1000, 4
"""How many of the bucket's last writes are looked through first, and how many times more each time after."""


class NoConversation(SluicewayError):
    """There is no such conversation."""


class Listed(msgspec.Struct):
    """A conversation of a tenant."""

    tenant: str
    conversation: ConversationState


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Conversations, over all channels."""


@command.command("list", epilog="Example:  sluiceway conversation list --channel sms --limit 5")
@click.option("--tenant", metavar="TENANT", callback=options.token, help="Only this tenant's.")
@click.option("--open", "state", flag_value="open", default="open", help="Only open ones: the default.")
@click.option("--closed", "state", flag_value="closed", help="Only closed ones.")
@click.option("--all", "state", flag_value="all", help="Open, closed and erased ones.")
@click.option("--channel", metavar="CHANNEL", callback=options.token, help="Only those that used this channel.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."
)
@options.as_json
@options.config
def list_(*, tenant: str | None, state: str, channel: str | None, limit: int, as_json: bool, file: str | None) -> None:
    """List conversations, those with the latest activity first. The dispatcher keeps their records."""
    from ..config import load

    core = load(file, optional=True).core
    found = options.run(_list(core, tenant, state=state, channel=channel, limit=limit))
    for one in found:
        click.echo(_json(one) if as_json else _line(one))


@command.command(epilog="Example:  sluiceway conversation show 019c22f1-d578-7625-af24-35aeedc2728d")
@click.argument("conversation", metavar="ID", callback=options.conversation)
@options.as_json
@options.config
def show(*, conversation: str, as_json: bool, file: str | None) -> None:
    """Show what was said in a conversation, on all channels, both ways, and what became of each message.

    It is read from the stream, so that it needs no dispatcher, and reaches back as far as the stream does.
    """
    from ..config import load
    from . import timeline

    told = options.run(_show(load(file, optional=True).core, conversation))
    if as_json:
        from .lines import as_json as on_one_line

        for entry in told.entries:
            click.echo(on_one_line(msgspec.json.encode(entry)))
        return
    click.echo("\n".join([*_head(conversation, told), *map(timeline.line, told.entries), *_tail(told)]))


async def _list(core: Core, tenant: str | None, *, state: str, channel: str | None, limit: int) -> list[Listed]:
    from . import bus

    def wanted(one: Listed) -> bool:
        record = one.conversation
        return state in ("all", record.state) and (channel is None or channel in record.channels)

    async with bus.connected(core) as link:
        found = await _last(link, core, tenant or "*", wanted, limit)
    found.sort(key=lambda one: one.conversation.last_sequence, reverse=True)
    return found[:limit]


async def _last(link: Link, core: Core, tenant: str, wanted: Callable[[Listed], bool], limit: int) -> list[Listed]:
    """At least `limit` of those last written, where there are so many: the bucket is read backwards, piece by piece."""
    from ..bus.reader import Reader
    from ..bus.streams import Layout

    bucket = Layout(core.nats).state
    reader = Reader(link, f"KV_{bucket}")
    subject = f"$KV.{bucket}.{tenant}.conversation.*"
    found: dict[str, Listed] = {}
    end, size = await reader.end(), WINDOW
    while end > 1 and len(found) < limit:
        start = max(1, end - size)
        async for stored in reader.messages(subject, start, follow=False):
            if stored.sequence >= end:
                break
            owner = stored.subject.split(".")[2]
            one = Listed(owner, msgspec.json.decode(stored.data, type=ConversationState)) if stored.data else None
            if one is not None and wanted(one):
                found[stored.subject] = one
        end, size = start, size * WIDER
    return list(found.values())


async def _show(core: Core, conversation: str) -> Timeline:
    from ..bus.reader import Reader
    from ..bus.streams import Layout
    from . import bus
    from .timeline import Timeline

    told = Timeline()
    async with bus.connected(core) as link:
        subject = f"{core.nats.prefix}.v1.*.events.*.*.*.*.{conversation}"
        async for stored in Reader(link, Layout(core.nats).events).messages(subject, "all", follow=False):
            try:
                told.add(Event.decode(stored.data))
            except Undecodable as error:
                click.echo(f"sluiceway: event {stored.sequence} can't be read: {error}", err=True)
    if not told.entries:
        raise NoConversation(f"the stream has nothing of {conversation}; `sluiceway conversation list` names some")
    return told


def _head(conversation: str, told: Timeline) -> Iterable[str]:
    from .lines import shown

    yield shown(f"conversation {conversation} of {told.tenant}{f', contact {told.contact}' if told.contact else ''}")
    if told.previous_id is not None:
        yield shown(f"the one before: sluiceway conversation show {told.previous_id}")


def _tail(told: Timeline) -> Iterable[str]:
    from .lines import shown

    if told.continued_as is not None:
        yield shown(f"it goes on: sluiceway conversation show {told.continued_as}")


def _line(one: Listed) -> str:
    from . import lines

    record, count = one.conversation, one.conversation.message_count
    when = lines.clock(record.last_at) if record.last_at is not None else "-"
    who = record.last_inbound.address if record.last_inbound is not None else None
    fate = f"last answer {record.last_outbound.status}" if record.last_outbound is not None else None
    counts = f"{lines.FROM_CUSTOMER}{count.inbound} {lines.TO_CUSTOMER}{count.outbound}"
    words = (when, record.id, one.tenant, record.state, ",".join(record.channels), counts, who, fate)
    return lines.shown("  ".join(filter(None, words)))


def _json(one: Listed) -> str:
    from .lines import as_json

    return as_json(msgspec.json.encode({"tenant": one.tenant} | msgspec.to_builtins(one.conversation)))
