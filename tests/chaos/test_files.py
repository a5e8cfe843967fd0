"""The provider of files, and what is read back of them: each fault of a provider, and each that is to be convicted."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import aiohttp
import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from sluiceway.testing.ports import free_port

from . import files, keeping
from .provider import Provider
from .world import Server

LOGIN = {"Authorization": files.LOGIN}
SIDS = [f"SM{n * files.ONE_IN:032x}" for n in range(40)]


def _of(manner: files.Manner) -> str:
    return next(sid for sid in SIDS if files.manner(sid) == manner and len(files.content(sid)) == files.LARGE_BYTES)


def test_one_message_in_eight_has_a_file_of_its_own_that_is_small_or_large_or_the_one_that_all_send() -> None:
    assert sum(files.has_file(f"SM{n:032x}") for n in range(80)) == 10
    assert all(files.digest(sid) == hashlib.sha256(files.content(sid)).hexdigest() for sid in SIDS)
    sizes = [len(files.content(sid)) for sid in SIDS]
    assert (sizes.count(len(files.FORWARDED)), sizes.count(files.LARGE_BYTES)) == (5, 5)
    assert len({files.digest(sid) for sid in SIDS}) == len(SIDS) - 4


@pytest.mark.parametrize("manner", files.MANNERS)
async def test_a_file_is_had_the_second_time_whatever_happened_the_first(manner: files.Manner) -> None:
    sid = _of(manner)
    async with Provider().serving() as provider, aiohttp.ClientSession(provider.url, headers=LOGIN) as http:
        first = await _had(http, sid)
        assert (first == files.content(sid)) is (manner in ("well", "pause"))
        assert await _had(http, sid) == files.content(sid)


async def test_a_file_is_had_by_whoever_logs_in_alone() -> None:
    async with Provider().serving() as provider, aiohttp.ClientSession(provider.url) as http:
        assert (await http.get(files.PATH.format(sid=_of("well")))).status == 401


async def _had(http: aiohttp.ClientSession, sid: str) -> bytes | None:
    try:
        async with http.get(files.PATH.format(sid=sid)) as answer:
            return await answer.read() if answer.status == 200 else None
    except aiohttp.ClientError:
        return None


@pytest.fixture
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """Of a server that has nothing yet."""
    server = Server(tmp_path_factory.mktemp("nats"), "nats", free_port())
    await server.start()
    connection = await nats.connect(server.url)
    yield connection
    await connection.close()
    server.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "READ_S", 0.5)
    monkeypatch.setattr(keeping, "PATIENCE_S", 0.5)


@pytest.mark.usefixtures("impatient")
async def test_a_file_that_is_not_there_or_not_whole_or_another_one_is_missing(client: Client) -> None:
    js = client.jetstream()
    store = await js.create_object_store(keeping.BUCKET)
    whole, gone, without_bytes, another = (files.digest(sid) for sid in SIDS[1:5])
    await store.put(whole, files.content(SIDS[1]))
    info = await store.put(without_bytes, files.content(SIDS[3]))
    await js.purge_stream(f"OBJ_{keeping.BUCKET}", subject=f"$O.{keeping.BUCKET}.C.{info.nuid}")
    await store.put(another, files.content(SIDS[5]))
    assert await keeping.missing(js, [whole]) == []
    assert sorted(await keeping.missing(js, [whole, gone, without_bytes, another])) == sorted(
        [gone, without_bytes, another]
    )


@pytest.mark.usefixtures("impatient")
async def test_work_that_nobody_takes_or_ends_and_a_consumer_that_is_gone_are_found(client: Client) -> None:
    js = client.jetstream()
    await js.add_stream(name=keeping.WORK, subjects=["work.*"])
    for line in ("done", "given", "waiting"):
        await js.add_consumer(
            keeping.WORK, ConsumerConfig(durable_name=f"in_acme_sms_{line}", filter_subject=f"work.{line}")
        )
        await js.publish(f"work.{line}", b"")
    for line in ("done", "given"):
        work = await js.pull_subscribe("", durable=f"in_acme_sms_{line}", stream=keeping.WORK)
        (message,) = await work.fetch(1)
        if line == "done":
            await message.ack_sync()
    assert await keeping.left(js, ["done", "given", "waiting", "nobody"]) == {
        "done": [],
        "given": ["0 never given out, 1 never done"],
        "waiting": ["1 never given out, 0 never done"],
        "nobody": ["its consumer is gone"],
    }
