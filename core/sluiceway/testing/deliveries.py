"""Makes what a simulator delivers, each at its time, and what follows from the responses. Sends nothing itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ..simulator import Later
from ..wire import Request, Response


async def make(deliveries: tuple[Later, ...], exchange: Callable[[Request], Awaitable[Response]]) -> None:
    """Until nothing follows any more; what follows from a response comes first. Raises what `exchange` raises."""
    clock = asyncio.get_running_loop().time
    waiting = deque(_due(deliveries, clock()))
    while waiting:
        due, later = waiting.popleft()
        await asyncio.sleep(max(0.0, due - clock()))
        response = await exchange(later.request)
        if later.then is not None:
            waiting.extendleft(reversed(_due(later.then(response), clock())))


def _due(deliveries: tuple[Later, ...], began: float) -> list[tuple[float, Later]]:
    return [(began + later.after_s, later) for later in deliveries]
