"""Who works for the accounts of this process: begun with it, and exchanged while it runs when the accounts change.

Each account has a sender and a fetcher, each connection that listens a listener; one shows who types. What an account
that left has in hand is finished before whoever comes for it begins. Reads no configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import structlog

from . import metrics
from .accounts import Accounts, Change, Served
from .accountwork import AccountWork, Tools
from .bus.consumer import ConsumerError
from .desk import Listening
from .errors import Unavailable
from .gateway import Deliverer, Gateway
from .indicators import Indicators

log = structlog.get_logger(__name__)

INDICATORS = "indicators"
CREATE_PAUSE_S = 1.0

Begin = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Staff:
    """For every account and connection of this process. `begin` runs a coroutine until the process ends."""

    def __init__(self, accounts: Accounts, tools: Tools, listening: Listening, begin: Begin) -> None:
        self._accounts = accounts
        self._tools = tools
        self._listening = listening
        self._begin = begin
        self._work = {served.key: self._for(served) for served in accounts}
        self._left: dict[str, AccountWork] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def create(self) -> None:
        """Make the consumers of the accounts. Raises `ConsumerError` or `Unavailable`."""
        for work in self._work.values():
            await work.create()

    def start(self) -> None:
        """Begin the work, after `create`."""
        for key, work in self._work.items():
            self._tasks[key] = self._begin(_together(work))
        for connection in self._accounts.connections:
            self._listen(connection)
        self._show_typing()

    async def change(self, change: Change) -> None:
        """End the work for those who left, begin that for those who came; no connection waits for another."""
        await self._end(INDICATORS)
        for served in change.left:
            self._work[served.key].be_patient()
        ends = {served.key: asyncio.create_task(self._end(served.key)) for served in change.left}
        await asyncio.gather(*(self._exchange(name, change, ends) for name in change.connections))
        still = {served.name for served in self._accounts}
        for served in change.gone:
            if served.name not in still:
                metrics.forget(served.name)
            self._left[served.key] = self._work.pop(served.key)
        self._show_typing()

    def part(self, gone: Iterable[Served]) -> None:
        """See to what those left behind who are gone; once others know that they are."""
        for served in gone:
            if (work := self._left.pop(served.key, None)) is not None:
                self._tasks[served.key] = self._begin(work.farewell())

    async def _exchange(self, connection: str, change: Change, ends: Mapping[str, asyncio.Task[None]]) -> None:
        left = [ends[served.key] for served in change.left if served.connection == connection]
        await asyncio.gather(self._end(_listener(connection)), *left)
        await _close(change.gateways.get(connection))
        self._listening.renew([connection])
        self._listen(connection)
        for served in change.came:
            if served.connection == connection:
                if served.key in ends:
                    await ends[served.key]
                self._left.pop(served.key, None)
                await self._end(served.key)  # a farewell
                self._work[served.key] = self._for(served)
                self._tasks[served.key] = self._begin(self._joined(self._work[served.key]))

    def _for(self, served: Served) -> AccountWork:
        return AccountWork(served, self._tools)

    def _listen(self, connection: str) -> None:
        if (listener := self._listening.listener(connection)) is not None:
            self._tasks[_listener(connection)] = self._begin(listener)

    def _show_typing(self) -> None:
        s = self._tools.shared
        indicators = Indicators(self._accounts, s.link, s.prefix, s.placement, self._tools.client)
        self._tasks[INDICATORS] = self._begin(indicators.run())

    async def _joined(self, work: AccountWork) -> None:
        """The work of an account that came later: once JetStream has made its consumers."""
        while True:
            try:
                await work.create()
                break
            except (Unavailable, ConsumerError) as error:
                log.error("account.not_begun", why=str(error))
                await asyncio.sleep(CREATE_PAUSE_S)
        await _together(work)

    async def _end(self, *names: str) -> None:
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _close(gateway: Gateway[Any, Any] | None) -> None:
    """A gateway's fault at its end is nobody else's."""
    if isinstance(gateway, Deliverer):
        try:
            await gateway.close()
        except Exception:
            log.exception("gateway.not_closed", gateway=gateway.channel)


async def _together(work: AccountWork) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work.work():
            group.create_task(one)


def _listener(connection: str) -> str:
    return f"listener {connection}"
