"""What a pool of workers costs whoever listens: the loop's lag while bombs go off, calls a second, memory.

Run as `python -m tests.bench.isolation`. The loop is uvloop, as it is in a gateway, and has nothing else to do.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import click
import uvloop

from sluiceway.isolation import Crashed, Workers

from . import processes

MODULE = "tests.isolated.parsing"
BOMBS = (
    ("spinning",),
    ("backtracking", ""),
    ("nesting",),
    ("encoded_words", 20_000),
    ("nested_parts", 3000),
    ("hoarding",),
    ("crumbs",),
    ("segfaulting",),
    ("huge", 100),
)
AT_ONCE = 4
MIB = 1024 * 1024
TICK_S = 0.005
LOOK_S = 0.01


async def ticks(late_ms: list[float]) -> None:
    """How much later than it asked for the loop's turn came, again and again."""
    while True:
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        late_ms.append(1000 * (time.perf_counter() - due))


async def weights(workers: Workers, most_mib: list[float]) -> None:
    """The largest worker, while it lasts."""
    while True:
        for pid in workers.pids:
            with suppress(FileNotFoundError, IndexError):
                most_mib[0] = max(most_mib[0], processes.rss_mb(pid) * 1e6 / MIB)
        await asyncio.sleep(LOOK_S)


async def watched(what: str, workers: Workers, work: Awaitable[object]) -> None:
    """Say what the loop's lag was during some work, and how large workers became."""
    late_ms, most_mib = list[float](), [0.0]
    watches = [asyncio.create_task(ticks(late_ms)), asyncio.create_task(weights(workers, most_mib))]
    await work
    for watch in watches:
        watch.cancel()
    centiles = statistics.quantiles(late_ms, n=100)
    click.echo(
        f"{what:34} loop lag: median {centiles[49]:5.2f} ms, 99 % {centiles[98]:5.2f} ms, most {max(late_ms):5.2f} ms; "
        f"largest worker {most_mib[0]:5.1f} MiB"
    )


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def explode(workers: Workers, rounds: int, outcomes: Counter[str]) -> None:
    async def one(function: str, *arguments: str | int) -> None:
        try:
            await workers.call(f"{MODULE}:{function}", *arguments)
            outcomes[f"{function} ok"] += 1
        except Crashed as crashed:
            outcomes[f"{function} {crashed}"] += 1

    await asyncio.gather(*(one(*bomb) for _ in range(rounds) for bomb in BOMBS))


async def many(workers: Workers, count: int, at_once: int) -> float:
    """Calls a second of a function that does nothing."""

    async def some() -> None:
        for _ in range(count // at_once):
            await workers.call(f"{MODULE}:pid")

    started = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return count / (time.perf_counter() - started)


async def first(rounds: int) -> float:
    """Milliseconds until a pool that was just made has answered."""
    took_ms: list[float] = []
    for _ in range(rounds):
        workers, started = Workers(1), time.perf_counter()
        await workers.call(f"{MODULE}:pid")
        took_ms.append(1000 * (time.perf_counter() - started))
        await workers.close()
    return statistics.median(took_ms)


async def measure(rounds: int) -> None:
    await first(1)  # which leaves bytecode behind
    click.echo(f"first call of a new pool: {await first(10):.0f} ms")
    workers = Workers(AT_ONCE, calls=1_000_000, waiting=1000)
    await many(workers, 400, AT_ONCE)
    click.echo(f"a worker at rest: {statistics.median(map(processes.rss_mb, workers.pids)):.1f} MB")
    for at_once in (1, AT_ONCE):
        click.echo(f"calls of nothing, {at_once} at once: {await many(workers, 20_000, at_once):.0f} a second")
    outcomes: Counter[str] = Counter()
    await watched("nothing happens", workers, asyncio.sleep(3))
    await watched(f"{AT_ONCE} workers serve", workers, many(workers, 10_000, AT_ONCE))
    await watched(f"{rounds} × {len(BOMBS)} bombs in {AT_ONCE} workers", workers, explode(workers, rounds, outcomes))
    for outcome, count in sorted(outcomes.items()):
        click.echo(f"    {count:3} × {outcome}")
    started, pids = time.perf_counter(), workers.pids
    await workers.close()
    took_ms = 1000 * (time.perf_counter() - started)
    left = sum(map(exists, pids))
    click.echo(f"closed in {took_ms:.0f} ms, {left} processes are left")
    click.echo(f"this process: {processes.rss_mb(os.getpid()):.1f} MB")


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
def main(rounds: int) -> None:
    """Measure what isolation costs."""
    sys.path.append(str(Path(__file__).parents[2]))
    uvloop.run(measure(rounds))


if __name__ == "__main__":
    main()
