"""The dispatcher's process: its parts made and joined, and what each of them runs. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from msgspec import Struct

from .accounts import Notice
from .bus.consumer import Consumer
from .bus.link import Link
from .bus.store import Bucket
from .bus.streams import Layout
from .continuity import Continuity
from .dispatcher import NAME, Dispatcher, Handler
from .failures import Failures
from .identity import Identity
from .ledger import Ledger
from .stream import EventStream
from .unserved import Unserved


class Shared(Struct, frozen=True, kw_only=True):
    """What gateways and dispatcher of one process have in common."""

    link: Link
    prefix: str
    layout: Layout
    identity: Identity
    stream: EventStream
    continuity: Continuity
    ledger: Ledger
    register: Bucket[Notice]
    failures: Failures


class Dispatch:
    """All that is done for every tenant, once in a deployment."""

    def __init__(self, shared: Shared) -> None:
        link, commands, start = shared.link, shared.layout.commands, f"{shared.prefix}.v1.*"
        self._shared = shared
        self._addressed = Consumer(link, commands, NAME, f"{start}.commands.*.any.>")
        self._all = Consumer(link, commands, "unserved", f"{start}.commands.>")

    async def create(self) -> None:
        """Make the consumers. Raises `ConsumerError` or `Unavailable`."""
        for consumer in (self._addressed, self._all):
            await consumer.create()

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run until it is cancelled."""
        s = self._shared
        yield Dispatcher(self._addressed, s.prefix, self._handlers(), s.failures).run()
        yield Unserved(self._all, s.prefix, s.register, s.ledger, s.failures).run()

    def _handlers(self) -> Mapping[str, Handler]:
        """Who carries out which command: one line each."""
        return {}
