"""`sluiceway up`: everything in one process, with a nats-server of its own unless one is configured."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..gateway import Secret
from . import options

if TYPE_CHECKING:
    from ..config import Config, Core


@click.command(epilog="Example:  sluiceway up --config sluiceway.toml")
@options.config
def command(file: str | None) -> None:
    """Run all gateways in one process. Without [nats] url it starts a nats-server and keeps its data in [nats] data."""
    from ..config import load

    options.run(_up(load(file)))


async def _up(config: Config) -> None:
    from ..embedded import EmbeddedNats
    from .serving import serve

    core = _with_key(config.core)
    if core.nats.url is not None:
        await serve(config, core, ())
        return
    server = EmbeddedNats(core.nats)
    await server.start()
    try:
        nats = msgspec.structs.replace(core.nats, url=server.url)
        await serve(config, msgspec.structs.replace(core, nats=nats), ())
    finally:
        await server.stop()


def _with_key(core: Core) -> Core:
    """A deployment that fits one machine makes its identity key itself, once, and keeps it beside its data."""
    if core.identity.key is not None:
        return core
    path = Path(core.nats.data) / "identity.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
    key = Secret(path.read_text().strip())
    return msgspec.structs.replace(core, identity=msgspec.structs.replace(core.identity, key=key))
