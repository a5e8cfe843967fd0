"""Files in object stores: any NATS client reads what is written here, nothing half written is found, none is left."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.bus import runs
from sluiceway.bus.link import Link
from sluiceway.bus.objects import CHUNK_BYTES, Missing, Objects, Stored, StoreFull
from sluiceway.bus.shred import Shredder
from sluiceway.bus.streams import Layout, ensure
from sluiceway.errors import Unavailable
from sluiceway.media import MediaStore
from sluiceway_contracts import FileRef

from .test_streams import call

FILE = os.urandom(3 * CHUNK_BYTES + 17)


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
async def bucket(link: Link) -> Objects:
    layout = Layout(link.settings)
    await ensure(link, layout, create=True, tenants=("acme",))
    return Objects(link, layout.media("acme"))


async def left(link: Link) -> int:
    """How many messages the bucket's stream holds."""
    answer = await call(link, f"STREAM.INFO.OBJ_{Layout(link.settings).media('acme')}")
    count: int = answer["state"]["messages"]
    return count


async def read(bucket: Objects, name: str, *span: int) -> bytes:
    stored = await bucket.find(name)
    assert stored is not None
    return b"".join([chunk async for chunk in bucket.read(stored, *span)])


async def test_what_is_written_is_read_again_whole_and_in_part(bucket: Objects) -> None:
    draft = await bucket.write(pieces(FILE))
    assert (draft.size, len(draft.places), draft.digest) == (len(FILE), 4, hashlib.sha256(FILE).digest())
    stored = await bucket.publish(draft, "a", "image/png")
    assert await bucket.find("a") == stored
    assert await read(bucket, "a") == FILE
    for start, stop in ((0, 1), (5, CHUNK_BYTES), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (len(FILE) - 3, len(FILE))):
        assert await read(bucket, "a", start, stop) == FILE[start:stop]


async def test_any_nats_client_reads_it_by_its_object_store(bucket: Objects, link: Link) -> None:
    await bucket.publish(await bucket.write(pieces(FILE)), "a", "image/png")
    client = await nats.connect(str(link.settings.url))
    try:
        store = await client.jetstream().object_store(Layout(link.settings).media("acme"))
        result = await store.get("a")
        assert result.data == FILE
        assert result.info.size == len(FILE)
        assert result.info.headers == {"content-type": ["image/png"]}
    finally:
        await client.close()


async def test_what_another_client_wrote_is_read_too(bucket: Objects, link: Link) -> None:
    client = await nats.connect(str(link.settings.url))
    try:
        store = await client.jetstream().object_store(Layout(link.settings).media("acme"))
        await store.put("b", FILE)
    finally:
        await client.close()
    assert await read(bucket, "b") == FILE


async def test_what_breaks_off_is_not_found_and_leaves_nothing(bucket: Objects, link: Link) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield FILE
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await bucket.write(broken())
    assert await left(link) == 0


async def test_what_is_cancelled_leaves_nothing(bucket: Objects, link: Link) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield FILE
        begun.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(bucket.write(endless()))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await left(link) == 0


async def test_a_full_bucket_says_so_and_keeps_what_it_has(bucket: Objects, link: Link) -> None:
    await bucket.publish(await bucket.write(pieces(b"small")), "small", "text/plain")
    layout = Layout(link.settings)
    wanted = layout.with_media(["acme"])[f"OBJ_{layout.media('acme')}"]
    await call(link, f"STREAM.UPDATE.{wanted['name']}", wanted | {"max_bytes": 2 * CHUNK_BYTES})
    with pytest.raises(StoreFull):
        await bucket.write(pieces(FILE))
    assert await read(bucket, "small") == b"small"
    assert await left(link) == 2


async def test_a_file_of_which_a_part_is_gone_is_not_taken_for_the_whole(bucket: Objects, link: Link) -> None:
    stored = await bucket.publish(await bucket.write(pieces(FILE)), "a", "image/png")
    await call(link, f"STREAM.MSG.DELETE.OBJ_{Layout(link.settings).media('acme')}", {"seq": 2})
    with pytest.raises(Missing):
        [chunk async for chunk in bucket.read(stored)]


async def test_a_bucket_that_is_not_there_is_unavailable(link: Link) -> None:
    nowhere = Objects(link, f"{link.settings.names}_NOWHERE")
    with pytest.raises(Unavailable):
        await nowhere.find("a")
    with pytest.raises(Unavailable):
        await nowhere.write(pieces(FILE))


async def test_a_file_that_is_shredded_is_gone_with_all_its_chunks(bucket: Objects, link: Link) -> None:
    await bucket.publish(await bucket.write(pieces(FILE)), "a", "image/png")
    assert await bucket.shred("a", Shredder(link))
    assert await left(link) == 0
    assert not await bucket.shred("a", Shredder(link))


