"""`sluiceway schema`: the contract for programs in other languages."""

from __future__ import annotations

import difflib

import click

from sluiceway_contracts import COMMANDS, EVENTS


@click.command(epilog="Example:  sluiceway schema message.received")
@click.argument("type", required=False)
@click.option("--asyncapi", is_flag=True, help="The AsyncAPI document, with the subjects, instead.")
def command(*, type: str | None, asyncapi: bool) -> None:
    """Print the JSON Schema of all events and commands, or of one TYPE, such as message.received."""
    from sluiceway_contracts import schema
    from sluiceway_contracts.asyncapi import asyncapi as document

    if asyncapi and type:
        raise click.UsageError("the AsyncAPI document is of all types: leave TYPE out")
    click.echo(schema.dumps(document() if asyncapi else schema.json_schema(type and _known(type))), nl=False)


def _known(type: str) -> str:
    full = f"sluiceway.{type.removeprefix('sluiceway.')}"
    known = (*EVENTS, *COMMANDS)
    if full in known:
        return full
    near = difflib.get_close_matches(full, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "`sluiceway schema` has all of them under $defs"
    raise click.BadParameter(f"{type} is no type of the contract; {hint}", param_hint="TYPE")
