"""`sluiceway run`: the gateways of some channels against the configured NATS."""

from __future__ import annotations

import click

from ..errors import ConfigError
from . import options


@click.command(epilog="Example:  sluiceway run sms --config /etc/sluiceway.toml")
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL…")
@options.config
def command(channels: tuple[str, ...], file: str | None) -> None:
    """Run the gateways of these channels, such as sms, against the NATS that [nats] url names."""
    from ..config import load
    from .serving import serve

    config = load(file)
    if config.core.nats.url is None:
        raise ConfigError(config.file, "nats.url", "is missing; set it, or use `sluiceway up` for a NATS of its own")
    options.run(serve(config, config.core, channels))
