"""What a backlog weighs: commands that wait for a provider that answers 429, Retry-After 60, whatever it is asked.

Run as `python -m tests.bench.backlog --n 1000000`. The gateway takes what it takes into its hands; its peak counts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import uvloop

from sluiceway_contracts import Command

from . import fake, processes
from .stage import Stage, command, stage

LINE = "throttled"
GOAL_MB = 256
LOOK_S = 1.0
CALM_S = 5


def peak_mb(pid: int) -> float:
    """The most memory that a process ever had resident, in megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def commands(n: int, customers: int) -> Iterator[Command]:
    for i in range(n):
        yield command(LINE, f"{i} of a campaign", to=f"+4477{i % customers:08}")


async def settled(on: Stage) -> int:
    """Return when the gateway takes no more and stores no more: how many commands it has in hand."""
    held, stored, since = -1, -1, time.monotonic()
    while time.monotonic() < since + CALM_S:
        await asyncio.sleep(LOOK_S)
        now = (await on.undone(LINE))[1], await on.stored()
        if now != (held, stored):
            (held, stored), since = now, time.monotonic()
    return held


async def run(folder: Path, n: int, customers: int, watch_s: int) -> bool:
    async with stage(folder, LINE) as on:
        os.sched_setaffinity(0, {processes.OTHER_CORE})
        pid = on.gateway.pid
        click.echo(f"idle: {processes.rss_mb(pid):.0f} MB (process {pid})")
        began, cpu_us, stored = time.perf_counter(), processes.cpu_us(pid), await on.stored()
        await on.publish(commands(n, customers))  # of which the gateway takes what it can meanwhile
        click.echo(f"{n} commands to {customers} numbers stored in {time.perf_counter() - began:.0f} s")
        held = await settled(on)
        seconds, cpu_us = time.perf_counter() - began - CALM_S, processes.cpu_us(pid) - cpu_us
        writes = await on.stored() - stored
        click.echo(f"{held} in hand after {seconds:.0f} s: {cpu_us / 1e6:.1f} s of CPU, {writes} stored writes")
        click.echo(f"now {processes.rss_mb(pid):.0f} MB")
        if watch_s:
            cpu_us, stored = processes.cpu_us(pid), await on.stored()
            await asyncio.sleep(watch_s)
            cpu_us, writes = processes.cpu_us(pid) - cpu_us, await on.stored() - stored
            click.echo(f"{watch_s} s later: {cpu_us / 1e6:.1f} s of CPU, {writes} stored writes more")
        waiting, held = await on.undone(LINE)
        peak = peak_mb(pid)
        requests = len(fake.asked(on.provider))
    click.echo(f"peak {peak:.0f} MB (goal < {GOAL_MB}), {waiting + held} of {n} still to do, {requests} requests")
    return peak < GOAL_MB and waiting + held == n


@click.command()
@click.option("--n", default=200_000, show_default=True, type=click.IntRange(1), help="Commands that wait.")
@click.option("--customers", default=20_000, show_default=True, type=click.IntRange(1), help="Numbers they go to.")
@click.option("--watch", "watch_s", default=0, help="Seconds to look on once it is calm; over 60 sees it try again.")
def main(n: int, customers: int, watch_s: int) -> None:
    """Measure what a gateway weighs while a backlog waits."""
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if uvloop.run(run(Path(folder), n, customers, watch_s)) else 1)


if __name__ == "__main__":
    main()
