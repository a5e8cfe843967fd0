"""`sluiceway send`: a text to an address, through an account that reaches it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import click

from sluiceway_contracts import InvalidAddress, addresses

from ..errors import SluicewayError
from . import media, options, outcome

if TYPE_CHECKING:
    from ..accounts import Notice
    from ..bus.link import Link
    from ..config import Core

EXAMPLES = """\b
Examples:
  sluiceway send --to tel:+447700900456 "Your kettle is on its way."
  sluiceway send --to tel:+447700900456 --account uk-sms --wait 0 "Good morning."
"""

Wanted: TypeAlias = tuple[str | None, str | None, str | None]
"""Tenant, channel and name of an account, as far as they are given."""


class NoAccount(SluicewayError):
    """No account, or no single one, is there to send from."""


class Known(NamedTuple):
    """An account in the register of accounts."""

    tenant: str
    channel: str
    name: str
    notice: Notice

    def __str__(self) -> str:
        return f"{self.name} ({self.channel} of {self.tenant}, {self.notice.address})"


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return addresses.normalise(value)
    except InvalidAddress as error:
        raise click.BadParameter(str(error)) from error


@click.command(epilog=EXAMPLES)
@click.argument("text", callback=options.words)
@click.option("--to", required=True, metavar="ADDRESS", callback=_address, help="Such as tel:+447700900456.")
@click.option(
    "--account", metavar="NAME", callback=options.token, help="From this account; else the only one that fits."
)
@click.option("--tenant", metavar="TENANT", callback=options.token, help="From this tenant's accounts.")
@click.option("--channel", metavar="CHANNEL", callback=options.token, help="From this channel's accounts, such as sms.")
@media.attachment
@outcome.wait
@options.as_json
@options.config
def command(
    *,
    text: str,
    to: str,
    account: str | None,
    tenant: str | None,
    channel: str | None,
    attachment: Path | None,
    wait_s: float,
    as_json: bool,
    file: str | None,
) -> None:
    """Send TEXT to an address. Exit code 1 where it was not sent, or nobody said so in time."""
    from ..config import load

    core = load(file, optional=True).core
    options.run(_send(core, text, to, (tenant, channel, account), attachment, wait_s=wait_s, as_json=as_json))


async def _send(
    core: Core, text: str, to: str, wanted: Wanted, attachment: Path | None, *, wait_s: float, as_json: bool
) -> None:
    from . import bus

    async with bus.connected(core) as link:
        fitting = [known for known in await _register(core, link) if _fits(known, wanted, to)]
        sender = _only(fitting, wanted, to)
        part = await media.attach(link, core, sender.tenant, attachment) if attachment is not None else None
        command = outcome.message_send(
            text, tenant=sender.tenant, channel=sender.channel, account=sender.name, to=to, media=part
        )
        await outcome.carry(link, core, command, wait_s=wait_s, as_json=as_json)


async def _register(core: Core, link: Link) -> list[Known]:
    """The accounts that gateways have said they serve."""
    from ..accounts import Notice
    from ..bus.store import Bucket
    from ..bus.streams import Layout

    bucket = Bucket(link, Layout(core.nats).accounts, Notice)
    register = []
    for key in await bucket.keys():
        tenant, channel, name = key.split(".")
        if (entry := await bucket.get(key)) is not None:
            register.append(Known(tenant, channel, name, entry.value))
    return register


def _fits(known: Known, wanted: Wanted, to: str) -> bool:
    if any(name not in (None, have) for name, have in zip(wanted, known, strict=False)):
        return False
    return addresses.parse(to).scheme in _schemes(known.notice)


def _schemes(notice: Notice) -> Iterable[str]:
    """Schemes that the account's gateway sends to; where it is not installed here, that of its own address."""
    from .. import plugins

    if notice.schemes:
        return notice.schemes
    try:
        return plugins.gateway(notice.gateway).schemes
    except plugins.PluginError:
        return (notice.address.partition(":")[0],)


def _only(fitting: list[Known], wanted: Wanted, to: str) -> Known:
    match fitting:
        case [known]:
            return known
        case []:
            what = " ".join(name for name in reversed(wanted) if name)
            whom = f"no gateway serves an account {what}".rstrip() + f" that reaches {to.partition(':')[0]}: addresses"
            raise NoAccount(f"{whom}; start one with `sluiceway up` or `sluiceway run`")
        case several:
            listed = ", ".join(str(known) for known in several)
            raise NoAccount(f"several accounts reach it; name one with --account, or --tenant: {listed}")
