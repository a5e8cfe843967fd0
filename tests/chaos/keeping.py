"""What of files is there in the end: the object store, read back by nats-py's own, and the work that is left.

Knows what must be there from the judge alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable

from nats.js.client import JetStreamContext
from nats.js.errors import BadObjectMetaError, DigestMismatchError, NotFoundError
from nats.js.object_store import ObjectStore

from .patience import PATIENCE_S, NeverCame, persist
from .world import TENANT

BUCKET = f"SLUICEWAY_MEDIA_{TENANT}"
WORK = "SLUICEWAY_FETCHES"
READ_S = 5.0
"""So long nats-py waits for a chunk that is gone, and would wait for ever."""
AT_ONCE = 4


async def missing(js: JetStreamContext, digests: Iterable[str]) -> list[str]:
    """Files that can't be read whole, each under the hash of its bytes. Raises `NeverCame`."""
    store = await persist("the bucket of files", lambda: js.object_store(BUCKET))
    waiting, found = sorted(set(digests)), list[str]()

    async def work() -> None:
        while waiting:
            digest = waiting.pop()
            if not await _is_whole(store, digest):
                found.append(digest)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return found


async def _is_whole(store: ObjectStore, digest: str) -> bool:
    async def read() -> bytes:
        try:
            async with asyncio.timeout(READ_S):
                return (await store.get(digest)).data or b""
        except (NotFoundError, BadObjectMetaError, DigestMismatchError):
            return b""

    try:
        return hashlib.sha256(await persist(f"the file {digest}", read, 4 * READ_S)).hexdigest() == digest
    except NeverCame:
        return False


async def left(js: JetStreamContext, lines: Iterable[str]) -> dict[str, list[str]]:
    """What of each line's work is not done, though it was waited for."""

    async def one(line: str) -> list[str]:
        seen: list[str] = []

        async def over() -> bool | None:
            seen[:] = await _left(js, line)
            return None if seen else True

        with contextlib.suppress(NeverCame):
            await persist(f"an end of the work of {line}", over, PATIENCE_S)
            return []
        return seen or ["nothing is known of it"]

    names = list(lines)
    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


async def _left(js: JetStreamContext, line: str) -> list[str]:
    try:
        at = await js.consumer_info(WORK, f"in_{TENANT}_sms_{line}")
    except NotFoundError:
        return ["its consumer is gone"]
    if at.num_pending or at.num_ack_pending:
        return [f"{at.num_pending} never given out, {at.num_ack_pending} never done"]
    return []
