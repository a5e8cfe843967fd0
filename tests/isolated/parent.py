"""A parent that tests kill: its workers are busy when it dies.

Run as `python -m tests.isolated.parent FOLDER SECONDS`.
"""

from __future__ import annotations

import asyncio
import sys

from sluiceway.isolation import Workers

BUSY = ("slowly", "backtracking", "ignoring_signals", "tell")


async def main(folder: str, seconds: float) -> None:
    """One worker is busy in each way, and one is idle."""
    workers = Workers(len(BUSY), seconds)
    calls = (workers.call(f"tests.isolated.parsing:{name}", f"{folder}/{name}") for name in BUSY)
    await asyncio.gather(*calls, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
