"""Files in NATS object stores, one bucket a tenant: written and read as a stream of chunks, never whole in memory.

As in ADR-20, so that any NATS client reads them: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
Knows nothing of what is in a file, and does not try again: who writes starts over.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hashlib
import os
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from nats.aio.msg import Msg

from sluiceway_contracts import now

from ..errors import SluicewayError, Unavailable
from . import runs
from .link import Ack, Link, Refused
from .shred import Shredder

CHUNK_BYTES = 128 << 10
IN_FLIGHT = 4
TIMEOUT_S = 5.0
SETTLE_S = 2.0
PLACES = "sluiceway-places"
"""In a record's metadata, the numbers of its chunks in the stream: who wants a part of a file need not read all."""

_FULL = (10077, 10047, 10023)
"""nats-server's err_code for a stream at its limit, no storage, insufficient resources (server/errors.json)."""


class StoreFull(SluicewayError):
    """The bucket takes nothing more: by its own limit, or because the server's disk is full."""


class Missing(SluicewayError):
    """A file that is not, or not whole, in its bucket."""


class Draft(msgspec.Struct, frozen=True):
    """A file that is written, and not published; `digest` is its SHA-256, `places` the numbers of its chunks."""

    nuid: str
    size: int
    places: tuple[int, ...]
    digest: bytes


class Stored(msgspec.Struct, frozen=True):
    """A file of a bucket. `sequence` is its record's number in the bucket's stream."""

    name: str
    size: int
    mime: str
    stored_at: datetime.datetime
    nuid: str
    chunks: int
    sequence: int
    places: tuple[int, ...] = ()


class _Record(msgspec.Struct, omit_defaults=True):
    """ADR-20's ObjectInfo, as far as we write or read it."""

    name: str
    bucket: str
    nuid: str
    size: int
    chunks: int
    mtime: datetime.datetime
    digest: str = ""
    headers: dict[str, list[str]] = {}
    metadata: dict[str, str] = {}
    options: dict[str, Any] = {}
    deleted: bool = False


_records = msgspec.json.Decoder(_Record)


