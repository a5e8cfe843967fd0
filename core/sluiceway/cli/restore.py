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

    NATS's user must be an administrator's. What is there already is left as it is, and told; exit code 1 then.
    """
    from ..bus.snapshot import META
    from ..config import load

    there = sorted(path.parent for path in folder.glob(f"*/{META}"))
    if not there:
        raise SluicewayError(f"{folder} has no backup; name the folder that `sluiceway backup` told at its end")
    options.run(_restore(load(file, optional=True).core, there))


async def _restore(core: Core, there: list[Path]) -> None:
    from ..bus import snapshot
    from . import bus

    failed = []
    async with bus.connected(core) as link:
        for path in there:
            try:
                made = await snapshot.restore(link, path)
            except (snapshot.SnapshotError, OSError) as error:
                failed.append(path.name)
                click.secho(f"{path.name}: {error}", fg="red", err=True)
            else:
                click.echo(f"{made.name}: {made.messages:,} messages")
    if failed:
        raise SluicewayError(f"{len(failed)} of {len(there)} were not restored")
    click.echo("now restart nats-server: only then it knows again what it has, and stores nothing twice")
