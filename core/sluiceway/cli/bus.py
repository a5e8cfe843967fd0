"""The connection that a command has for as long as it runs: to the NATS configured, else to that of `sluiceway up`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core, Nats

CONNECT_WITHIN_S = 3.0


def settings(core: Core) -> Nats:
    """`[nats]`, with the address of the server that `sluiceway up` starts where none is given."""
    nats = core.nats
    return msgspec.structs.replace(nats, url=nats.url or f"nats://127.0.0.1:{nats.port}")


@asynccontextmanager
async def connected(core: Core) -> AsyncIterator[Link]:
    """A connection; warnings go to standard error. Raises `Unavailable` where NATS can't be reached."""
    from .. import logs
    from ..bus.link import Link

    logs.configure(msgspec.structs.replace(core.log, level="warning"))
    link = Link(settings(core), "sluiceway-cli")
    await link.connect(within_s=CONNECT_WITHIN_S)
    try:
        yield link
    finally:
        await link.close()
