"""Who works for the accounts of this process: begun with it, and exchanged while it runs when the accounts change.

Each account has a sender and a fetcher, each connection that listens a listener; one shows who types. What an account
that left has in hand is finished before whoever comes for it begins. Reads no configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from . import metrics
from .accounts import Accounts, Change, Served
from .accountwork import AccountWork, Tools
from .bus.consumer import ConsumerError
from .desk import Listening
from .errors import Unavailable
from .gateway import Deliverer
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
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def create(self) -> None:
        """Make the consumers of the accounts. Raises `ConsumerError` or `Unavailable`."""
        for work in self._work.values():
            await work.create()

    def start(self) -> None:
        """Begin the work, after `create`."""
        for key, work in self._work.items():
            self._tasks[key] = self._begin(_together(work))
        self._start(frozenset(self._accounts.connections))

    async def change(self, change: Change) -> None:
        """End the work for those who left, begin that for those who came."""
        accounts = {served.key for served in (*change.left, *change.came)}
        await self._end(*accounts, *map(_listener, change.connections), INDICATORS)
        for gateway in change.gateways:
            if isinstance(gateway, Deliverer):
                await gateway.close()
        for served in change.gone:
            metrics.forget(served.name)
            self._tasks[served.key] = self._begin(self._work.pop(served.key).farewell())
        self._listening.renew(change.connections)
        for served in change.came:
            self._work[served.key] = self._for(served)
            self._tasks[served.key] = self._begin(self._joined(self._work[served.key]))
        self._start(change.connections)

    def _for(self, served: Served) -> AccountWork:
        return AccountWork(served, self._accounts.notice(served), self._tools)

    def _start(self, connections: frozenset[str]) -> None:
        """Listeners, and who shows typing."""
        for name in connections:
            if (listener := self._listening.listener(name)) is not None:
                self._tasks[_listener(name)] = self._begin(listener)
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


async def _together(work: AccountWork) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work.work():
            group.create_task(one)


def _listener(connection: str) -> str:
    return f"listener {connection}"
