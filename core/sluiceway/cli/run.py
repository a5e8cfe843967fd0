"""`sluiceway run`: the gateways of some channels, the dispatcher, or both, against the configured NATS."""

from __future__ import annotations

import click

from ..errors import ConfigError
from . import options


@click.command(epilog="Example:  sluiceway run sms dispatcher --config /etc/sluiceway.toml")
@click.argument("parts", nargs=-1, required=True, metavar="CHANNEL…|dispatcher")
@options.config
def command(parts: tuple[str, ...], file: str | None) -> None:
    """Run the gateways of these channels, such as sms, against the NATS that [nats] url names.

    The dispatcher, once in a deployment and more to stand by, carries out what names no account.
    """
    from ..config import load
    from .serving import DISPATCHER, serve

    config = load(file)
    if config.core.nats.url is None:
        raise ConfigError(config.file, "nats.url", "is missing; set it, or use `sluiceway up` for a NATS of its own")
    channels = [part for part in parts if part != DISPATCHER]
    options.run(serve(config, config.core, channels, dispatches=DISPATCHER in parts))
