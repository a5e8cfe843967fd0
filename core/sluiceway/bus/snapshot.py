"""A stream as a file, and back: its messages, its settings, and how far each of its consumers is. Removes nothing.

The format is the server's own (https://docs.nats.io/reference/reference-protocols/nats_api_reference). What is stored
while it is read may be in it or not. Files and folders are their owner's alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..errors import SluicewayError, Unavailable
from .inbox import RECONNECTED, Inbox
from .link import Link

CHUNK_BYTES = 1 << 16
SILENCE_S = 30
DATA, META = "stream.tar.s2", "backup.json"


class SnapshotError(SluicewayError):
    """A stream that can't be saved or restored; the text says why."""


class Saved(msgspec.Struct, frozen=True):
    """A stream as it was: the server's words for its settings and its state, and the size and SHA-256 of the file."""

    config: dict[str, Any]
    state: dict[str, Any]
    size: int = 0
    sha256: str = ""

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def messages(self) -> int:
        return int(self.state.get("messages", 0))


async def save(link: Link, name: str, folder: Path) -> Saved:
    """Write a stream, onto the disk, in a folder of its name. Raises `SnapshotError`, `Unavailable` or `OSError`."""
    target = folder / name
    await asyncio.to_thread(target.mkdir, mode=0o700)
    async with Inbox(link) as inbox:
        found = await call(
            link, f"STREAM.SNAPSHOT.{name}", {"deliver_subject": inbox.subject, "chunk_size": CHUNK_BYTES}
        )
        with await asyncio.to_thread(_new, target / DATA) as file:
            size, sha256 = await _take(link, inbox, file)
            await asyncio.to_thread(_flush, file)
    saved = Saved(config=found["config"], state=found["state"], size=size, sha256=sha256)
    await asyncio.to_thread(write, target / META, msgspec.json.format(msgspec.json.encode(saved)))
    return saved


async def restore(link: Link, folder: Path) -> Saved:
    """Make a stream of what `save` wrote; there must be none of its name. Raises as `save` does."""
    saved = msgspec.json.decode(await asyncio.to_thread((folder / META).read_bytes), type=Saved)
    found = await call(link, f"STREAM.RESTORE.{saved.name}", {"config": saved.config, "state": saved.state})
    with await asyncio.to_thread((folder / DATA).open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            _checked(f"{saved.name} can't be restored", await _send(link, found["deliver_subject"], chunk))
        made = _checked(f"{saved.name} can't be restored", await _send(link, found["deliver_subject"], b""))
    return Saved(config=made["config"], state=made["state"], size=saved.size)


def write(path: Path, data: bytes) -> None:
    """A new file, which is on disk then, and its name in its folder. Raises `OSError`."""
    with _new(path) as file:
        file.write(data)
        _flush(file)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Return when the names in a folder are on disk. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


async def _take(link: Link, inbox: Inbox, file: BinaryIO) -> tuple[int, str]:
    """Until the empty chunk that ends it: size and SHA-256. Each is acknowledged, else no more come."""
    size, digest = 0, hashlib.sha256()
    while True:
        message = await inbox.next(SILENCE_S)
        if message is None or message is RECONNECTED:
            raise Unavailable("the server stopped in the middle; begin again")
        if (status := (message.headers or {}).get("Status", "204")) != "204":
            raise SnapshotError(f"the server broke off: {status} {(message.headers or {}).get('Description', '')}")
        if not message.data:
            return size, digest.hexdigest()
        size += await asyncio.to_thread(file.write, message.data)
        digest.update(message.data)
        if message.reply:
            await link.send(message.reply)


async def _send(link: Link, subject: str, chunk: bytes) -> bytes:
    return (await link.request(subject, chunk, timeout_s=SILENCE_S)).data


async def call(link: Link, what: str, request: dict[str, Any]) -> dict[str, Any]:
    """JetStream's answer to an administrator's call. Raises `SnapshotError` or `Unavailable`."""
    subject = link.api(what)
    try:
        answer = await link.request(subject, msgspec.json.encode(request), timeout_s=SILENCE_S)
    except Unavailable:
        if link.denied(subject):
            remedy = "give it the permissions that `sluiceway permissions operator` prints"
            raise SnapshotError(f"the NATS user may not publish to {subject}; {remedy}") from None
        raise
    if not answer.data:
        raise Unavailable("this NATS has no JetStream")
    return _checked(what.rpartition(".")[2], answer.data)


def _checked(what: str, answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answer) if answer else {}
    if (error := found.get("error")) is not None:
        raise SnapshotError(f"{what}: {error.get('description')}")
    return found
