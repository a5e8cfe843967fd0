"""Work in a stream: each piece to one at a time, and again to somebody else where that one dies, stops or breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sluiceway.bus import work as module
from sluiceway.bus.consumer import ConsumerError
from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.bus.work import Queue, Work
from sluiceway.patience import surely
from sluiceway.testing.nats import NatsServer

from .conftest import linked, nats_settings, until
from .test_streams import call


class Worker:
    """Does what it is given, or whatever `how` makes of it, and remembers it."""

    def __init__(self, link: Link, how: Callable[[Work], Awaitable[None]] | None = None, at_once: int = 4) -> None:
        self.taken: list[tuple[bytes, int]] = []
        layout, start = Layout(link.settings), f"{link.settings.prefix}.v1.acme.fetches.sms"
        self.queue = Queue(link, layout.fetches, "in_acme_sms_a", f"{start}.a", at_once)
        self._how = how

    async def carry_out(self, work: Work) -> None:
        self.taken.append((work.data, work.tries))
        await (self._how(work) if self._how is not None else work.done())


async def put(link: Link, *pieces: bytes) -> None:
    for piece in pieces:
        await link.publish(f"{link.settings.prefix}.v1.acme.fetches.sms.a", piece)


async def begin(worker: Worker) -> asyncio.Task[None]:
    await surely(worker.queue.create)
    return asyncio.create_task(worker.queue.run(worker.carry_out))


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def never(_: Work) -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def there(link: Link) -> Link:
    await ensure(link, Layout(link.settings), create=True)
    return link


async def test_two_processes_share_it_and_each_piece_is_done_once(there: Link) -> None:
    async with linked(there.settings) as other:
        workers = [Worker(there), Worker(other)]
        running = [await begin(worker) for worker in workers]
        pieces = [str(number).encode() for number in range(200)]
        await put(there, *pieces)
        await until(lambda: sum(len(worker.taken) for worker in workers) >= 200, "all is done")
        assert sorted(data for worker in workers for data, _ in worker.taken) == sorted(pieces)
        await end(*running)


async def test_no_more_than_so_many_are_in_hand(there: Link) -> None:
    worker = Worker(there, never, at_once=2)
    running = await begin(worker)
    await put(there, *(bytes([number]) for number in range(5)))
    await until(lambda: len(worker.taken) == 2, "two are in hand")
    await asyncio.sleep(0.2)
    assert len(worker.taken) == 2
    await end(running)


async def test_what_a_stopped_process_has_in_hand_is_somebody_elses_at_once(there: Link) -> None:
    first = Worker(there, never)
    running = await begin(first)
    await put(there, b"a")
    await until(lambda: first.taken, "it is in hand")
    await end(running)
    second = Worker(there)
    running = await begin(second)
    await until(lambda: second.taken == [(b"a", 2)], "it is done")
    await end(running)


async def test_what_a_process_that_died_had_in_hand_is_somebody_elses(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says no word. The server is killed as well, and keeps what was not done."""
    monkeypatch.setattr(module, "ACK_WAIT_S", 1)
    settings = nats_settings(own_nats)
    async with linked(settings) as link, linked(settings) as other:
        await ensure(link, Layout(settings), create=True)
        dead, second = Worker(link, never), Worker(other)
        with monkeypatch.context() as patch:
            patch.setattr(module.Work, "_tell", lambda self, word: asyncio.sleep(0))
            running = await begin(dead)
            await put(link, b"a", b"b")
            await until(lambda: len(dead.taken) == 2, "both are in hand")
            await end(running)
        own_nats.restart()
        await until(lambda: other.connected, "NATS is back")
        running = await begin(second)
        await until(lambda: sorted({data for data, _ in second.taken}) == [b"a", b"b"], "both are done")
        await end(running)


async def test_what_takes_long_is_nobody_elses(there: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACK_WAIT_S", 1)
    async with linked(there.settings) as other:
        first = Worker(there, never)
        running = [await begin(first)]
        await put(there, b"a")
        await until(lambda: first.taken, "it is in hand")
        second = Worker(other)
        running.append(await begin(second))
        await asyncio.sleep(2.5)
        assert second.taken == []
        await end(*running)


async def test_what_is_to_come_later_comes_later_and_counts_its_tries(there: Link) -> None:
    async def thrice(work: Work) -> None:
        await (work.done() if work.tries == 3 else work.again(0.05))

    worker = Worker(there, thrice)
    running = await begin(worker)
    await put(there, b"a")
    await until(lambda: [tries for _, tries in worker.taken] == [1, 2, 3], "it came three times")
    await end(running)


async def test_what_breaks_over_one_piece_does_the_others(there: Link) -> None:
    async def broken(work: Work) -> None:
        if work.data == b"a":
            raise ZeroDivisionError
        await work.done()

    worker = Worker(there, broken)
    running = await begin(worker)
    await put(there, b"a", b"b")
    await until(lambda: b"b" in [data for data, _ in worker.taken], "the other is done")
    await end(running)


async def test_a_place_that_was_deleted_is_made_again(there: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSED_S", 0.05)
    monkeypatch.setattr(module, "PULL_EXPIRES_S", 1)
    worker = Worker(there)
    running = await begin(worker)
    await call(there, f"CONSUMER.DELETE.{Layout(there.settings).fetches}.in_acme_sms_a")
    await put(there, b"a")
    await until(lambda: worker.taken, "it is done")
    await end(running)


async def test_a_place_in_a_stream_that_is_not_there_can_not_be_made(link: Link) -> None:
    with pytest.raises(ConsumerError):
        await Worker(link).queue.create()
