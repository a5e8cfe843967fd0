"""`sluiceway call`: calls to customers, put into the queue or taken out of it, and how long they wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluiceway_contracts import (
    CallCancel,
    CallEnded,
    CallQueue,
    CallQueueAnswer,
    CallRequest,
    CallRequested,
    uuid7,
)

from . import ask, decision, options

if TYPE_CHECKING:
    from ..config import Core


@click.group(epilog="Example:  sluiceway call request tel:+447700900456 --proven")
def command() -> None:
    """Calls to customers: whoever waits for one is called by the next agent who is free."""


@command.command(epilog="Example:  sluiceway call request tel:+447700900456 --skill returns --proven")
@click.argument("address", callback=ask.address)
@click.option("--conversation", metavar="ID", callback=options.conversation, help="In which it was asked for.")
@click.option("--skill", metavar="SKILL", callback=options.token, help="Who is to call; else anybody.")
@click.option("--reason", metavar="TEXT", help="What it is about, as the agent is told.")
@click.option("--proven", is_flag=True, help="The number is the customer's; else it is asked for proof.")
@ask.tenant
@decision.wait("10s")
@options.as_json
@options.config
def request(
    *,
    address: str,
    conversation: str | None,
    skill: str | None,
    reason: str | None,
    proven: bool,
    tenant: str | None,
    wait_s: float,
    as_json: bool,
    file: str | None,
) -> None:
    """Have the customer at ADDRESS called."""
    from ..config import load

    data = CallRequest(call_id=uuid7(), address=address, skill=skill, reason=reason, is_proven=proven)
    core = load(file, optional=True).core
    options.run(_give(core, tenant, data, conversation, wait_s=wait_s, as_json=as_json))


@command.command(epilog="Example:  sluiceway call cancel 019bbbeb-62de-791f-9017-430270a0f8c3")
@click.argument("call", callback=options.uuid)
@ask.tenant
@decision.wait("10s")
@options.as_json
@options.config
def cancel(*, call: str, tenant: str | None, wait_s: float, as_json: bool, file: str | None) -> None:
    """Take CALL out of the queue, or hang up."""
    from ..config import load

    core = load(file, optional=True).core
    options.run(_give(core, tenant, CallCancel(call_id=call), None, wait_s=wait_s, as_json=as_json))


@command.command(epilog="Example:  sluiceway call queue --skill returns")
@click.option("--skill", metavar="SKILL", callback=options.token, help="Else of those that anybody may take.")
@ask.tenant
@options.as_json
@options.config
def queue(*, skill: str | None, tenant: str | None, as_json: bool, file: str | None) -> None:
    """Ask how many wait, who is at work, and how long it would take."""
    from ..config import load

    options.run(_queue(load(file, optional=True).core, tenant, skill, as_json=as_json))


async def _give(
    core: Core,
    tenant: str | None,
    data: CallRequest | CallCancel,
    conversation: str | None,
    *,
    wait_s: float,
    as_json: bool,
) -> None:
    from . import bus

    async with bus.connected(core) as link:
        whose = await ask.only_tenant(link, core, tenant)
        ends = (CallRequested, CallEnded)
        await decision.carry(link, core, whose, data, ends, wait_s=wait_s, as_json=as_json, conversation=conversation)


async def _queue(core: Core, tenant: str | None, skill: str | None, *, as_json: bool) -> None:
    import msgspec

    from . import bus
    from .asking import ask as asked
    from .lines import as_json as line

    async with bus.connected(core) as link:
        whose = await ask.only_tenant(link, core, tenant)
        answer = await asked(link, core, whose, CallQueue(skill=skill), CallQueueAnswer)
    click.echo(line(msgspec.json.encode(answer)) if as_json else _told(answer))


def _told(answer: CallQueueAnswer) -> str:
    """In a sentence."""
    if not answer.is_open:
        opens = f" until {answer.opens_at:%Y-%m-%d %H:%M} UTC" if answer.opens_at is not None else ""
        return f"closed{opens}; {answer.waiting} waiting"
    wait = answer.wait_ms
    how_long = f"{wait.low / 60_000:.0f} to {wait.high / 60_000:.0f} min" if wait is not None else "nobody can say"
    return f"open; {answer.waiting} waiting, {answer.free} of {answer.agents} agents free; the next waits: {how_long}"
