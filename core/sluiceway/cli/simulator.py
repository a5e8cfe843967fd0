"""`sluiceway simulator`: a provider in miniature on a port, for a gateway whose base URL points there."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import ConfigError, SluicewayError
from . import local, options

if TYPE_CHECKING:
    from ..config import Config, Connection
    from ..simulator import AnySimulator


def _listen(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", value) is None:
        raise click.BadParameter("write host:port, such as 127.0.0.1:8999")
    return value


@click.command(epilog="Example:  sluiceway simulator twilio-uk --listen 127.0.0.1:8999")
@click.argument("connection", required=False)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8999", show_default=True, callback=_listen)
@options.config
def command(*, connection: str | None, listen: str, file: str | None) -> None:
    """Answer as the provider of CONNECTION would, and make its callbacks; without a name, of the only connection.

    Point the connection's base URL here, such as api_url for Twilio. Ctrl-C ends it.
    """
    from .. import plugins
    from ..config import load

    config = load(file)
    chosen = config.connection(_only(config, connection))
    hook_url = f"{config.core.http.base_url}/hooks/{chosen.hook}"
    simulator = plugins.simulator(chosen.gateway)(chosen.settings, hook_url)
    options.run(_serve(config, chosen, simulator, listen))


def _only(config: Config, name: str | None) -> str:
    names = config.connection_names
    listed = ", ".join(names) or "none"
    if not names:
        raise ConfigError(config.file, "connections", "there is none; add [connections.<name>]")
    if name is None and len(names) > 1:
        raise click.UsageError(f"which connection? Name one of: {listed}")
    if name is not None and name not in names:
        raise click.UsageError(f"there is no connection {name}; there are: {listed}")
    return name or names[0]


async def _serve(config: Config, connection: Connection, simulator: AnySimulator, listen: str) -> None:
    from .. import logs
    from ..testing.provider import Provider

    logs.configure(msgspec.structs.replace(config.core.log, level="info"))  # its log is what it shows
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    http = config.core.http
    provider = Provider(simulator, listen, reach=lambda request: local.request(request, http))
    try:
        await provider.start()
    except OSError as error:
        raise SluicewayError(f"can't listen on {listen}: {error}; choose another with --listen") from error
    try:
        click.echo(f"{connection.gateway} for {connection.name} on http://{provider.listen}")
        click.echo(f"callbacks go to {http.base_url}, which is {http.listen} here")
        await stop.wait()
    finally:
        await provider.stop()
    click.echo("stopped")
