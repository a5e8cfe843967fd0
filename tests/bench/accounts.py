"""Whether a throttled account changes how another is served: the same backlog, alone and beside one that gets 429.

Run as `python -m tests.bench.accounts`. Exits 1 where the served account lost, doubled or disordered anything, or the
throttled one sent.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click
import uvloop

from . import fake, processes
from .outbound import LINE as SERVED
from .outbound import conversations, faults
from .stage import Stage, command, stage

THROTTLED = fake.THROTTLED


def furthest(bodies: list[str]) -> int:
    """How many places from its place in the queue a message was at most, when the provider was asked for it."""
    return max(abs(place - int(body.rpartition(":")[2])) for place, body in enumerate(bodies))


async def serve(on: Stage, into: list[str], number: int, n: int, crowd: int) -> tuple[float, int]:
    """Messages a second of the served account, and how far its queue was mixed up, with a crowd for the other."""
    with on.frozen():
        await on.publish(
            each
            for i in range(n)
            for each in (
                command(SERVED, f"{number}:{i % len(into)}:{i}", conversation=into[i % len(into)]),
                *([command(THROTTLED, f"{i}", to=f"+447702{i % len(into):06}")] if i < crowd else []),
            )
        )
        began = time.perf_counter()
    await on.done(SERVED)
    seconds = time.perf_counter() - began
    bodies = [asked.body for asked in fake.asked(on.provider) if asked.body.startswith(f"{number}:")]
    return n / seconds, furthest([body for body in bodies if body.count(":") == 2])


async def run(folder: Path, rounds: int, n: int, talks: int) -> bool:
    async with contextlib.AsyncExitStack() as stack:
        on = await stack.enter_async_context(stage(folder, SERVED, THROTTLED))
        os.sched_setaffinity(0, {processes.OTHER_CORE})
        into = await conversations(on, talks)
        alone = [await serve(on, into, number, n, 0) for number in range(rounds)]
        beside = [await serve(on, into, rounds + number, n, n) for number in range(rounds)]
        asked = fake.asked(on.provider)
        queued = sum(await on.undone(THROTTLED))
    bodies = [each.body for each in asked if each.line == SERVED and not each.body.startswith("first")]
    refused = len(asked) - len(bodies) - talks
    for title, figures in (("alone", alone), ("beside a throttled account", beside)):
        rates, places = zip(*figures, strict=True)
        click.echo(
            f"{title:28} {statistics.median(rates):6.0f} messages/s ({min(rates):.0f}–{max(rates):.0f}), "
            f"at most {max(places)} places from where it was queued"
        )
    wrong = faults(bodies, 2 * rounds * n)
    click.echo(f"the throttled account: {refused} requests, all 429; {queued} of {rounds * n} commands wait")
    click.echo(f"the other: each sent once and in order: {'no, ' + '; '.join(wrong) if wrong else 'yes'}")
    return not wrong and queued == rounds * n


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--n", default=2000, show_default=True, type=click.IntRange(100), help="Commands a round and account.")
@click.option("--conversations", "talks", default=200, show_default=True, type=click.IntRange(1))
def main(rounds: int, n: int, talks: int) -> None:
    """Measure what a throttled account does to another."""
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if uvloop.run(run(Path(folder), rounds, n, talks)) else 1)


if __name__ == "__main__":
    main()
