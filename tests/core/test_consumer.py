"""The pinned consumer on a real server: order, one receiver at a time, take-overs, and nothing lost to a kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sluiceway.bus.consumer import Consumer, ConsumerError, Delivery
from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.errors import Unavailable
from sluiceway.testing.nats import NatsServer

from . import conftest
from .conftest import linked, nats_settings, until


class Replica:
    """A process that reads a consumer; it acknowledges what comes while `acks` holds."""

    def __init__(self, link: Link, durable: str = "out", acks: bool = True) -> None:
        layout = Layout(link.settings)
        self.acks = acks
        self.seen: list[int] = []
        self.epochs: list[int] = []
        self.consumer = Consumer(link, layout.commands, durable, f"{link.settings.prefix}.v1.acme.commands.{durable}.>")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.consumer.create()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async for delivery in self.consumer.deliveries():
            await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        assert delivery.epoch == self.consumer.epoch
        self.epochs.append(delivery.epoch)
        self.seen.append(int(delivery.data))
        if self.acks:
            await delivery.ack()


@asynccontextmanager
async def replica(settings: Nats, durable: str = "out", acks: bool = True) -> AsyncIterator[Replica]:
    """A replica with a connection of its own, running."""
    async with linked(settings) as link:
        replica = Replica(link, durable, acks)
        await replica.start()
        try:
            yield replica
        finally:
            await replica.stop()


async def fill(link: Link, numbers: range, durable: str = "out") -> None:
    for number in numbers:
        await link.publish(f"{link.settings.prefix}.v1.acme.commands.{durable}.x", str(number).encode())


async def unacknowledged(link: Link, consumer: Consumer) -> int:
    info = await consumer._call(f"CONSUMER.INFO.{Layout(link.settings).commands}.{consumer._durable}", b"")
    return int(info["num_ack_pending"]) + int(info["num_pending"])


@pytest.mark.usefixtures("layout")
async def test_messages_come_in_order_and_once(link: Link) -> None:
    await fill(link, range(600))
    async with replica(link.settings) as one:
        await until(lambda: len(one.seen) >= 600, "all were given")
        await fill(link, range(600, 650))
        await until(lambda: len(one.seen) >= 650, "later ones too")
        assert one.seen == list(range(650))

        async def none_left() -> bool:
            return await unacknowledged(link, one.consumer) == 0

        await until(none_left, "all are acknowledged")


@pytest.mark.usefixtures("layout")
async def test_only_one_of_two_replicas_gets_messages(link: Link) -> None:
    async with replica(link.settings) as one:
        await fill(link, range(10))
        await until(lambda: len(one.seen) == 10, "the first has the pin")
        async with replica(link.settings) as other:
            await fill(link, range(10, 300))
            await until(lambda: len(one.seen) == 300, "all were given to the first")
            assert one.seen == list(range(300))
            assert other.seen == []


@pytest.mark.usefixtures("layout")
async def test_two_consumers_are_read_at_once(link: Link) -> None:
    async with replica(link.settings, "one") as one, replica(link.settings, "two") as two:
        await fill(link, range(20), "one")
        await fill(link, range(30), "two")
        await until(lambda: (len(one.seen), len(two.seen)) == (20, 30), "each has its own")


@pytest.mark.usefixtures("layout")
async def test_a_pin_that_is_given_up_goes_to_the_other_with_what_was_not_acknowledged(link: Link) -> None:
    await fill(link, range(20))
    async with replica(link.settings, acks=False) as one:
        await until(lambda: len(one.seen) == 20, "the first has the pin")
        async with replica(link.settings) as other:
            await one.stop()
            await one.consumer.release()
            await until(lambda: len(other.seen) >= 20, "the second took over")
            assert other.seen == list(range(20))


@pytest.mark.usefixtures("layout")
async def test_a_pin_that_is_given_up_with_everything_done_goes_to_the_other_with_the_next_message(link: Link) -> None:
    async with replica(link.settings) as one:
        await fill(link, range(5))
        await until(lambda: len(one.seen) == 5, "the first has the pin")
        async with replica(link.settings) as other:

            async def none_left() -> bool:
                return await unacknowledged(link, one.consumer) == 0

            await until(none_left, "all are acknowledged")
            await one.stop()
            await one.consumer.release()
            await fill(link, range(5, 10))
            await until(lambda: other.seen == [5, 6, 7, 8, 9], "the second took over")


@pytest.mark.usefixtures("layout")
async def test_releasing_without_a_pin_does_nothing(link: Link) -> None:
    one = Replica(link)
    await one.consumer.create()
    await one.consumer.release()


async def taken_over(link: Link, durable: str, acknowledged: int) -> None:
    """One replica acknowledges so many, takes more, and is gone without a word; the other goes on in its place."""
    await fill(link, range(acknowledged), durable)
    async with replica(link.settings, durable) as other, replica(link.settings, durable) as one:
        await until(lambda: len(one.seen) + len(other.seen) == acknowledged, "somebody has the pin")
        first, second = (one, other) if one.seen else (other, one)
        first.acks = False
        await fill(link, range(acknowledged, acknowledged + 30), durable)
        await until(lambda: len(first.seen) == acknowledged + 30, "the first has more in hand")
        assert second.seen == []
        await first.stop()
        await until(lambda: len(second.seen) >= 30, "the second took over")
        assert second.seen == list(range(acknowledged, acknowledged + 30))


@pytest.mark.usefixtures("layout")
async def test_when_the_pinned_one_is_gone_the_other_gets_exactly_what_was_not_acknowledged(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lets a pin go 10 s after its last pull: all take-overs wait for that at once."""
    monkeypatch.setattr(conftest, "WAIT_S", 60)
    await asyncio.gather(*(taken_over(link, f"out{n}", n) for n in (1, 7, 300)))


