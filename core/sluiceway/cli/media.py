"""`sluiceway media`: a tenant's files put, read, and given an address. Sends none: `send` and `reply` take --media."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from sluiceway_contracts import FileRef, InvalidRef, Media, MediaUrl, MediaUrlAnswer

from ..errors import SluicewayError
from . import options

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core
    from ..media import MediaStore

READ_BYTES = 1 << 17
KINDS = frozenset({"image", "video", "audio"})
PATH = click.Path(exists=True, dir_okay=False, path_type=Path)

attachment = click.option("--media", "attachment", type=PATH, metavar="PATH", help="A file that goes with it.")


class NoFile(SluicewayError):
    """There is no such file."""


def _ref(context: click.Context, parameter: click.Parameter, value: str) -> FileRef:
    try:
        return FileRef.parse(value)
    except InvalidRef as error:
        raise click.BadParameter(str(error)) from error


@click.group(epilog="Example:  sluiceway media put photo.jpg")
def command() -> None:
    """Files of conversations, by reference: media:<tenant>/<SHA-256>."""


@command.command()
@click.argument("path", type=PATH)
@click.option("--tenant", metavar="TENANT", callback=options.token, help="Whose; else the only tenant with accounts.")
@options.config
def put(*, path: Path, tenant: str | None, file: str | None) -> None:
    """Store the file at PATH, and print its reference, for a media part to name."""
    from ..config import load

    click.echo(options.run(_put(load(file, optional=True).core, path, tenant)))


@command.command()
@click.argument("ref", callback=_ref)
@click.argument("output", type=click.File("wb", lazy=True), default="-")
@options.config
def get(*, ref: FileRef, output: BinaryIO, file: str | None) -> None:
    """Write the file that REF names to OUTPUT, a path, or to standard output."""
    from ..config import load

    options.run(_get(load(file, optional=True).core, ref, output))


@command.command()
@click.argument("ref", callback=_ref)
@click.option("--for", "seconds", default="1h", show_default=True, callback=options.seconds, help="Until it expires.")
@options.config
def url(*, ref: FileRef, seconds: float, file: str | None) -> None:
    """Print an address under which the file that REF names can be read, by whoever has it."""
    from ..config import load

    click.echo(options.run(_url(load(file, optional=True).core, ref, int(seconds))))


async def attach(link: Link, core: Core, tenant: str, path: Path) -> Media:
    """The part of a message that has the file at this path, which is stored for it. Raises `SluicewayError`."""
    mime = mimetypes.guess_type(path.name)[0] or ""
    with path.open("rb") as opened:
        file = await _store(core, link).keep(tenant, _chunks(opened), mime)
    family = file.mime.partition("/")[0]
    kind = family if family in KINDS else "file"
    return Media(kind=kind, mime=file.mime, ref=file.ref, size=file.size, state="stored", name=path.name)


async def _put(core: Core, path: Path, tenant: str | None) -> str:
    from . import bus
    from .ask import only_tenant

    async with bus.connected(core) as link:
        return (await attach(link, core, await only_tenant(link, core, tenant), path)).ref or ""


async def _get(core: Core, ref: FileRef, output: BinaryIO) -> None:
    from . import bus

    async with bus.connected(core) as link:
        store = _store(core, link)
        stored = await store.find(ref)
        if stored is None:
            raise NoFile(f"there is no file {ref}, or no longer")
        async for chunk in store.read(ref.tenant, stored):
            output.write(chunk)


async def _url(core: Core, ref: FileRef, seconds: int) -> str:
    from . import bus
    from .asking import ask

    async with bus.connected(core) as link:
        answer = await ask(link, core, ref.tenant, MediaUrl(ref=str(ref), expires_in_s=seconds), MediaUrlAnswer)
        return answer.url or ""


def _store(core: Core, link: Link) -> MediaStore:
    from ..bus.streams import Layout
    from ..media import MediaStore

    return MediaStore(link, Layout(core.nats), core.media.max_bytes)


async def _chunks(opened: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := opened.read(READ_BYTES):
        yield chunk
