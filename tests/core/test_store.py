"""KV records on a real server: read, made, replaced, and fought for."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec
import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket, Conflict
from sluiceway.bus.streams import Layout
from sluiceway.errors import Unavailable

from .conftest import linked


class Note(msgspec.Struct, frozen=True):
    text: str


@pytest.fixture
def bucket(link: Link, layout: Layout) -> Bucket[Note]:
    return Bucket(link, layout.identity, Note)


async def test_a_key_that_is_not_there_is_none(bucket: Bucket[Note]) -> None:
    assert await bucket.get("acme.a.x") is None


async def test_what_is_created_is_there_with_its_revision(bucket: Bucket[Note]) -> None:
    revision = await bucket.create("acme.a.x", Note("one"))
    assert await bucket.get("acme.a.x") == (Note("one"), revision)


async def test_a_key_is_created_once(bucket: Bucket[Note]) -> None:
    await bucket.create("acme.a.x", Note("one"))
    with pytest.raises(Conflict, match=r"acme\.a\.x"):
        await bucket.create("acme.a.x", Note("two"))
    entry = await bucket.get("acme.a.x")
    assert entry is not None
    assert entry.value == Note("one")


async def test_a_key_is_replaced_by_who_knows_its_revision(bucket: Bucket[Note]) -> None:
    first = await bucket.create("acme.a.x", Note("one"))
    second = await bucket.update("acme.a.x", Note("two"), first)
    assert second > first
    with pytest.raises(Conflict):
        await bucket.update("acme.a.x", Note("three"), first)
    assert await bucket.get("acme.a.x") == (Note("two"), second)


async def test_a_write_to_another_key_is_no_conflict(bucket: Bucket[Note]) -> None:
    first = await bucket.create("acme.a.x", Note("one"))
    await bucket.create("acme.a.y", Note("other"))
    assert await bucket.update("acme.a.x", Note("two"), first)


async def test_put_asks_for_no_revision(bucket: Bucket[Note]) -> None:
    await bucket.put("acme.a.x", Note("one"))
    revision = await bucket.put("acme.a.x", Note("two"))
    assert await bucket.get("acme.a.x") == (Note("two"), revision)


async def test_a_key_that_was_deleted_is_none(bucket: Bucket[Note], link: Link, layout: Layout) -> None:
    await bucket.create("acme.a.x", Note("one"))
    await link.publish(f"$KV.{layout.identity}.acme.a.x", b"", {"KV-Operation": "DEL"})
    assert await bucket.get("acme.a.x") is None


async def test_of_eight_that_create_a_key_at_once_one_wins(link: Link, layout: Layout) -> None:
    async def create(bucket: Bucket[Note], key: str, number: int) -> int | None:
        try:
            await bucket.create(key, Note(str(number)))
        except Conflict:
            return None
        return number

    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(linked(link.settings)) for _ in range(8)]
        buckets = [Bucket(link, layout.identity, Note) for link in links]
        for round in range(10):
            key = f"acme.a.{round}"
            tries = await asyncio.gather(*(create(bucket, key, n) for n, bucket in enumerate(buckets)))
            (winner,) = [number for number in tries if number is not None]
            seen = [await bucket.get(key) for bucket in buckets]
            assert {entry.value.text for entry in seen if entry is not None} == {str(winner)}
            assert None not in seen


async def test_a_bucket_that_is_not_there_is_unavailable(link: Link) -> None:
    bucket = Bucket(link, "NOWHERE", Note)
    with pytest.raises(Unavailable, match="NOWHERE can't be read"):
        await bucket.get("x")
    with pytest.raises(Unavailable):
        await bucket.put("x", Note("one"))
    with pytest.raises(Unavailable):
        await bucket.create("x", Note("one"))


async def test_a_bucket_that_is_full_is_unavailable(link: Link) -> None:
    name = f"{link.settings.names}_FULL"
    config = {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], "max_msgs": 1, "discard": "new"}
    await link.request(link.api(f"STREAM.CREATE.KV_{name}"), msgspec.json.encode(config))
    bucket = Bucket(link, name, Note)
    await bucket.put("x", Note("one"))
    with pytest.raises(Unavailable, match="refuses: maximum messages exceeded"):
        await bucket.put("y", Note("two"))
    with pytest.raises(Unavailable, match="refuses: maximum messages exceeded"):
        await bucket.create("y", Note("two"))


@pytest.mark.parametrize("key", ["", "acme.a.", "acme.a.*", "acme.>", "acme..x", "acme.a.x y", ".acme", "acme.a.x\n"])
async def test_what_is_no_key_is_neither_read_nor_written(bucket: Bucket[Note], key: str) -> None:
    await bucket.create("acme.a.x", Note("one"))
    for call in (bucket.get(key), bucket.create(key, Note("two")), bucket.put(key, Note("three"))):
        with pytest.raises(ValueError, match="is no key"):
            await call
