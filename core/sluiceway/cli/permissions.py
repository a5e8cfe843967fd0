"""`sluiceway permissions`: the NATS user that each process needs, for nats-server's configuration. Makes no user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from sluiceway_contracts import subjects

from ..errors import ConfigError
from . import options

if TYPE_CHECKING:
    from ..config import Config
    from ..outline import Outlined
    from ..permissions import Permissions

Format = Literal["nats", "json"]
EXAMPLES = """\b
Examples:
  sluiceway permissions gateway sms --tenant acme
  sluiceway permissions dispatcher --format json
  sluiceway permissions streams
  sluiceway permissions operator --tenant acme
"""


def _names(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(subjects.name, value))
    except subjects.InvalidSubject as error:
        raise click.BadParameter(str(error)) from error


def _user(default: str | None) -> Callable[[Any], Any]:
    hint = f"The user's name; else {default or 'tenants and channels, such as acme-sms'}."
    return click.option("--user", metavar="NAME", default=default, callback=options.token, help=hint)


tenants = click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="TENANT",
    callback=_names,
    help="Of this tenant besides those of the configuration's accounts; may be given again.",
)
form = click.option(
    "--format",
    "form",
    type=click.Choice(["nats", "json"]),
    default="nats",
    show_default=True,
    help="nats-server's configuration, or JSON for tools.",
)


@click.group(epilog=EXAMPLES)
def command() -> None:
    """The least that each NATS user needs, from [nats] and the configuration's accounts; no secret is read."""


@command.command(epilog="Example:  sluiceway permissions gateway sms whatsapp --tenant acme")
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL…", callback=_names)
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="TENANT",
    callback=_names,
    help="Of these tenants alone, may be given again; else of all that have accounts of the channels.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="ACCOUNT",
    callback=_names,
    help="An account besides those of the configuration, one that is yet to come; may be given again.",
)
@click.option("--any-account", is_flag=True, help="Accounts need not be listed; other tenants' commands are open then.")
@_user(None)
@form
@options.config
def gateway(
    *,
    channels: tuple[str, ...],
    tenants: tuple[str, ...],
    accounts: tuple[str, ...],
    any_account: bool,
    user: str | None,
    form: Format,
    file: str | None,
) -> None:
    """What `sluiceway run CHANNEL…` needs. An account that is not listed is not served: print it anew for a new one."""
    from ..outline import Outlined
    from ..permissions import of_gateway

    config = _config(file)
    known = _outline(config, channels, tenants)
    wanted = sorted(tenants or {account.tenant for account in known})
    if not wanted:
        what = f"has no account of {', '.join(channels)}; name the tenants with --tenant"
        raise ConfigError(config.file, "accounts", what)
    named = [Outlined(*one) for one in product(wanted, channels, accounts)]
    if not (known or named or any_account):
        what = f"has none of {', '.join(channels)} of {', '.join(wanted)}; name them with --account"
        raise ConfigError(config.file, "accounts", what)
    name = user or "-".join([*wanted, *channels])
    allowed = of_gateway(config.core.nats, name, wanted, channels, [*known, *named], any_account=any_account)
    _print(name, allowed, form)


@command.command(epilog="Example:  sluiceway permissions dispatcher --tenant globex")
@tenants
@_user("dispatcher")
@form
@options.config
def dispatcher(*, tenants: tuple[str, ...], user: str, form: Format, file: str | None) -> None:
    """What `sluiceway run dispatcher` needs: it reads and writes for all tenants."""
    from ..permissions import of_dispatcher

    config = _config(file)
    _print(user, of_dispatcher(config.core.nats, user, _all_tenants(config, tenants)), form)


@command.command(epilog="Example:  sluiceway permissions streams --tenant globex")
@tenants
@_user("streams")
@form
@options.config
def streams(*, tenants: tuple[str, ...], user: str, form: Format, file: str | None) -> None:
    """What `sluiceway streams create` and `list` need, named with the same tenants."""
    from ..permissions import of_streams

    config = _config(file)
    _print(user, of_streams(config.core.nats, user, _all_tenants(config, tenants)), form)


@command.command(epilog="Example:  sluiceway permissions operator --tenant globex")
@tenants
@_user("operator")
@form
@options.config
def operator(*, tenants: tuple[str, ...], user: str, form: Format, file: str | None) -> None:
    """What all other commands need: backup, restore, dead, account, consumer, streams, tail, send, contact and so on.

    It may read and write everything of these tenants, and make streams: an administrator's.
    """
    from ..permissions import of_operator

    config = _config(file)
    _print(user, of_operator(config.core.nats, user, _all_tenants(config, tenants)), form)


@command.command(epilog="Example:  sluiceway permissions reader acme-desk --tenant acme")
@click.argument("name", callback=options.token)
@click.option("--tenant", required=True, metavar="TENANT", callback=options.token, help="Whose events it reads.")
@form
@options.config
def reader(*, name: str, tenant: str, form: Format, file: str | None) -> None:
    """What a helpdesk needs that reads by the consumer NAME, as `sluiceway consumer add` prints it."""
    from ..permissions import of_reader

    _print(name, of_reader(_config(file).core.nats, name, tenant), form)


def _config(file: str | None) -> Config:
    from ..config import load

    return load(file, optional=True, secrets=())


def _outline(config: Config, channels: Iterable[str], tenants: Iterable[str]) -> list[Outlined]:
    from ..outline import outline

    wanted = set(tenants)
    return [account for account in outline(config, channels) if not wanted or account.tenant in wanted]


def _all_tenants(config: Config, named: Iterable[str]) -> set[str]:
    from .. import outline

    return {*named, *outline.tenants(config)}


def _print(user: str, allowed: Permissions, form: Format) -> None:
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode({"user": user, **lists(allowed)})))
        return
    click.echo(snippet(user, allowed))


def lists(permissions: Permissions) -> dict[str, Any]:
    """For tools; `allow_responses` is there where it is true."""
    found: dict[str, Any] = msgspec.to_builtins(permissions)
    return {key: value for key, value in found.items() if value is not False}


def snippet(name: str, permissions: Permissions) -> str:
    """The user in nats-server's configuration; its password is a variable of the server's environment."""
    publish = "\n".join(f'      "{subject}"' for subject in permissions.publish)
    subscribe = "\n".join(f'      "{subject}"' for subject in permissions.subscribe)
    responses = "\n    allow_responses: true" if permissions.allow_responses else ""
    return f"""\
# for authorization {{ users: [ … ] }} of nats-server; the client's inbox prefix is {permissions.inbox_prefix}
{{
  user: "{name}"
  password: ${variable(name)}
  permissions: {{
    publish: {{ allow: [
{publish}
    ] }}
    subscribe: {{ allow: [
{subscribe}
    ] }}{responses}
  }}
}}"""


def variable(name: str) -> str:
    """The environment variable that has the user's password."""
    return f"{name.upper().replace('-', '_')}_PASSWORD"
