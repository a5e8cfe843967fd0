"""A question to the dispatcher, and whose it is. Answers nothing from the bus itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from sluiceway_contracts import (
    ContactAnswer,
    ContactQuestion,
    InvalidAddress,
    Unanswered,
    addresses,
    is_uuid,
    subjects,
)

from ..errors import SluicewayError
from . import options

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core

T = TypeVar("T", bound=msgspec.Struct)

TIMEOUT_S = 5.0
NO_RESPONDERS = "503"

tenant = click.option(
    "--tenant", metavar="TENANT", callback=options.token, help="Whose customer; else the only tenant that has accounts."
)


class NoAnswer(SluicewayError):
    """Nobody answered, or what was answered is that there is no answer."""


def who(context: click.Context, parameter: click.Parameter, value: str) -> ContactQuestion:
    """A contact's id or an address, or the usage error that it is neither."""
    if is_uuid(value):
        return ContactQuestion(contact_id=value)
    try:
        return ContactQuestion(address=addresses.normalise(value))
    except InvalidAddress as error:
        raise click.BadParameter(f"neither a contact's id, a UUID in lower case, nor an address: {error}") from error


def address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """An address in its one spelling, or the usage error that it is none."""
    try:
        return addresses.normalise(value)
    except InvalidAddress as error:
        raise click.BadParameter(str(error)) from error


async def ask(link: Link, core: Core, tenant: str, question: str, body: msgspec.Struct, answer: type[T]) -> T:
    """The answer. Raises `NoAnswer` or `Unavailable`."""
    subject = subjects.ask(tenant, question, prefix=core.nats.prefix)
    told = await link.request(subject, msgspec.json.encode(body), timeout_s=TIMEOUT_S)
    if (told.headers or {}).get("Status") == NO_RESPONDERS:
        raise NoAnswer("no dispatcher answers: start `sluiceway run dispatcher`")
    try:
        found = msgspec.json.decode(told.data, type=answer)
    except ValueError as error:
        raise NoAnswer(_refusal(told.data, question)) from error
    return found


async def contact(link: Link, core: Core, tenant: str, question: ContactQuestion) -> ContactAnswer:
    """Who that is now. Raises `NoAnswer` or `Unavailable`."""
    return await ask(link, core, tenant, "contact", question, ContactAnswer)


async def only_tenant(link: Link, core: Core, given: str | None) -> str:
    """The tenant that was named, else the only one that gateways have accounts of. Raises `NoAnswer`."""
    from ..accounts import Notice
    from ..bus.store import Bucket
    from ..bus.streams import Layout

    if given is not None:
        return given
    keys = await Bucket(link, Layout(core.nats).accounts, Notice).keys()
    found = sorted({key.partition(".")[0] for key in keys})
    if len(found) != 1:
        why = f"there are {', '.join(found)}" if found else "no gateway has run here for a day"
        raise NoAnswer(f"name the tenant with --tenant: {why}")
    return found[0]


def _refusal(data: bytes, question: str) -> str:
    try:
        return msgspec.json.decode(data, type=Unanswered).error.message
    except ValueError:
        return f"the answer to {question} can't be read; is the dispatcher of another version?"
