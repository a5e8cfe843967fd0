"""`sluiceway contact`: who somebody is, and a person's decisions about it. The dispatcher answers and carries out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from sluiceway_contracts import (
    ContactAnswer,
    ContactErase,
    ContactErased,
    ContactLink,
    ContactLinked,
    ContactMerge,
    ContactMerged,
    ContactQuestion,
    ContactSplit,
    ContactUnlink,
    ContactUnlinked,
    ContactUnmerged,
    ContactVerified,
    Event,
)
from sluiceway_contracts.commands import CommandData

from . import ask, decision, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..config import Core

EXAMPLES = """\b
Examples:
  sluiceway contact show tel:+447700900456
  sluiceway contact merge mailto:anna@customer.example tel:+447700900456
  sluiceway contact export tel:+447700900456 --out anna.json

\b
A contact is named by its id or by one of its addresses.
"""


def one(name: str = "contact") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An argument that names a contact."""
    return click.argument(name, metavar="ADDRESS|ID", callback=ask.who)


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Contacts: who is who, on all channels."""


@command.command(epilog="Example:  sluiceway contact show tel:+447700900456")
@one()
@ask.tenant
@options.as_json
@options.config
def show(*, contact: ContactQuestion, tenant: str | None, as_json: bool, file: str | None) -> None:
    """Show a contact: addresses, how well they are known, conversations, consents, conflicts that nobody decided."""
    from ..config import load

    answer = options.run(_show(load(file, optional=True).core, tenant, contact))
    if as_json:
        from .lines import as_json as on_one_line

        click.echo(on_one_line(msgspec.json.encode(answer)))
        return
    from .portrait import portrait

    click.echo("\n".join(portrait(answer)))


@command.command(epilog="Example:  sluiceway contact merge mailto:anna@customer.example tel:+447700900456")
@click.argument("other", metavar="ADDRESS|ID", callback=ask.who)
@click.argument("contact", metavar="INTO", callback=ask.who)
@click.option("--evidence", metavar="TEXT", help="How you know.")
@ask.tenant
@decision.wait("10s")
@options.as_json
@options.config
def merge(
    *,
    other: ContactQuestion,
    contact: ContactQuestion,
    evidence: str | None,
    tenant: str | None,
    wait_s: float,
    as_json: bool,
    file: str | None,
) -> None:
    """Say that two contacts are one person: the first one is then INTO. It can be taken back."""

    def data(into: str, old: str) -> CommandData:
        if old == into:
            raise decision.NotDone(f"both are the contact {into} already")
        return ContactMerge(from_id=old, into_id=into, evidence=evidence)

    done = _decide(file, tenant, data, ContactMerged, (contact, other), wait_s=wait_s, as_json=as_json)
    if done is not None and isinstance(done.data, ContactMerged) and done.data.undo and not as_json:
        click.echo(f"to take it back: sluiceway contact split {done.data.into_id} {done.data.undo}")


@command.command(epilog="Example:  sluiceway contact split tel:+447700900456 019bbbda-e821-7805-a4c5-faebafce1a3b")
@one()
@click.argument("undo", metavar="UNDO", callback=options.uuid)
@ask.tenant
@decision.wait("10s")
@options.as_json
@options.config
def split(
    *, contact: ContactQuestion, undo: str, tenant: str | None, wait_s: float, as_json: bool, file: str | None
) -> None:
    """Take a merge back. UNDO is what `merge` and its event have told."""

    def data(id: str) -> CommandData:
        return ContactSplit(contact_id=id, undo=undo)

    _decide(file, tenant, data, ContactUnmerged, (contact,), wait_s=wait_s, as_json=as_json)


@command.command(epilog="Example:  sluiceway contact link tel:+447700900456 mailto:anna@customer.example")
@one()
@click.argument("address", callback=ask.address)
@click.option("--evidence", metavar="TEXT", help="How you know.")
@ask.tenant
@decision.wait("10s")
@options.as_json
@options.config
def link(
    *,
    contact: ContactQuestion,
    address: str,
    evidence: str | None,
    tenant: str | None,
    wait_s: float,
    as_json: bool,
    file: str | None,
) -> None:
    """Say that ADDRESS is this contact's too."""

    def data(id: str) -> CommandData:
        return ContactLink(contact_id=id, address=address, evidence=evidence)

    _decide(file, tenant, data, (ContactLinked, ContactVerified), (contact,), wait_s=wait_s, as_json=as_json)


