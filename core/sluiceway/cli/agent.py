"""`sluiceway agent`: who takes calls, and where they are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluiceway_contracts import AgentChanged, AgentSet

from . import ask, decision, options

if TYPE_CHECKING:
    from ..config import Core

STATES = ("available", "busy", "away", "offline")


@click.group(epilog="Example:  sluiceway agent set priya --state available --reach tel:+442079460123")
def command() -> None:
    """Who takes calls."""


def _addresses(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(ask.address(context, parameter, one) for one in value)


@command.command("set", epilog="Example:  sluiceway agent set priya --state available --reach tel:+442079460123")
@click.argument("agent", callback=options.token)
@click.option("--state", type=click.Choice(STATES), required=True, help="Only who is available is given calls.")
@click.option("--reach", multiple=True, metavar="ADDRESS", callback=_addresses, help="Where calls reach them; kept.")
@click.option("--skill", "skills", multiple=True, metavar="SKILL", help="What they take; none: everything.")
@click.option("--name", metavar="TEXT", help="As customers and colleagues know them.")
@ask.tenant
@decision.wait("10s")
@options.as_json
@options.config
def set_(
    *,
    agent: str,
    state: str,
    reach: tuple[str, ...],
    skills: tuple[str, ...],
    name: str | None,
    tenant: str | None,
    wait_s: float,
    as_json: bool,
    file: str | None,
) -> None:
    """Say what AGENT does now; it replaces what was said before."""
    from ..config import load

    data = AgentSet(agent_id=agent, state=state, reach=reach, skills=skills, name=name)
    options.run(_set(load(file, optional=True).core, tenant, data, wait_s=wait_s, as_json=as_json))


async def _set(core: Core, tenant: str | None, data: AgentSet, *, wait_s: float, as_json: bool) -> None:
    from . import bus

    async with bus.connected(core) as link:
        whose = await ask.only_tenant(link, core, tenant)
        await decision.carry(link, core, whose, data, AgentChanged, wait_s=wait_s, as_json=as_json)