async def test_a_killed_server_loses_nothing_and_order_holds_from_the_ack_floor(own_nats: NatsServer) -> None:
    settings = nats_settings(own_nats)
    async with linked(settings) as link:
        await ensure(link, Layout(settings), create=True)
        await fill(link, range(100))
        async with replica(settings) as one:
            await until(lambda: len(one.seen) == 100, "the first hundred came")
            one.acks = False
            await fill(link, range(100, 200))
            await until(lambda: len(one.seen) == 200, "the second hundred came")
            own_nats.kill()
            await until(lambda: not link.connected, "the loss is noticed")
            one.acks = True
            own_nats.restart()
            await until(lambda: link.connected, "NATS is back")
            await fill(link, range(200, 250))
            await until(lambda: one.seen[-1] == 249, "the rest came")
            again = one.seen[200:]
            assert again == list(range(again[0], 250))
            assert again[0] <= 100
            assert min(one.epochs[200:]) > max(one.epochs[:200])


async def test_an_acknowledgement_that_is_lost_raises_nothing(own_nats: NatsServer) -> None:
    async with linked(nats_settings(own_nats)) as link:
        own_nats.kill()
        await until(lambda: not link.connected, "the loss is noticed")
        await Delivery("x", b"", 1, False, "reply", link).ack()


async def test_a_consumer_of_no_stream_is_refused(link: Link) -> None:
    with pytest.raises(ConsumerError, match="stream not found"):
        await Replica(link).consumer.create()


@pytest.mark.usefixtures("layout")
async def test_a_consumer_that_is_there_is_found_as_it_is(link: Link) -> None:
    await fill(link, range(3))
    async with replica(link.settings) as one:
        await until(lambda: len(one.seen) == 3, "all were given")
        await Replica(link).consumer.create()
        await fill(link, range(3, 6))
        await until(lambda: len(one.seen) == 6, "later ones too")
    assert one.seen == list(range(6))


async def test_a_nats_without_jetstream_is_unavailable(link: Link) -> None:
    consumer = Consumer(link, "NOWHERE", "out", "x")
    link.settings = Nats(url=link.settings.url, domain="nowhere")
    with pytest.raises(Unavailable):
        await consumer.create()
