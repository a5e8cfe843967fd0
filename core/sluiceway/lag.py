"""How late the event loop is: what holds it up, delays every answer. Measures, and holds nobody to account."""

from __future__ import annotations

import asyncio

from . import metrics

EVERY_S = 1.0


async def watch() -> None:
    """Look once a second, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        metrics.loop_lag.observe(max(0.0, loop.time() - due))
