"""`sluiceway backup`: every stream and bucket of a deployment into files. Reads alone, while everything runs."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SluicewayError
from . import options

if TYPE_CHECKING:
    from ..config import Core


@click.command(epilog="Example:  sluiceway backup /backups")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@options.config
def command(*, folder: Path, file: str | None) -> None:
    """Save all streams, buckets and places of readers into a new folder below FOLDER, named by the time.

    NATS's user must be an administrator's. Keep the identity key elsewhere: without it a backup is of no use.
    """
    from ..config import load

    options.run(_backup(load(file, optional=True).core, folder))


async def _backup(core: Core, folder: Path) -> None:
    from ..bus import snapshot
    from ..bus.streams import Layout
    from . import bus

    target = folder / datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    async with bus.connected(core) as link:
        found = await snapshot.names(link, Layout(bus.settings(core)))
        if not found:
            raise SluicewayError(f"there are no streams that begin with {core.nats.names}; is [nats] names right?")
        for name in found:
            try:
                saved = await snapshot.save(link, name, target)
            except OSError as error:
                raise SluicewayError(f"{target / name} can't be written: {error.strerror}") from error
            click.echo(f"{name}: {saved.messages:,} messages, {saved.size:,} bytes")
    click.echo(f"saved in {target}")
