"""`sluiceway reply`: a text in a conversation; the dispatcher chooses the account. Chooses nothing itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import media, options, outcome

if TYPE_CHECKING:
    from ..config import Core


@click.command(epilog='Example:  sluiceway reply 019c22f1-d578-7625-af24-35aeedc2728d "On its way."')
@click.argument("conversation", callback=options.conversation)
@click.argument("text", callback=options.words)
@click.option("--channel", metavar="CHANNEL", callback=options.token, help="On this one; else where they last wrote.")
@media.attachment
@outcome.wait
@options.as_json
@options.config
def command(
    *,
    conversation: str,
    text: str,
    channel: str | None,
    attachment: Path | None,
    wait_s: float,
    as_json: bool,
    file: str | None,
) -> None:
    """Answer TEXT in CONVERSATION, an id that `sluiceway tail` shows. Exit code 1 where it was not sent."""
    from ..config import load

    core = load(file, optional=True).core
    options.run(_reply(core, conversation, text, channel, attachment, wait_s=wait_s, as_json=as_json))


async def _reply(
    core: Core,
    conversation: str,
    text: str,
    channel: str | None,
    attachment: Path | None,
    *,
    wait_s: float,
    as_json: bool,
) -> None:
    from . import bus
    from .asking import tenant_of

    async with bus.connected(core) as link:
        tenant = await tenant_of(link, core, conversation)
        part = await media.attach(link, core, tenant, attachment) if attachment is not None else None
        command = outcome.message_send(text, tenant=tenant, channel=channel, conversation=conversation, media=part)
        await outcome.carry(link, core, command, wait_s=wait_s, as_json=as_json)
