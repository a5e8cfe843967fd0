"""`sluiceway can-send`: the channels that a conversation could be answered on now, and why the others are closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from sluiceway_contracts import CanSend, CanSendAnswer

from ..errors import SluicewayError
from . import options

if TYPE_CHECKING:
    from ..config import Core


class NothingOpen(SluicewayError):
    """No channel is open, or nobody could say so."""


@click.command(epilog="Example:  sluiceway can-send 019c22f1-d578-7625-af24-35aeedc2728d")
@click.argument("conversation", callback=options.conversation)
@click.option("--tenant", metavar="TENANT", callback=options.token, help="Else the one whose conversation it is.")
@options.as_json
@options.config
def command(*, conversation: str, tenant: str | None, as_json: bool, file: str | None) -> None:
    """Ask the dispatcher on which channels CONVERSATION can be answered. Exit code 1 where on none.

    The first one is what a reply takes.
    """
    from ..config import load

    options.run(_ask(load(file, optional=True).core, conversation, tenant, as_json=as_json))


async def _ask(core: Core, conversation: str, tenant: str | None, *, as_json: bool) -> None:
    from . import bus
    from .asking import ask, tenant_of

    async with bus.connected(core) as link:
        asked = CanSend(conversation_id=conversation)
        whose = tenant or await tenant_of(link, core, conversation)
        answer = await ask(link, core, whose, asked, CanSendAnswer)
    if as_json:
        from .lines import as_json as line

        click.echo(line(msgspec.json.encode(answer)))
    else:
        for text in _table(answer):
            click.echo(text)
    if not answer.open:
        raise NothingOpen("no channel is open")


def _table(answer: CanSendAnswer) -> list[str]:
    from .lines import shown

    rows = [(way.channel, way.account, way.address, "open", "") for way in answer.open]
    rows += [(way.channel, way.account, way.address, way.code, way.why) for way in answer.closed]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return [shown(line) for line in lines]
