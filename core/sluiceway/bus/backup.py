"""All streams and buckets of a deployment as a folder, and back. Overwrites and removes nothing.

A folder without a manifest is no backup: that is written when all else is on disk, and the folder gets its name then.
Records in the tables know events by their numbers, so that the manifest has a bound that no known number exceeds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import SluicewayError
from . import numbers, snapshot
from .link import Link
from .snapshot import DATA, META, Saved, SnapshotError
from .streams import Layout

MANIFEST = "manifest.json"
FORMAT = 1
PARTIAL = ".partial"


class BackupError(SluicewayError):
    """A folder that is no whole backup, or nothing to make one of; the text says why."""


class File(msgspec.Struct, frozen=True):
    """What a file must be."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup consists of: streams in the order in which they were saved, files by their path in its folder.

    `last_sequence` is a bound of the numbers of the stream `events` that any table has.
    """

    format: int
    streams: list[str]
    events: str
    last_sequence: int
    files: dict[str, File]


class Failed(NamedTuple):
    """A stream that was not restored, and why."""

    name: str
    why: str


async def order(link: Link, layout: Layout) -> tuple[list[str], list[str]]:
    """The streams and tables that there are, and the files, in the order to save them. Raises as `save` does.

    What was done is in the ledger, who a customer is in the table of contacts: tables come after the streams, so that
    nothing is in a stream that they do not know of. Files last long, and nothing tells their numbers.
    """
    there = await _there(link)
    streams = [layout.commands, layout.scheduled, layout.fetches, layout.events, layout.dead]
    tables = [f"KV_{name}" for name in (layout.state, layout.accounts, layout.identity, layout.messages)]
    files = sorted(name for name in there if name.startswith(f"OBJ_{layout.media('')}"))
    return [name for name in (*streams, *tables) if name in there], files


async def save(link: Link, layout: Layout, folder: Path) -> AsyncGenerator[Saved, None]:
    """Write all into a new folder of this name, while everything runs; tell of each stream when it is on disk.

    Raises `BackupError`, `SnapshotError`, `Unavailable` or `OSError`; what was written is in `<folder>.partial` then.
    """
    tables, files = await order(link, layout)
    if not (tables or files):
        raise BackupError(f"there are no streams that begin with {link.settings.names}; is [nats] names right?")
    partial, bound = folder.with_name(folder.name + PARTIAL), 0
    await asyncio.to_thread(_make, partial)
    for name in tables:
        yield await snapshot.save(link, name, partial)
    if layout.events in tables:
        bound = await numbers.last(link, layout.events)
    for name in files:
        yield await snapshot.save(link, name, partial)
    streams = [*tables, *files]
    written = await asyncio.to_thread(lambda: dict(_written(partial, streams)))
    manifest = Manifest(format=FORMAT, streams=streams, events=layout.events, last_sequence=bound, files=written)
    await asyncio.to_thread(_finish, partial, folder, manifest)


async def restore(link: Link, folder: Path) -> AsyncGenerator[Saved | Failed, None]:
    """Make each stream that is not there, once all of the folder is known to be whole. Nobody else may write meanwhile.

    Events come first, and go on above all numbers that the tables know: else what comes next would be taken for known.
    Raises `BackupError`, `SnapshotError`, `Refused`, `Unavailable` or `OSError`.
    """
    manifest = await asyncio.to_thread(read, folder)
    for name in sorted(manifest.streams, key=lambda name: name != manifest.events):
        try:
            yield await snapshot.restore(link, folder / name)
        except SnapshotError as error:
            yield Failed(name, str(error))
        if name == manifest.events:
            await numbers.skip(link, name, manifest.last_sequence)


def read(folder: Path) -> Manifest:
    """The manifest, where each file is there as it was written. Raises `BackupError` or `OSError`."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        what = f"{folder} has no whole backup: {MANIFEST} is missing, which is written last"
        raise BackupError(f"{what}; name the folder that `sluiceway backup` told at its end") from None
    except msgspec.DecodeError as error:
        raise BackupError(f"{folder / MANIFEST} can't be read: {error}; take another backup") from None
    if manifest.format != FORMAT:
        what = f"{folder} has format {manifest.format}, and this version reads {FORMAT}"
        raise BackupError(f"{what}; restore it with the version that saved it")
    if broken := [f"{name} {what}" for name, what in _broken(folder, manifest)]:
        raise BackupError(f"{folder} is not whole: {'; '.join(broken)}; take another backup")
    return manifest


def _broken(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    for stream in manifest.streams:
        for name in (f"{stream}/{DATA}", f"{stream}/{META}"):
            path, wanted = folder / name, manifest.files.get(name)
            if wanted is None:
                yield name, "is not in the manifest"
            elif not path.is_file():
                yield name, "is missing"
            elif (size := path.stat().st_size) != wanted.size:
                yield name, f"has {size:,} bytes, not {wanted.size:,}"
            elif _sha256(path) != wanted.sha256:
                yield name, "has another content"


def _written(folder: Path, streams: list[str]) -> Iterator[tuple[str, File]]:
    for stream in streams:
        meta = (folder / stream / META).read_bytes()
        saved = msgspec.json.decode(meta, type=Saved)
        yield f"{stream}/{DATA}", File(saved.size, saved.sha256)
        yield f"{stream}/{META}", File(len(meta), hashlib.sha256(meta).hexdigest())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(partial: Path) -> None:
    partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial.mkdir(mode=0o700)


def _finish(partial: Path, folder: Path, manifest: Manifest) -> None:
    snapshot.sync(partial)
    snapshot.write(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    partial.rename(folder)
    snapshot.sync(folder.parent)


async def _there(link: Link) -> set[str]:
    """All streams of the NATS account; the server tells a thousand at a time."""
    there: set[str] = set()
    while True:
        found = await snapshot.call(link, "STREAM.NAMES", {"offset": len(there)})
        more = set(found.get("streams") or ())
        there |= more
        if not more or len(there) >= found["total"]:
            return there