class Objects:
    """One bucket."""

    def __init__(self, link: Link, bucket: str) -> None:
        self._link = link
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"
        self._start = f"$O.{bucket}"

    async def write(self, chunks: AsyncIterator[bytes]) -> Draft:
        """Write a file that nobody finds yet. Raises what `chunks` raises, `StoreFull` or `Unavailable`.

        What had been written by then is removed.
        """
        nuid = os.urandom(12).hex()
        try:
            return await self._write(chunks, nuid)
        except BaseException:
            await self.discard(nuid)
            raise

    async def publish(self, draft: Draft, name: str, mime: str) -> Stored:
        """Let it be found under this name, instead of any other file. Raises `StoreFull` or `Unavailable`."""
        record = _Record(
            name=name,
            bucket=self._bucket,
            nuid=draft.nuid,
            size=draft.size,
            chunks=len(draft.places),
            mtime=now(),
            digest="SHA-256=" + base64.urlsafe_b64encode(draft.digest).decode(),
            headers={"content-type": [mime]},
            metadata={PLACES: runs.written(draft.places)},
            options={"max_chunk_size": CHUNK_BYTES},
        )
        sequence = await self._record(record)
        return Stored(
            name, draft.size, mime, record.mtime, draft.nuid, len(draft.places), sequence, places=draft.places
        )

    async def discard(self, nuid: str) -> None:
        """Remove the bytes of a file that nobody finds. As far as it works: the bucket forgets by age what stays."""
        with contextlib.suppress(Unavailable):
            body = msgspec.json.encode({"filter": f"{self._start}.C.{nuid}"})
            await self._link.request(self._link.api(f"STREAM.PURGE.{self._stream}"), body, timeout_s=TIMEOUT_S)

    async def find(self, name: str) -> Stored | None:
        """What is known of a file; None where it is not there. Raises `Unavailable`."""
        found = await self._look(name)
        if found is None or found[0].deleted:
            return None
        record, sequence = found
        mime = next(iter(record.headers.get("content-type", ())), "application/octet-stream")
        places = runs.read(record.metadata.get(PLACES, ""))
        return Stored(name, record.size, mime, record.mtime, record.nuid, record.chunks, sequence, places=places)

    async def remove(self, name: str) -> None:
        """Let a file be found no more, and remove its bytes. Raises `Unavailable`."""
        found = await self._look(name)
        if found is not None:
            await self._record(msgspec.structs.replace(found[0], deleted=True))
            await self.discard(found[0].nuid)

    async def read(self, stored: Stored, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Bytes `start` to `stop`, its end by default. Raises `Missing` where a chunk is gone, or `Unavailable`."""
        stop = stored.size if stop is None else stop
        skipped = start // CHUNK_BYTES if stored.places else 0
        offset = skipped * CHUNK_BYTES
        async for _, data in self._chunks(stored.nuid, stored.chunks, stored.places, skipped):
            begin, end = max(start - offset, 0), stop - offset
            if begin < len(data) and end > 0:
                yield data[begin:end] if begin or end < len(data) else data
            offset += len(data)
            if offset >= stop:
                return
        if offset < stop:
            raise Missing(f"a part of the file {stored.name} is gone")

    async def shred(self, name: str, shredder: Shredder) -> bool:
        """Overwrite a file; whether there was one. Raises `Denied` or `Unavailable`.

        From its beginning nobody finds it; where it was begun before, it is finished.
        """
        found = await self._look(name)
        if found is None:
            return False
        record, sequence = found
        if not record.deleted:
            sequence = await self._record(msgspec.structs.replace(record, deleted=True))
        with contextlib.suppress(Missing):  # those before it are overwritten already
            async for place, _ in self._chunks(record.nuid, record.chunks):
                await shredder.message(self._stream, place)
        await shredder.message(self._stream, sequence)
        return True

    async def _write(self, chunks: AsyncIterator[bytes], nuid: str) -> Draft:
        subject, digest, size, places = f"{self._start}.C.{nuid}", hashlib.sha256(), 0, list[int]()
        waiting: deque[asyncio.Task[Ack]] = deque()
        try:
            async for chunk in _even(chunks):
                digest.update(chunk)
                size += len(chunk)
                if len(waiting) >= IN_FLIGHT:
                    places.append((await waiting.popleft()).seq)
                waiting.append(asyncio.create_task(self._publish(subject, chunk)))
                await asyncio.sleep(0)  # so that chunks are written in their order
            while waiting:
                places.append((await waiting.popleft()).seq)
        except BaseException:
            if waiting:  # what is on its way must be there before it can be removed
                await asyncio.wait(waiting, timeout=SETTLE_S)
            raise
        return Draft(nuid, size, tuple(places), digest.digest())

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Ack:
        try:
            return await self._link.publish(subject, payload, headers, TIMEOUT_S)
        except Refused as error:
            if error.err_code in _FULL:
                raise StoreFull(f"the bucket {self._bucket} takes no more: {error}") from error
            raise Unavailable(f"the bucket {self._bucket} refuses: {error}") from error

    async def _record(self, record: _Record) -> int:
        """Write what is known of a file; its number in the stream."""
        ack = await self._publish(self._meta(record.name), msgspec.json.encode(record), {"Nats-Rollup": "sub"})
        return ack.seq

    async def _look(self, name: str) -> tuple[_Record, int] | None:
        message = await self._get(f"DIRECT.GET.{self._stream}.{self._meta(name)}", b"")
        if message is None or not message.data:
            return None
        return _records.decode(message.data), int((message.headers or {})["Nats-Sequence"])

    async def _chunks(
        self, nuid: str, count: int, places: tuple[int, ...] = (), skipped: int = 0
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Each chunk with its number in the stream. Raises `Missing`."""
        subject, sequence = f"{self._start}.C.{nuid}", 1
        for number in range(skipped, count):
            if number < len(places):
                sequence = places[number]
            wanted = msgspec.json.encode({"seq": sequence, "next_by_subj": subject})
            message = await self._get(f"DIRECT.GET.{self._stream}", wanted)
            found = int((message.headers or {})["Nats-Sequence"]) if message is not None else 0
            if message is None or (number < len(places) and found != sequence):
                raise Missing("a part of the file is gone")
            yield found, message.data
            sequence = found + 1

    async def _get(self, call: str, body: bytes) -> Msg | None:
        message = await self._link.request(self._link.api(call), body, timeout_s=TIMEOUT_S)
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "404":
            return None
        if status is not None or "Nats-Sequence" not in headers:
            raise Unavailable(f"the bucket {self._bucket} can't be read: {headers.get('Description', 'it is missing')}")
        return message

    def _meta(self, name: str) -> str:
        return f"{self._start}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


async def _even(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in chunks of one size, but the last."""
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        while len(gathered) >= CHUNK_BYTES:
            yield bytes(gathered[:CHUNK_BYTES])
            del gathered[:CHUNK_BYTES]
    if gathered:
        yield bytes(gathered)
