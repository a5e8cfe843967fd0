"""`sluiceway dead`: what was put aside, to look at, and to send or receive again. Deletes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from . import options

if TYPE_CHECKING:
    from ..config import Config, Core
    from ..dead import DeadLetter

EXAMPLES = """\b
Examples:
  sluiceway dead list --tenant acme
  sluiceway dead show 17
  sluiceway dead replay 17
"""

sequence = click.argument("sequence", metavar="SEQ", type=click.IntRange(min=1))


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Messages whose tries are used up, and deliveries that could not be read. They are kept for 30 days."""


@command.command("list", epilog="Example:  sluiceway dead list --tenant acme")
@click.option("--tenant", metavar="TENANT", callback=options.token, help="Only this tenant's.")
@options.as_json
@options.config
def list_(*, tenant: str | None, as_json: bool, file: str | None) -> None:
    """List dead letters, the oldest first: number, time, tenant, what it is, why it is here."""
    from ..config import load

    options.run(_list(load(file, optional=True).core, tenant, as_json=as_json))


@command.command(epilog="Example:  sluiceway dead show 17")
@sequence
@options.as_json
@options.config
def show(*, sequence: int, as_json: bool, file: str | None) -> None:
    """Show the dead letter SEQ: where it came from, why it is here, what was tried, and what it says."""
    from ..config import load

    options.run(_show(load(file, optional=True).core, sequence, as_json=as_json))


@command.command(epilog="Example:  sluiceway dead replay 17")
@sequence
@click.option("--whole", is_flag=True, help="Even where some pieces of the message have arrived already.")
@options.as_json
@options.config
def replay(*, sequence: int, whole: bool, as_json: bool, file: str | None) -> None:
    """Send the message of dead letter SEQ again, or receive its delivery again with the gateway installed here.

    A delivery received twice is one event. A message replayed twice is sent once. The dead letter stays.
    """
    from ..config import load

    options.run(_replay(load(file, optional=True), sequence, whole=whole, as_json=as_json))


async def _list(core: Core, tenant: str | None, *, as_json: bool) -> None:
    from ..bus.streams import Layout
    from ..dead import DeadLetters
    from . import bus

    async with bus.connected(core) as link:
        async for letter in DeadLetters(link, Layout(core.nats), core.nats.prefix).all(tenant):
            _echo(_fields(letter)) if as_json else click.echo(_line(letter))


async def _show(core: Core, sequence: int, *, as_json: bool) -> None:
    from ..bus.streams import Layout
    from ..dead import DeadLetters
    from . import bus

    async with bus.connected(core) as link:
        letter = await DeadLetters(link, Layout(core.nats), core.nats.prefix).at(sequence)
    if as_json:
        _echo(_fields(letter) | _body(letter))
        return
    from .lines import shown

    click.echo(_line(letter))
    for name, value in sorted(letter.headers.items()):
        if name.startswith("sluiceway-") or name == "content-type":
            click.echo(f"  {shown(name.removeprefix('sluiceway-'))}: {shown(value)}")
    click.echo()
    click.echo("\n".join(shown(line) for line in letter.body.decode("utf-8", "replace").splitlines()))


async def _replay(config: Config, sequence: int, *, whole: bool, as_json: bool) -> None:
    from .. import dead
    from ..bus.streams import Layout
    from . import bus

    core = config.core
    layout, prefix = Layout(core.nats), core.nats.prefix
    async with bus.connected(core) as link:
        letter = await dead.DeadLetters(link, layout, prefix).at(sequence)
        if letter.kind == dead.COMMANDS:
            sent = await dead.again(link, layout, prefix, letter, whole=whole)
            told = {"command": sent.id, "message": getattr(sent.data, "message_id", "")}
            _tell(told, f"published again: command {told['command']}, message {told['message']}", as_json=as_json)
            return
        from .. import accounts
        from ..http.client import Client
        from ..http.egress import Way

        secret = _key(config).encode()
        client = Client(way=Way(core.egress))
        try:
            here = accounts.of(config, (letter.channel,))
            received = dead.Replay(link, layout, core, secret, here, client)
            await received.run(letter)
        finally:
            await client.close()
        for event, known in received.stored:
            words = f"{event.type.removeprefix('sluiceway.')} {event.id}"
            told = {"event": event.id, "type": event.type, "known": known}
            _tell(told, f"{'known already' if known else 'stored'}: {words}", as_json=as_json)
        if not as_json:
            click.echo("replayed")


def _key(config: Config) -> str:
    """The identity key, also the one that `sluiceway up` made. Raises `ConfigError`."""
    from ..errors import ConfigError

    core = config.core
    if core.identity.key is not None:
        return core.identity.key.reveal()
    path = Path(config.file).parent / core.nats.data / "identity.key"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        what = "is missing; a delivery is replayed under the key that its gateway has"
        raise ConfigError(config.file, "identity.key", what) from error


def _line(letter: DeadLetter) -> str:
    from .lines import shown

    what = "message" if letter.kind == "commands" else "delivery"
    tried = f", {letter.tried} tries, {letter.arrived} arrived" if letter.kind == "commands" else ""
    words = (
        f"{letter.sequence:>6}  {letter.stored_at[:19].replace('T', ' ')}  {letter.tenant}  {what} "
        f"{letter.channel}/{letter.name}  {letter.error}: {letter.reason}{tried}"
    )
    return shown(words)


def _fields(letter: DeadLetter) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(letter)
    return {name: value for name, value in fields.items() if name not in ("body", "headers")}


def _body(letter: DeadLetter) -> dict[str, Any]:
    """As text where it is text, else in base64."""
    try:
        return {"headers": dict(letter.headers), "body": letter.body.decode()}
    except UnicodeDecodeError:
        return {"headers": dict(letter.headers), "body_base64": letter.body}


def _tell(told: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        _echo(told)
    else:
        click.echo(words)


def _echo(value: dict[str, Any]) -> None:
    from .lines import as_json

    click.echo(as_json(msgspec.json.encode(value)))