async def test_the_same_file_is_kept_once_however_often_it_comes(link: Link, bucket: Objects) -> None:
    store = MediaStore(link, Layout(link.settings), len(FILE))
    first, second = [await store.keep("acme", pieces(FILE)) for _ in range(2)]
    assert first == second
    assert first.ref == f"media:acme/{hashlib.sha256(FILE).hexdigest()}"
    assert await left(link) == 5


async def test_a_file_that_comes_again_later_is_kept_anew(
    link: Link, bucket: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.media.RENEWED_AFTER", datetime.timedelta(0))
    store = MediaStore(link, Layout(link.settings), len(FILE))
    await store.keep("acme", pieces(FILE))
    before = await bucket.find(hashlib.sha256(FILE).hexdigest())
    await store.keep("acme", pieces(FILE))
    after = await bucket.find(hashlib.sha256(FILE).hexdigest())
    assert before is not None
    assert after is not None
    assert after.sequence > before.sequence
    assert await read(bucket, after.name) == FILE
    assert await left(link) == 5


async def test_a_record_whose_fate_nobody_knows_names_bytes_that_are_there(
    link: Link, bucket: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost, or its process stopped: whoever finds the record can read the file."""
    store, publish = MediaStore(link, Layout(link.settings), 1 << 20), Objects.publish
    for error in (Unavailable("no answer"), asyncio.CancelledError()):

        async def lost(self: Objects, *arguments: Any, error: BaseException = error) -> Stored:
            await publish(self, *arguments)
            raise error

        monkeypatch.setattr(Objects, "publish", lost)
        with pytest.raises(type(error)):
            await store.keep("acme", pieces(FILE + bytes(type(error) is Unavailable)))
        monkeypatch.setattr(Objects, "publish", publish)
        file = await store.keep("acme", pieces(FILE + bytes(type(error) is Unavailable)))
        assert await read(bucket, file.ref.rpartition("/")[2]) == FILE + bytes(type(error) is Unavailable)


async def test_shredding_that_was_killed_is_finished_and_meanwhile_nobody_finds_the_file(
    bucket: Objects, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bucket.publish(await bucket.write(pieces(FILE)), "a", "image/png")
    shredder, done = Shredder(link), [0]
    message = shredder.message

    async def killed(stream: str, sequence: int) -> bool:
        if done[0] == 2:
            raise asyncio.CancelledError
        done[0] += 1
        return await message(stream, sequence)

    monkeypatch.setattr(shredder, "message", killed)
    with pytest.raises(asyncio.CancelledError):
        await bucket.shred("a", shredder)
    assert await bucket.find("a") is None
    assert await bucket.shred("a", Shredder(link))
    assert await left(link) == 0


async def test_a_file_that_comes_while_its_twin_is_shredded_is_there_afterwards(bucket: Objects, link: Link) -> None:
    await bucket.publish(await bucket.write(pieces(FILE)), "a", "image/png")
    found = await bucket._look("a")
    assert found is not None
    await bucket._record(msgspec.structs.replace(found[0], deleted=True))
    await bucket.publish(await bucket.write(pieces(FILE)), "a", "image/png")
    assert await read(bucket, "a") == FILE


async def test_whoever_reads_while_the_file_is_written_anew_reads_all_of_it(
    link: Link, bucket: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.media.RENEWED_AFTER", datetime.timedelta(0))
    store = MediaStore(link, Layout(link.settings), len(FILE))
    ref = FileRef.parse((await store.keep("acme", pieces(FILE))).ref)
    stored = await store.find(ref)
    assert stored is not None
    got = b""
    async for chunk in store.read("acme", stored):
        if not got:
            await store.keep("acme", pieces(FILE))
        got += chunk
    assert got == FILE


async def test_the_end_of_a_file_is_read_without_its_beginning(
    bucket: Objects, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await bucket.publish(await bucket.write(pieces(FILE)), "a", "image/png")
    request, asked = link.request, list[str]()

    async def counted(subject: str, *arguments: Any, **fields: Any) -> Any:
        asked.append(subject)
        return await request(subject, *arguments, **fields)

    monkeypatch.setattr(link, "request", counted)
    assert b"".join([chunk async for chunk in bucket.read(stored, len(FILE) - 1)]) == FILE[-1:]
    assert len(asked) == 1


@given(st.lists(st.integers(0, 10_000), unique=True).map(sorted))
def test_numbers_that_rise_are_read_as_they_were_written(numbers: list[int]) -> None:
    assert runs.read(runs.written(numbers)) == tuple(numbers)


def test_what_is_no_list_of_numbers_is_none() -> None:
    assert [runs.read(text) for text in ("", "x", "1-", "1-x", "5,,6")] == [(), (), (1,), (), ()]
