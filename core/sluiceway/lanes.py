"""Lanes: work of one key is done in order, one at a time; different keys do not wait for each other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Lanes(Generic[T]):
    """Runs `work` on each item. An error of one item is logged and ends only that item."""

    def __init__(self, work: Callable[[T], Awaitable[None]]) -> None:
        self._work = work
        self._lanes: dict[Hashable, deque[T]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._lanes)

    def put(self, key: Hashable, item: T) -> None:
        """Queue an item in the lane of its key."""
        lane = self._lanes.get(key)
        if lane is not None:
            lane.append(item)
            return
        self._lanes[key] = deque([item])
        task = asyncio.create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def clear(self) -> None:
        """Drop what has not begun."""
        for lane in self._lanes.values():
            lane.clear()

    async def drain(self, timeout_s: float, busy: Collection[object] = (), patience_s: float = 0) -> None:
        """Drop what has not begun, and wait for what has; after `timeout_s` it is cancelled.

        Tasks that are in `busy` by then have `patience_s` more.
        """
        self.clear()
        late = await _waited(self._tasks, timeout_s)
        patient = {task for task in late if task in busy}
        for task in late - patient:
            task.cancel()
        for task in await _waited(patient, patience_s):
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, key: Hashable) -> None:
        lane = self._lanes[key]
        try:
            while lane:
                item = lane.popleft()
                try:
                    await self._work(item)
                except Exception:
                    log.exception("lane.error")
        finally:
            del self._lanes[key]


async def _waited(tasks: set[asyncio.Task[None]], timeout_s: float) -> set[asyncio.Task[None]]:
    """Those that have not ended in time."""
    return (await asyncio.wait(tasks, timeout=timeout_s))[1] if tasks else set()
