"""A stream as a file, and back: its messages, its settings, and how far each of its consumers is. Removes nothing.

The format is the server's own (https://docs.nats.io/reference/reference-protocols/nats_api_reference). What is stored
while it is read may be in it or not.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..errors import SluicewayError, Unavailable
from .inbox import RECONNECTED, Inbox
from .link import Link
from .streams import Layout

CHUNK_BYTES = 1 << 16
SILENCE_S = 30
DATA, META = "stream.tar.s2", "backup.json"


class SnapshotError(SluicewayError):
    """A stream that can't be saved or restored; the text says why."""


class Saved(msgspec.Struct, frozen=True):
    """A stream as it was: the server's words for its settings and its state, and the size of the file."""

    config: dict[str, Any]
    state: dict[str, Any]
    size: int = 0

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def messages(self) -> int:
        return int(self.state.get("messages", 0))


async def names(link: Link, layout: Layout) -> list[str]:
    """The streams that there are, in the order in which they are to be saved. Raises `Unavailable`.

    What was done is in the ledger, who a customer is in the table of contacts: these come last, so that nothing is in a
    stream that they do not know of.
    """
    there = await _there(link)
    first = [layout.commands, layout.scheduled, layout.fetches, layout.events, layout.dead]
    tables = [f"KV_{name}" for name in (layout.state, layout.accounts, layout.identity, layout.messages)]
    files = sorted(name for name in there if name.startswith(f"OBJ_{layout.media('')}"))
    return [name for name in (*first, *files, *tables) if name in there]


async def _there(link: Link) -> set[str]:
    """All streams of the NATS account; the server tells a thousand at a time."""
    there: set[str] = set()
    while True:
        found = await _call(link, "STREAM.NAMES", {"offset": len(there)})
        more = set(found.get("streams") or ())
        there |= more
        if not more or len(there) >= found["total"]:
            return there


async def save(link: Link, name: str, folder: Path) -> Saved:
    """Write a stream into a folder of its name. Raises `SnapshotError`, `Unavailable` or `OSError`."""
    target = folder / name
    await asyncio.to_thread(target.mkdir, parents=True)
    async with Inbox(link) as inbox:
        found = await _call(
            link, f"STREAM.SNAPSHOT.{name}", {"deliver_subject": inbox.subject, "chunk_size": CHUNK_BYTES}
        )
        with await asyncio.to_thread((target / DATA).open, "wb") as file:
            size = await _take(link, inbox, file)
    saved = Saved(config=found["config"], state=found["state"], size=size)
    await asyncio.to_thread((target / META).write_bytes, msgspec.json.format(msgspec.json.encode(saved)))
    return saved


async def restore(link: Link, folder: Path) -> Saved:
    """Make a stream of what `save` wrote; there must be none of its name. Raises as `save` does."""
    saved = msgspec.json.decode(await asyncio.to_thread((folder / META).read_bytes), type=Saved)
    found = await _call(link, f"STREAM.RESTORE.{saved.name}", {"config": saved.config, "state": saved.state})
    with await asyncio.to_thread((folder / DATA).open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            _checked(f"{saved.name} can't be restored", await _send(link, found["deliver_subject"], chunk))
        made = _checked(f"{saved.name} can't be restored", await _send(link, found["deliver_subject"], b""))
    return Saved(config=made["config"], state=made["state"], size=saved.size)


async def _take(link: Link, inbox: Inbox, file: BinaryIO) -> int:
    """Until the empty chunk that ends it; each is acknowledged, else no more come."""
    size = 0
    while True:
        message = await inbox.next(SILENCE_S)
        if message is None or message is RECONNECTED:
            raise Unavailable("the server stopped in the middle; begin again")
        if (status := (message.headers or {}).get("Status", "204")) != "204":
            raise SnapshotError(f"the server broke off: {status} {(message.headers or {}).get('Description', '')}")
        if not message.data:
            return size
        size += await asyncio.to_thread(file.write, message.data)
        if message.reply:
            await link.send(message.reply)


async def _send(link: Link, subject: str, chunk: bytes) -> bytes:
    return (await link.request(subject, chunk, timeout_s=SILENCE_S)).data


async def _call(link: Link, call: str, request: dict[str, Any]) -> dict[str, Any]:
    answer = await link.request(link.api(call), msgspec.json.encode(request), timeout_s=SILENCE_S)
    if not answer.data:
        raise Unavailable("this NATS has no JetStream")
    return _checked(call.rpartition(".")[2], answer.data)


def _checked(what: str, answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answer) if answer else {}
    if (error := found.get("error")) is not None:
        raise SnapshotError(f"{what}: {error.get('description')}")
    return found
