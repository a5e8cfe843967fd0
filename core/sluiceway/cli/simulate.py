"""`sluiceway simulate`: a delivery, made and signed as the provider makes and signs it, to the running gateway.

Where one leads to another, as when somebody calls, all are made, to the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import SendError, SluicewayError, Throttled
from . import local, options

if TYPE_CHECKING:
    from ..accounts import Accounts, Served
    from ..config import Http
    from ..http.client import Client
    from ..simulator import Later, Posted
    from ..wire import Request, Response

REMEDIES = {
    403: "it refuses the signature: it was started with another secret or another http.public_url",
    404: "it has no such hook: it was started with another configuration",
    405: "it has no such hook: it was started with another configuration",
    503: "it can't store anything now: is NATS there? its log says why",
}


class NotAccepted(SluicewayError):
    """The gateway did not take the delivery; the text says what to do."""


def _fields(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    if wrong := [one for one in value if "=" not in one]:
        raise click.BadParameter(f"{wrong[0]!r} is no field: write NAME=VALUE, such as phone=07700900456")
    return dict(one.split("=", 1) for one in value)


EXAMPLES = """\b
Examples:
  sluiceway simulate sms --from +447700900456 "Where is my order?"
  sluiceway simulate call --from +447700900456 --script 1
"""


@click.command(epilog=EXAMPLES)
@click.argument("channel", callback=options.token)
@click.argument("text", required=False)
@click.option("--from", "sender", required=True, metavar="CUSTOMER", help="The customer, such as +447700900456.")
@click.option("--account", metavar="NAME", help="The account written to; else the channel's only one.")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", callback=_fields, help="More, as forms have.")
@click.option("--script", metavar="KEYS", help="What a caller presses, prompt by prompt, such as 1 or 0,2 or hangup.")
@options.config
def command(
    *,
    channel: str,
    text: str | None,
    sender: str,
    account: str | None,
    fields: dict[str, str],
    script: str | None,
    file: str | None,
) -> None:
    """Deliver a customer's TEXT to the gateway of CHANNEL that runs with this configuration. `call` is a voice call."""
    from .. import accounts, plugins
    from ..config import load

    config = load(file)
    channel = "voice" if channel == "call" else channel
    fields = fields if script is None else {**fields, "script": script}
    served = accounts.of(config, (channel,))
    chosen = _only(served, channel, account)
    connection = served.connections[chosen.connection]
    http = config.core.http
    simulator = plugins.simulator(connection.gateway)(connection.settings, f"{http.base_url}/hooks/{connection.hook}")
    if fields and not simulator.takes_fields:
        raise click.UsageError(f"a delivery of {connection.gateway} has no further fields; leave --field out")
    if text is None and simulator.needs_text:
        raise click.UsageError("what does the customer write? Give it as TEXT")
    simulator.fields = fields
    posted = simulator.post(chosen.account, sender, text or "")
    if posted is not None:
        status = _hand_over(posted)
    else:
        status = options.run(_make(simulator.deliveries(chosen.account, sender, text or ""), http))
    click.echo(f"{status} accepted by {chosen.name} of {chosen.tenant}; `sluiceway tail --since 1m` shows it")


def _only(served: Accounts, channel: str, name: str | None) -> Served:
    """Raises `click.UsageError` unless exactly one account is meant."""
    found = {account.name: account for account in served}
    listed = ", ".join(found) or "none"
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None:
        raise click.UsageError(f"which account was written to? Name it with --account; {channel} has: {listed}")
    if name not in found:
        raise click.UsageError(f"there is no {channel} account {name}; there are: {listed}")
    return found[name]


async def _make(deliveries: tuple[Later, ...], http: Http) -> int:
    """The gateway's last status. Raises `NotAccepted` unless each is 2xx."""
    from ..http.client import Client
    from ..testing.deliveries import make

    client, status = Client(), 0

    async def exchange(request: Request) -> Response:
        nonlocal status
        response = await _post(client, request, http)
        status = response.status
        return response

    try:
        await make(deliveries, exchange)
    finally:
        await client.close()
    return status


async def _post(client: Client, request: Request, http: Http) -> Response:
    """Raises `NotAccepted` unless it is taken."""
    try:
        response = await client.exchange(local.request(request, http))
    except Throttled as error:
        raise NotAccepted(f"the gateway on {http.listen} answered 429: it takes no more so soon; wait") from error
    except SendError as error:
        raise NotAccepted(f"no gateway answers on {http.listen}: {error}; start one with `sluiceway up`") from error
    if not 200 <= response.status < 300:
        remedy = REMEDIES.get(response.status, "its log says why")
        raise NotAccepted(f"the gateway on {http.listen} answered {response.status}: {remedy}")
    return response


def _hand_over(posted: Posted) -> int:
    """The gateway's reply to a mail. Raises `NotAccepted` unless it was taken."""
    import smtplib

    host, _, port = posted.listen.rpartition(":")
    try:
        with smtplib.SMTP(local.EVERYWHERE.get(host, host), int(port), timeout=30) as client:
            client.sendmail(posted.sender, [posted.recipient], posted.raw)
    except smtplib.SMTPRecipientsRefused as error:
        raise NotAccepted(f"the gateway has no mailbox {posted.recipient}: it was started with another") from error
    except smtplib.SMTPResponseException as error:
        raise NotAccepted(f"the gateway on {posted.listen} answered {error.smtp_code}: its log says why") from error
    except OSError as error:
        raise NotAccepted(f"no gateway answers on {posted.listen}: {error}; start one with `sluiceway up`") from error
    return 250
