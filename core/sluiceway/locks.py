"""Locks by key, made when needed and gone when unused; in this process only."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable

_Waiters = deque[asyncio.Future[None]]


class Locks:
    """`async with locks.of(key)`: one at a time for a key, in the order of asking; other keys do not wait."""

    def __init__(self) -> None:
        self._held: dict[Hashable, _Waiters] = {}

    def __len__(self) -> int:
        return len(self._held)

    def of(self, key: Hashable) -> _Hold:
        return _Hold(self._held, key)


class _Hold:
    """A key, held by its first asker; whoever lets go wakes the next."""

    __slots__ = ("_held", "_key")

    def __init__(self, held: dict[Hashable, _Waiters], key: Hashable) -> None:
        self._held = held
        self._key = key

    async def __aenter__(self) -> None:
        waiters = self._held.get(self._key)
        if waiters is None:
            self._held[self._key] = deque()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was our turn already: it is the next one's now
                self._pass_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        waiters = self._held[self._key]
        while waiters:
            turn = waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._held[self._key]
