"""What a message on its way out costs: a backlog of commands, sent through a provider that answers after 20 ms.

Run as `python -m tests.bench.outbound`. CPU is the gateway's, which has a core of its own; nats-server, provider and
this share the other. Exits 1 where a message was lost, sent twice or out of its conversation's order.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
import uvloop

from sluiceway.bus.reader import Reader

from . import fake, processes
from .stage import Stage, command, stage

LINE = "well"
SENT = "sluiceway.v1.*.events.message.sent.>"
CPU_GOAL_US, WRITES_GOAL, RATE_GOAL = 450, 4, 1000


class Round(NamedTuple):
    """Of one backlog: messages a second; CPU µs and stored writes a message."""

    rate: float
    cpu_us: float
    writes: float


async def conversations(on: Stage, count: int) -> list[str]:
    """So many conversations, opened by a first message each."""
    await on.publish(command(LINE, f"first:{n}", to=f"+447701{n:06}") for n in range(count))
    await on.done(LINE)
    messages = Reader(on.link, "SLUICEWAY_EVENTS").messages(SENT, "all", follow=False)
    return [stored.subject.rpartition(".")[2] async for stored in messages]


async def measure(on: Stage, into: list[str], number: int, n: int, by_number: bool) -> Round:
    """Publish a backlog while the gateway stands still, then let it go."""
    with on.frozen():
        await on.publish(
            command(LINE, f"{number}:{i % len(into)}:{i}", to=f"+447701{i % len(into):06}")
            if by_number
            else command(LINE, f"{number}:{i % len(into)}:{i}", conversation=into[i % len(into)])
            for i in range(n)
        )
        stored, cpu_us, began = await on.stored(), processes.cpu_us(on.gateway.pid), time.perf_counter()
    await on.done(LINE)
    seconds, cpu_us = time.perf_counter() - began, processes.cpu_us(on.gateway.pid) - cpu_us
    return Round(n / seconds, cpu_us / n, (await on.stored() - stored) / n)


def faults(bodies: list[str], sent: int) -> list[str]:
    """What is wrong with the order in which the provider was asked; "<round>:<conversation>:<number>" are the words."""
    found = []
    if len(set(bodies)) != sent:
        found.append(f"{sent - len(set(bodies))} were never sent")
    if len(bodies) != len(set(bodies)):
        found.append(f"{len(bodies) - len(set(bodies))} were sent twice")
    latest: dict[str, tuple[int, int]] = {}
    late = 0
    for body in bodies:
        number, conversation, i = body.split(":")
        late += (int(number), int(i)) < latest.get(conversation, (0, 0))
        latest[conversation] = int(number), int(i)
    return [*found, f"{late} came after a later one of their conversation"] if late else found


async def run(folder: Path, rounds: int, n: int, talks: int, by_number: bool) -> bool:
    async with stage(folder, LINE) as on:
        os.sched_setaffinity(0, {processes.OTHER_CORE})
        into = await conversations(on, talks)
        await measure(on, into, 0, n // 5, by_number)
        click.echo(f"the gateway is process {on.gateway.pid}", err=True)
        done = [await measure(on, into, number, n, by_number) for number in range(1, rounds + 1)]
        bodies = [asked.body for asked in fake.asked(on.provider) if not asked.body.startswith("first")]
        rss = processes.rss_mb(on.gateway.pid)
    for name, goal, values in zip(
        ("messages/s", "CPU µs a message", "stored writes a message"),
        (f"≥ {RATE_GOAL}", f"≤ {CPU_GOAL_US}", f"≤ {WRITES_GOAL}"),
        zip(*done, strict=True),
        strict=True,
    ):
        middle = statistics.median(values)
        click.echo(f"{name:24} {middle:8.2f}  ({min(values):.2f}–{max(values):.2f}; goal {goal})")
    click.echo(f"{'RSS MB':24} {rss:8.0f}")
    wrong = faults(bodies, n // 5 + rounds * n)
    click.echo(f"each sent once and in order: {'no, ' + '; '.join(wrong) if wrong else 'yes'} ({len(bodies)} requests)")
    return not wrong


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--n", default=5000, show_default=True, type=click.IntRange(100), help="Commands a round.")
@click.option("--conversations", "talks", default=500, show_default=True, type=click.IntRange(1))
@click.option("--by-number", is_flag=True, help="Address numbers, not conversations.")
def main(rounds: int, n: int, talks: int, by_number: bool) -> None:
    """Measure what sending a message costs."""
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if uvloop.run(run(Path(folder), rounds, n, talks, by_number)) else 1)


if __name__ == "__main__":
    main()
