"""One process at a time: who holds the lease works, who stops gives it up, who dies loses it, and nobody shares it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sluiceway import lease as module
from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout
from sluiceway.errors import Unavailable
from sluiceway.lease import Holder, Lease

from .conftest import linked, until

KEY = "acme.k.mail"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.1)
    monkeypatch.setattr(module, "LOST_S", 0.6)


class Room:
    """Where work is done; how many are in it, and were at most."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most = 0

    async def work(self, name: str) -> None:
        self.inside.append(name)
        self.most = max(self.most, len(self.inside))
        try:
            await asyncio.Event().wait()
        finally:
            self.inside.remove(name)


@pytest.fixture
async def bucket(link: Link, layout: Layout) -> Bucket[Holder]:
    return Bucket(link, layout.messages, Holder)


@pytest.fixture
async def other(link: Link, layout: Layout) -> AsyncIterator[Bucket[Holder]]:
    async with linked(link.settings) as second:
        yield Bucket(second, layout.messages, Holder)


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_works_and_the_next_begins_as_soon_as_it_stops(bucket: Bucket[Holder], other: Bucket[Holder]) -> None:
    room = Room()
    first = asyncio.create_task(Lease(bucket, KEY).hold(room.work("first")))
    await until(lambda: room.inside == ["first"], "the first works")
    second = asyncio.create_task(Lease(other, KEY).hold(room.work("second")))
    await asyncio.sleep(1.5)
    assert room.inside == ["first"]
    await end(first)
    await until(lambda: room.inside == ["second"], "the second works")
    await end(second)
    assert room.most == 1


async def test_who_says_no_more_loses_it(
    bucket: Bucket[Holder], other: Bucket[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that died, or can't reach NATS: it stops working before another begins."""
    room, cut_off = Room(), [False]
    update = bucket.update

    async def cut(key: str, value: Holder, revision: int) -> int:
        if cut_off[0]:
            raise Unavailable("away")
        return await update(key, value, revision)

    monkeypatch.setattr(bucket, "update", cut)
    first = asyncio.create_task(Lease(bucket, KEY).hold(room.work("first")))
    await until(lambda: room.inside == ["first"], "the first works")
    second = asyncio.create_task(Lease(other, KEY).hold(room.work("second")))
    cut_off[0] = True
    await until(lambda: room.inside == ["second"], "the second works")
    await end(first, second)
    assert room.most == 1


async def test_who_finds_somebody_else_in_its_place_stops(bucket: Bucket[Holder]) -> None:
    room = Room()
    first = asyncio.create_task(Lease(bucket, KEY).hold(room.work("first")))
    await until(lambda: room.inside == ["first"], "the first works")
    await bucket.put(KEY, Holder("somebody else"))
    await until(lambda: room.inside == [], "it has stopped")
    await end(first)


async def test_what_the_work_raises_comes_out_and_the_lease_is_given_up(bucket: Bucket[Holder]) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Lease(bucket, KEY).hold(broken())
    found = await bucket.get(KEY)
    assert found is not None
    assert found.value.holder == ""
