"""Files of conversations: kept in their tenant's bucket under the hash of their bytes, typed by them, read in chunks.

Fetches nothing, and tells nobody: whoever hands a file over says what it is part of.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable

from sluiceway_contracts import FileRef, InvalidRef, StoredFile, now

from .bus.link import Link
from .bus.objects import Draft, Missing, Objects, Stored, StoreFull
from .bus.shred import Shredder
from .bus.streams import Layout
from .errors import MediaError, Rejected, Unavailable, Unreachable
from .filetypes import HEAD_BYTES, mime_of

GONE = "media_gone"
RENEWED_AFTER = datetime.timedelta(days=1)
"""A file that comes again after so long is written again, so that the bucket keeps it as long as its last message."""


class MediaStore:
    """The files of all tenants. Its methods raise `Unavailable` where NATS can't take or give one."""

    def __init__(self, link: Link, layout: Layout, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._link = link
        self._layout = layout

    async def keep(
        self,
        tenant: str,
        chunks: AsyncIterator[bytes],
        declared: str = "",
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> StoredFile:
        """Store a file, once however often it comes. Raises what `chunks` raises, or `MediaError`.

        Its code is media_too_large, media_empty or store_full. What `check` raises, asked when all bytes are there,
        leaves nothing.
        """
        bucket, counted = self._bucket(tenant), _Counted(chunks, self.max_bytes)
        try:
            draft = await bucket.write(counted.chunks())
            try:
                await _passed(draft, check)
                ref, mime = FileRef(tenant, draft.digest.hex()), mime_of(bytes(counted.head), declared)
            except BaseException:
                await bucket.discard(draft.nuid)
                raise
            return about(tenant, await self._name(bucket, draft, ref.digest, mime))
        except StoreFull as error:
            raise MediaError("store_full", str(error)) from error

    async def find(self, ref: FileRef) -> Stored | None:
        """What is known of a file; None where it is not there, or no longer."""
        return await self._bucket(ref.tenant).find(ref.digest)

    async def read(self, tenant: str, stored: Stored, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Its bytes from `start` to `stop`. Raises `MediaError` where a part of it is gone.

        Where the file is written anew meanwhile, it goes on with that: under the same name are the same bytes.
        """
        at = start
        while True:
            try:
                async for chunk in self._bucket(tenant).read(stored, at, stop):
                    yield chunk
                    at += len(chunk)
            except Missing as error:
                anew = await self._bucket(tenant).find(stored.name)
                if anew is None or anew.nuid == stored.nuid:
                    raise MediaError(GONE, str(error)) from error
                stored = anew
            else:
                return

    async def drop(self, ref: FileRef, since: datetime.datetime) -> None:
        """Remove a file that was stored after this time."""
        stored = await self.find(ref)
        if stored is not None and stored.stored_at >= since:
            await self._bucket(ref.tenant).remove(ref.digest)

    async def open(self, ref: str) -> AsyncIterator[bytes]:
        """All bytes of a file that is to be sent. Raises `Rejected` where it is gone, `Unreachable` without NATS."""
        try:
            found = FileRef.parse(ref)
            stored = await self.find(found)
        except (InvalidRef, Unavailable) as error:
            raise Unreachable(f"the file can't be read now: {error}") from error
        if stored is None:
            raise Rejected("the file is there no more", GONE)
        return self.read(found.tenant, stored)

    async def shred(self, ref: FileRef, shredder: Shredder) -> bool:
        """Overwrite a file; whether there was one. Raises `Denied` too."""
        return await self._bucket(ref.tenant).shred(ref.digest, shredder)

    async def _name(self, bucket: Objects, draft: Draft, name: str, mime: str) -> Stored:
        """Of two copies one stays. Where nobody knows whether a record was written, both do, until the bucket's age."""
        try:
            there = await bucket.find(name)
        except BaseException:
            await bucket.discard(draft.nuid)
            raise
        if there is not None and now() - there.stored_at < RENEWED_AFTER:
            await bucket.discard(draft.nuid)
            return there
        try:
            stored = await bucket.publish(draft, name, mime)
        except StoreFull:
            await bucket.discard(draft.nuid)
            raise
        if there is not None:
            await bucket.discard(there.nuid)
        return stored

    def _bucket(self, tenant: str) -> Objects:
        return Objects(self._link, self._layout.media(tenant))


async def _passed(draft: Draft, check: Callable[[], Awaitable[None]] | None) -> None:
    if not draft.size:
        raise MediaError("media_empty", "the file is empty")
    if check is not None:
        await check()


def about(tenant: str, stored: Stored) -> StoredFile:
    """What readers are told of a file."""
    return StoredFile(ref=str(FileRef(tenant, stored.name)), mime=stored.mime, size=stored.size)


class _Counted:
    """Chunks on their way: no more than so many bytes, the first of which are kept to look at."""

    def __init__(self, chunks: AsyncIterator[bytes], most: int) -> None:
        self.head = bytearray()
        self._chunks = chunks
        self._most = most

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._chunks:
            size += len(chunk)
            if size > self._most:
                raise MediaError("media_too_large", f"the file has more than {self._most} bytes")
            if len(self.head) < HEAD_BYTES:
                self.head += chunk[: HEAD_BYTES - len(self.head)]
            yield chunk
