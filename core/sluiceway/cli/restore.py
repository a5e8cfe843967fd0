"""`sluiceway restore`: the streams and buckets that a backup has. Makes what is missing, and overwrites nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SluicewayError
from . import options

if TYPE_CHECKING:
    from ..config import Core


@click.command(epilog="Example:  sluiceway restore /backups/2026-11-28T03-00-00Z")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@options.config
def command(*, folder: Path, file: str | None) -> None:
    """Make every stream and bucket that FOLDER has, as it was, before any gateway or dispatcher runs.

    NATS's user must be an operator's (`sluiceway permissions operator`). A backup that is not whole is refused. What is
    there already is left as it is, and told; exit code 1 then.
    """
    from ..config import load

    options.run(_restore(load(file, optional=True, secrets=("nats",)).core, folder))


async def _restore(core: Core, folder: Path) -> None:
    from ..bus import backup
    from . import bus

    done = failed = 0
    async with bus.connected(core) as link:
        try:
            async for made in backup.restore(link, folder):
                if isinstance(made, backup.Failed):
                    failed += 1
                    click.secho(f"{made.name}: {made.why}", fg="red", err=True)
                else:
                    done += 1
                    click.echo(f"{made.name}: {made.messages:,} messages")
        except OSError as error:
            raise SluicewayError(f"{error.filename or folder} can't be read: {error.strerror}") from error
    if failed:
        raise SluicewayError(f"{failed} of {done + failed} were not restored")
    click.echo("now restart nats-server: only then it knows again what it has, and stores nothing twice")
