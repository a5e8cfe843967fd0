"""What projecting an event costs: a stream of conversations, read from its beginning by the projection.

Run as `python -m tests.bench.projection`. A third of the events are customers' messages, a third ours, a third
receipts. CPU is that of this process, which has a core of its own; nats-server has the other. `backlog` is read in
full batches; `one by one` waits for each event to be stored and acknowledged before the next is published.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import uvloop

from sluiceway import projection as projected
from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.projection import Projection
from sluiceway_contracts import (
    ConversationOpened,
    Event,
    EventData,
    Message,
    MessageReceived,
    MessageSent,
    MessageStatus,
    Party,
    Piece,
    Text,
    uuid7,
)

from . import processes

AT_ONCE = 1000
LOOK_S = 0.01


class Round(NamedTuple):
    """Events a second; CPU µs and stored writes an event."""

    rate: float
    cpu_us: float
    writes: float


class Talk:
    """A conversation whose events follow each other."""

    def __init__(self, number: int) -> None:
        self.contact, self.id = uuid7(), uuid7()
        self._customer = Party(role="customer", address=f"tel:+447701{number:06}", contact_id=self.contact)

    def event(self, data: EventData) -> Event:
        return Event(tenant="acme", channel="sms", account="uk", contactid=self.contact, subject=self.id, data=data)

    def opened(self) -> Event:
        data = ConversationOpened(conversation_id=self.id, contact_id=self.contact, channel="sms", reason="inbound")
        return self.event(data)

    def turn(self) -> Iterator[Event]:
        """A customer's message, our answer, its receipt."""
        asked = Message(id=uuid7(), author=self._customer, parts=(Text(text="Where is my order?"),))
        yield self.event(MessageReceived(message=asked, resolved_by="open"))
        answer = Message(
            id=uuid7(), author=Party(role="agent"), to=(self._customer,), parts=(Text(text="On its way."),)
        )
        yield self.event(MessageSent(message=answer))
        piece = Piece(index=1, of=1, status="delivered")
        yield self.event(MessageStatus(message_id=answer.id, status="delivered", overall="delivered", pieces=(piece,)))


class Bench:
    """A NATS, its streams, and how far the projection has come."""

    def __init__(self, link: Link) -> None:
        self.layout = Layout(link.settings)
        self.link = link

    async def publish(self, events: list[Event]) -> None:
        for start in range(0, len(events), AT_ONCE):
            batch = events[start : start + AT_ONCE]
            await asyncio.gather(
                *(self.link.publish(one.nats_subject(), one.encode(), one.headers(), 30) for one in batch)
            )

    async def done(self) -> None:
        """Return when all is acknowledged."""
        while True:
            info = await self.call(f"CONSUMER.INFO.{self.layout.events}.{projected.DURABLE}")
            if not info["num_pending"] and not info["num_ack_pending"]:
                return
            await asyncio.sleep(LOOK_S)

    async def written(self) -> int:
        return int((await self.call(f"STREAM.INFO.KV_{self.layout.state}"))["state"]["last_seq"])

    async def call(self, what: str) -> dict[str, Any]:
        answer = await self.link.request(self.link.api(what), timeout_s=10)
        return msgspec.json.decode(answer.data, type=dict[str, Any])


async def backlog(bench: Bench, talks: list[Talk], n: int) -> Round:
    """Publish, then let the projection begin, and end when it is through."""
    turns = [list(talks[i % len(talks)].turn()) for i in range(n // 3)]
    await bench.publish([event for turn in zip(*turns, strict=True) for event in turn])
    projection = await Projection.create(bench.link, bench.layout, "sluiceway")
    stored, cpu_us, began = await bench.written(), processes.cpu_us(os.getpid()), asyncio.get_running_loop().time()
    task = asyncio.create_task(projection.run())
    await bench.done()
    seconds, cpu_us = asyncio.get_running_loop().time() - began, processes.cpu_us(os.getpid()) - cpu_us
    written = await bench.written() - stored
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    count = n // 3 * 3
    return Round(count / seconds, cpu_us / count, written / count)


async def one_by_one(bench: Bench, talks: list[Talk], n: int) -> float:
    """Writes an event, where each comes by itself."""
    projection = await Projection.create(bench.link, bench.layout, "sluiceway")
    task = asyncio.create_task(projection.run())
    await bench.done()
    stored, count = await bench.written(), 0
    for i in range(n // 3):
        for event in talks[i % len(talks)].turn():
            await bench.publish([event])
            await bench.done()
            count += 1
    written = await bench.written() - stored
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return written / count


async def run(folder: Path, rounds: int, n: int, talks: int) -> None:
    with processes.nats(folder) as port:
        os.sched_setaffinity(0, {processes.SERVER_CORE})
        link = Link(Nats(url=f"nats://127.0.0.1:{port}"), "bench")
        await link.connect()
        try:
            bench = Bench(link)
            await ensure(link, bench.layout, create=True)
            people = [Talk(number) for number in range(talks)]
            await bench.publish([talk.opened() for talk in people])
            await backlog(bench, people, talks * 3)
            done = [await backlog(bench, people, n) for _ in range(rounds)]
            alone = await one_by_one(bench, people, 150)
        finally:
            await link.close()
    for name, values in zip(
        ("backlog: events/s", "backlog: CPU µs an event", "backlog: stored writes an event"),
        zip(*done, strict=True),
        strict=True,
    ):
        click.echo(f"{name:32} {statistics.median(values):8.2f}  ({min(values):.2f}–{max(values):.2f})")
    click.echo(f"{'one by one: writes an event':32} {alone:8.2f}")
    click.echo(f"{'RSS MB':32} {processes.rss_mb(os.getpid()):8.0f}")


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--n", default=30_000, show_default=True, type=click.IntRange(300), help="Events a round.")
@click.option("--conversations", "talks", default=500, show_default=True, type=click.IntRange(1))
def main(rounds: int, n: int, talks: int) -> None:
    """Measure what projecting an event costs."""
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(Path(folder), rounds, n, talks))


if __name__ == "__main__":
    sys.exit(main())