@command.command(epilog="Example:  sluiceway contact unlink tel:+447700900456 mailto:office@customer.example")
@one()
@click.argument("address", callback=ask.address)
@ask.tenant
@decision.wait("10s")
@options.as_json
@options.config
def unlink(
    *, contact: ContactQuestion, address: str, tenant: str | None, wait_s: float, as_json: bool, file: str | None
) -> None:
    """Say that ADDRESS is not this contact's."""

    def data(id: str) -> CommandData:
        return ContactUnlink(contact_id=id, address=address)

    _decide(file, tenant, data, ContactUnlinked, (contact,), wait_s=wait_s, as_json=as_json)


@command.command(epilog="Example:  sluiceway contact erase tel:+447700900456 --reason 'asked to be forgotten'")
@one()
@click.option("--reason", metavar="TEXT", help="Why; it is kept, so name nobody.")
@click.confirmation_option(prompt="All that is known of this contact is erased for good. Go on?")
@ask.tenant
@decision.wait("2m")
@options.as_json
@options.config
def erase(
    *,
    contact: ContactQuestion,
    reason: str | None,
    tenant: str | None,
    wait_s: float,
    as_json: bool,
    file: str | None,
) -> None:
    """Erase everything that is known of a contact, for good."""

    def data(id: str) -> CommandData:
        return ContactErase(contact_id=id, reason=reason)

    _decide(file, tenant, data, ContactErased, (contact,), wait_s=wait_s, as_json=as_json)


@command.command(epilog="Example:  sluiceway contact export tel:+447700900456 --out anna.json")
@one()
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Else standard output.")
@ask.tenant
@options.config
def export(*, contact: ContactQuestion, out: Path | None, tenant: str | None, file: str | None) -> None:
    """Write all that the stream and the records have of a contact, as JSON: what a person may ask for."""
    from ..config import load

    document = options.run(_export(load(file, optional=True).core, tenant, contact))
    if out is None:
        click.echo(document)
    else:
        out.touch(mode=0o600)
        out.write_bytes(document + b"\n")


def _decide(
    file: str | None,
    tenant: str | None,
    data: Callable[..., CommandData],
    ends: decision.Ends,
    about: Iterable[ContactQuestion],
    *,
    wait_s: float,
    as_json: bool,
) -> Event | None:
    from ..config import load

    core = load(file, optional=True).core

    async def run() -> Event | None:
        from . import bus

        async with bus.connected(core) as link:
            whose = await ask.only_tenant(link, core, tenant)
            ids = [
                contact.contact_id or (await ask.contact(link, core, whose, contact)).contact.id for contact in about
            ]
            return await decision.carry(link, core, whose, data(*ids), ends, wait_s=wait_s, as_json=as_json)

    return options.run(run())


async def _show(core: Core, tenant: str | None, contact: ContactQuestion) -> ContactAnswer:
    from . import bus

    async with bus.connected(core) as link:
        return await ask.contact(link, core, await ask.only_tenant(link, core, tenant), contact)


async def _export(core: Core, tenant: str | None, contact: ContactQuestion) -> bytes:
    from . import bus
    from .dossier import dossier

    async with bus.connected(core) as link:
        whose = await ask.only_tenant(link, core, tenant)
        answer = await ask.contact(link, core, whose, contact)
        return msgspec.json.format(msgspec.json.encode(await dossier(link, core, whose, answer)), indent=2)
