"""`sluiceway up`: everything in one process, with a nats-server of its own unless one is configured."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import ConfigError, SluicewayError
from ..gateway import Secret
from . import options

if TYPE_CHECKING:
    from ..config import Config, Core


@click.command(epilog="Example:  sluiceway up --config sluiceway.toml")
@options.config
def command(file: str | None) -> None:
    """Run all gateways and the dispatcher in one process.

    Without [nats] url it starts a nats-server and keeps its data in [nats] data.
    """
    from ..config import load

    options.run(_up(load(file)))


async def _up(config: Config) -> None:
    from ..embedded import EmbeddedNats
    from .serving import serve

    try:
        core = _with_key(_at_home(config))
        if core.nats.url is not None:
            await serve(config, core, None, dispatches=True)
            return
        server = EmbeddedNats(core.nats)
        await server.start()
    except (OSError, OverflowError) as error:
        raise ConfigError(config.file, "nats.data, nats.port", f"NATS can't be started: {error}") from error
    try:
        nats = msgspec.structs.replace(core.nats, url=server.url)
        whole = msgspec.structs.replace(core, nats=nats)
        serving = asyncio.create_task(serve(config, whole, None, dispatches=True))
        ended = asyncio.create_task(server.ended())
        await asyncio.wait((serving, ended), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)  # finish what is in flight, as ever
        await serving
        if ended.done():
            raise SluicewayError(f"nats-server has ended; {core.nats.data}/nats-server.log says why")
    finally:
        await server.stop()


def _at_home(config: Config) -> Core:
    """`[nats] data` is relative to the file that names it, wherever the command is given; the spool is in there."""
    core, data = config.core, Path(config.file).parent / config.core.nats.data
    spool = msgspec.structs.replace(core.spool, path=core.spool.path or str(data / "spool"))
    return msgspec.structs.replace(core, nats=msgspec.structs.replace(core.nats, data=str(data)), spool=spool)


def _with_key(core: Core) -> Core:
    """A deployment that fits one machine makes its identity key itself, once, and keeps it beside its data."""
    if core.identity.key is not None:
        return core
    path = Path(core.nats.data) / "identity.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
        whole.rename(path)
    key = Secret(path.read_text().strip())
    return msgspec.structs.replace(core, identity=msgspec.structs.replace(core.identity, key=key))
