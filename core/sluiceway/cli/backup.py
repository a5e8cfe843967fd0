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

    Until it is whole its name ends in .partial. NATS's user must be an operator's (`sluiceway permissions operator`).
    Keep the identity key elsewhere: without it a backup is of no use.
    """
    from ..config import load

    options.run(_backup(load(file, optional=True, secrets=("nats",)).core, folder))


async def _backup(core: Core, folder: Path) -> None:
    from ..bus import backup
    from ..bus.streams import Layout
    from . import bus

    target = folder / datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    async with bus.connected(core) as link:
        try:
            async for saved in backup.save(link, Layout(core.nats), target):
                click.echo(f"{saved.name}: {saved.messages:,} messages, {saved.size:,} bytes")
        except OSError as error:
            what = f"{target}{backup.PARTIAL} can't be written: {error.strerror}"
            raise SluicewayError(f"{what}; what is in it is no backup, remove it") from error
    click.echo(f"saved in {target}")
