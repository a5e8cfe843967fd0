"""What `up` and `run` share: a service that ends on SIGTERM or Ctrl-C, and says what listens where."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection

import click

from .. import accounts, logs
from ..config import Config, Core
from ..errors import ConfigError
from ..reload import Reloader
from ..service import Service

DISPATCHER = "dispatcher"
"""What `run` calls it, beside the channels."""


async def serve(config: Config, core: Core, channels: Collection[str] | None, *, dispatches: bool) -> None:
    """Run the gateways of these channels, or of all (None), and the dispatcher, until told to stop.

    Raises `SluicewayError`.
    """
    logs.configure(core.log)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateways = channels is None or bool(channels)
    served = accounts.of(config, channels or ()) if gateways else accounts.none(config)
    service = Service(core, served, gateways=gateways, dispatches=dispatches)
    reloader = Reloader(config, channels or ())
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.hurry)
    if gateways and config.read:
        service.also(reloader.run(service.renew))
    try:
        running = asyncio.create_task(service.run(stop))
        await asyncio.wait([running], timeout=0.2)
        if not running.done():
            click.echo(_banner(service, core, dispatches=dispatches))
        await running
    except OSError as error:
        where = f"{core.http.listen} or {core.probes.listen}"
        raise ConfigError(config.file, "http.listen, probes.listen", f"can't listen on {where}: {error}") from error
    click.echo("stopped")


def _banner(service: Service, core: Core, *, dispatches: bool) -> str:
    lines = [f"{'NATS':9} {core.nats.url}", f"{'probes':9} http://{service.probes.listen}/readyz /healthz /metrics"]
    for served in service.accounts:
        inlet = service.accounts.connections[served.connection].inlet(core.http.base_url)
        lines.append(f"{served.channel:9} {served.name} of {served.tenant}: {inlet}")
    if dispatches:
        lines.append(f"{DISPATCHER} commands that name no account")
    return "\n".join(lines)
