"""The numbers that a stream gives its messages: the last one given, and that none up to a bound is given again.

Takes none back. The server counts up only with a message, so that as many as are missing are stored and purged again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .link import Link
from .snapshot import SnapshotError, call

FILLER = "filler"
"""In the place of an event's type, and `_` in that of its tenant: nobody's."""
AT_ONCE = 500
TIMEOUT_S = 30


async def last(link: Link, stream: str) -> int:
    """The number of the last message that it stored, one that is gone too. Raises `SnapshotError` or `Unavailable`."""
    return int((await _info(link, stream))["state"]["last_seq"])


async def skip(link: Link, stream: str, bound: int) -> None:
    """Return when the next message gets a number above the bound. Nobody else may write to the stream meanwhile.

    Doing it again is safe. Raises `SnapshotError`, `Refused` or `Unavailable`.
    """
    info = await _info(link, stream)
    before, subject = int(info["state"]["last_seq"]), _nobodys(info["config"]["subjects"][0])
    for start in range(before, bound, AT_ONCE):
        fillers = (link.publish(subject, b"", timeout_s=TIMEOUT_S) for _ in range(min(AT_ONCE, bound - start)))
        await asyncio.gather(*fillers)
    await call(link, f"STREAM.PURGE.{stream}", {"filter": subject})
    if (after := await last(link, stream)) != max(before, bound):
        what = f"somebody wrote to {stream} while it was restored: it is at {after}, not at {max(before, bound)}"
        raise SnapshotError(f"{what}; stop gateways and dispatcher, delete it, and restore it again")


def _nobodys(subject: str) -> str:
    """One of the stream's subjects that no tenant has: `sluiceway.v1.*.events.>` has `sluiceway.v1._.events.filler`."""
    return subject.replace("*", "_").replace(">", FILLER)


async def _info(link: Link, stream: str) -> dict[str, Any]:
    return await call(link, f"STREAM.INFO.{stream}", {})
