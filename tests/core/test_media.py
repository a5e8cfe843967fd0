"""A customer's file on its way in: the message does not wait for it, and whatever becomes of it is told."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import fetcher as module
from sluiceway.bus.streams import Layout
from sluiceway.errors import (
    CredentialsRefused,
    MediaError,
    Rejected,
    SendError,
    Throttled,
    Unavailable,
    Unreachable,
)
from sluiceway.fetches import Fetch, Fetches
from sluiceway.media import MediaStore
from sluiceway.service import Service
from sluiceway.simulator import Answer
from sluiceway.testing.nats import NatsServer
from sluiceway.wire import Request, Response
from sluiceway_contracts import FileRef, Media, MessageMedia, MessageReceived, Text, now
from sluiceway_gateways._simulated_files import file

from .conftest import TWILIO, Rig, running, until

SMALL = TWILIO.replace("[probes]", "[media]\nmax_bytes = 3000000\n[probes]")


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(module, "RETRIES_S", (0.01,) * 6)
    monkeypatch.setattr(module, "TRIED_FOR", datetime.timedelta(0))
    monkeypatch.setattr(module, "EARLY_FOR", datetime.timedelta(0))
    async with running(tmp_path, shared_nats, SMALL) as rig:
        yield rig


async def mms(rig: Rig, word: str, text: str = "Look", sender: str = "+447700900456") -> None:
    """A customer's message with a file, as the word says."""
    rig.simulator.fields = {"media": word}
    assert (await rig.text(text, sender)).status == 200


async def told(rig: Rig, count: int = 1) -> list[MessageMedia]:
    events = await rig.until_event("message.media", count)
    return [event.data for event in events if isinstance(event.data, MessageMedia)]


def bytes_of(word: str) -> bytes:
    found = file(word)
    assert found is not None
    return found.body


async def read(rig: Rig, ref: str | None) -> bytes:
    found = FileRef.parse(ref or "")
    stored = await rig.service._files.find(found)
    assert stored is not None
    return b"".join([chunk async for chunk in rig.service._files.read(found.tenant, stored)])


async def waiting(rig: Rig) -> int:
    """How many files are still to be fetched, or being fetched."""
    name = f"CONSUMER.INFO.{Layout(rig.core.nats).fetches}.in_acme_sms_uk-sms"
    info = msgspec.json.decode((await rig.link.request(rig.link.api(name))).data)
    return int(info["num_pending"]) + int(info["num_ack_pending"])


class Slow:
    """The rig's provider, whose files come when they are let."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()
        answer = rig.provider.answer

        async def late(request: Request) -> Response:
            if request.method == "GET":
                self.asked.set()
                await self.let.wait()
            return await answer(request)

        monkeypatch.setattr(rig.provider, "answer", late)


async def test_a_file_is_pending_in_its_message_and_then_stored(rig: Rig) -> None:
    await mms(rig, "photo")
    (event,) = await rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    text, part = event.data.message.parts
    assert isinstance(text, Text)
    assert isinstance(part, Media)
    assert (part.state, part.ref, part.url) == ("pending", None, None)
    (event_of_media,) = await rig.until_event("message.media")
    media = event_of_media.data
    assert isinstance(media, MessageMedia)
    assert (media.message_id, media.part_id, media.state) == (event.data.message.id, part.id, "stored")
    assert media.ref == f"media:acme/{hashlib.sha256(bytes_of('photo')).hexdigest()}"
    assert (media.mime, media.size) == ("image/png", len(bytes_of("photo")))
    assert (event_of_media.subject, event_of_media.contactid) == (event.subject, event.contactid)
    assert await read(rig, media.ref) == bytes_of("photo")


async def test_the_provider_is_answered_before_the_file_is_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(rig, monkeypatch)
    await mms(rig, "photo")
    await slow.asked.wait()
    assert len(await rig.events("message.received")) == 1
    assert await rig.events("message.media") == []
    slow.let.set()
    assert [media.state for media in await told(rig)] == ["stored"]


async def test_what_the_provider_calls_a_file_is_on_no_event(rig: Rig) -> None:
    await mms(rig, "photo")
    await told(rig)
    assert not [data for _, data in await rig.stream() if b"/Media/" in data]


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("expired", "media_gone"),
        ("empty", "media_empty"),
        ("redirect", "media_forbidden"),
        ("large-4", "media_too_large"),
    ],
)
async def test_a_file_that_can_not_be_had_is_told_and_takes_no_text_along(rig: Rig, word: str, code: str) -> None:
    await mms(rig, word, "It came broken")
    (media,) = await told(rig)
    assert media.error is not None
    assert (media.state, media.ref, media.error.code) == ("failed", None, code)
    (event,) = await rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    assert "It came broken" in event.data.message.text
    await until(lambda: _none_waiting(rig), "nothing is fetched any more")


async def _none_waiting(rig: Rig) -> bool:
    return await waiting(rig) == 0


async def test_a_file_is_what_its_bytes_are(rig: Rig) -> None:
    await mms(rig, "liar")
    (media,) = await told(rig)
    assert (media.state, media.mime) == ("stored", "text/html")


async def test_a_provider_that_wants_a_pause_is_asked_again(rig: Rig) -> None:
    await mms(rig, "throttled")
    assert [media.state for media in await told(rig)] == ["stored"]


def refusing(rig: Rig, monkeypatch: pytest.MonkeyPatch, status: int, times: int) -> None:
    """Have the provider answer so often with this status to whoever wants a file."""
    answer, left = rig.simulator.answer, [times]

    def refused(request: Request) -> Answer:
        if request.method == "GET" and left[0] > 0:
            left[0] -= 1
            return Answer(Response(status=status))
        return answer(request)

    monkeypatch.setattr(rig.simulator, "answer", refused)


@pytest.mark.parametrize(("status", "times"), [(500, 6), (404, 3), (401, 20)])
async def test_what_may_pass_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch, status: int, times: int) -> None:
    """A provider that is down; a file that is announced before it is there; a login that is mended meanwhile."""
    refusing(rig, monkeypatch, status, times)
    await mms(rig, "photo")
    assert [media.state for media in await told(rig)] == ["stored"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "media_unreachable"), (404, "media_gone"), (401, "credentials_refused"), (400, "media_gone")],
)
async def test_what_does_not_pass_is_told_in_the_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    monkeypatch.setattr(module, "LOCKED_FOR", datetime.timedelta(0))
    refusing(rig, monkeypatch, status, 1000)
    await mms(rig, "photo")
    (media,) = await told(rig)
    assert media.error is not None
    assert (media.state, media.error.code) == ("failed", code)


async def test_a_fault_of_the_gateways_is_tried_again_and_told_in_the_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(type(rig.account().gateway), "media_hosts", broken)
    await mms(rig, "photo")
    states = [(media.state, media.error.code if media.error else None) for media in await told(rig)]
    assert states == [("failed", "media_unreachable")]


async def test_a_store_that_was_away_takes_no_tries_from_the_provider(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIED_FOR", datetime.timedelta(minutes=43))
    keep, left = MediaStore.keep, [9]

    async def away(self: MediaStore, *arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            if not left[0]:
                refusing(rig, monkeypatch, 500, 3)
            raise Unavailable("not now")
        return await keep(self, *arguments)

    monkeypatch.setattr(MediaStore, "keep", away)
    await mms(rig, "photo")
    assert [media.state for media in await told(rig)] == ["stored"]


def fetch(age: datetime.timedelta) -> Fetch:
    return Fetch(
        message_id="m",
        part_id="1",
        reference="r",
        kind="image",
        mime="image/png",
        contact="c",
        conversation="v",
        wanted_at=now() - age,
    )


MINUTES = datetime.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("error", "age", "tries", "code"),
    [
        (Unreachable("down"), 40 * MINUTES, 7, None),
        (Unreachable("down"), 44 * MINUTES, 6, None),
        (Unreachable("down"), 44 * MINUTES, 7, "media_unreachable"),
        (Throttled("slow", 1), 1 * MINUTES, 100, None),
        (Throttled("slow", 1), 44 * MINUTES, 100, "media_unreachable"),
        (Rejected("gone", "404"), 0 * MINUTES, 1, None),
        (Rejected("gone", "404"), 1 * MINUTES, 3, None),
        (Rejected("gone", "404"), 1 * MINUTES, 4, "media_gone"),
        (Rejected("no", "400"), 0 * MINUTES, 1, "media_gone"),
        (CredentialsRefused("expired"), 60 * 71 * MINUTES, 1000, None),
        (CredentialsRefused("expired"), 60 * 73 * MINUTES, 4, "credentials_refused"),
        (CredentialsRefused("expired"), 60 * 73 * MINUTES, 1, None),
    ],
)
def test_a_file_is_tried_for_as_long_as_it_is_written(
    error: SendError, age: datetime.timedelta, tries: int, code: str | None
) -> None:
    """Most of an hour, half a minute where it is not there yet, three days where a login is refused."""
    found = module._judged(error, fetch(age), tries, has_login=True)
    assert (found.code if isinstance(found, MediaError) else None) == code


async def test_the_same_delivery_ten_times_is_fetched_once(rig: Rig) -> None:
    rig.simulator.fields = {"media": "photo"}
    request = rig.simulator.deliver(rig.account().account, "+447700900456", "Look")
    for _ in range(10):
        assert (await rig.deliver(request)).status == 200
    await told(rig)
    await until(lambda: _none_waiting(rig), "nothing is fetched any more")
    assert len(await rig.events("message.media")) == 1
    assert len(await rig.stream("FETCHES")) == 1


async def test_a_delivery_whose_work_could_not_be_stored_is_sent_back_and_complete_when_it_comes_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Fetches._put

    async def away(*_: Any) -> None:
        raise Unavailable("not now")

    rig.simulator.fields = {"media": "photo"}
    request = rig.simulator.deliver(rig.account().account, "+447700900456", "Look")
    monkeypatch.setattr(Fetches, "_put", away)
    assert (await rig.deliver(request)).status == 503
    monkeypatch.setattr(Fetches, "_put", put)
    assert (await rig.deliver(request)).status == 200
    assert [media.state for media in await told(rig)] == ["stored"]
    assert len(await rig.events("message.received")) == 1


async def test_a_process_that_stops_gives_its_work_to_the_next(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, own_nats) as first:
        slow = Slow(first, monkeypatch)
        await mms(first, "photo")
        await slow.asked.wait()
        await first.service.stop()
        slow.let.set()
        second = Service(first.core, first.accounts)
        await second.start()
        try:
            first.link = second.link
            await until(lambda: second.ready, "the next is ready")
            assert [media.state for media in await told(first)] == ["stored"]
        finally:
            await second.stop()


async def test_a_bucket_that_is_full_is_waited_for_and_other_files_are_stored(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(rig.core.nats)
    wanted = layout.with_media(["acme"])[f"OBJ_{layout.media('acme')}"]
    body = msgspec.json.encode(wanted | {"max_bytes": 300_000})
    await rig.link.request(rig.link.api(f"STREAM.UPDATE.{wanted['name']}"), body)
    await mms(rig, "large-1")
    await mms(rig, "photo")
    assert [media.size for media in await told(rig, 1)] == [len(bytes_of("photo"))]
    monkeypatch.setattr(module, "LOCKED_FOR", datetime.timedelta(0))
    assert [media.error.code for media in (await told(rig, 2))[1:] if media.error] == ["store_full"]


async def test_a_tenants_files_are_in_its_own_bucket(rig: Rig) -> None:
    store, layout = rig.service._files, Layout(rig.core.nats)
    assert isinstance(store, MediaStore)
    await mms(rig, "photo")
    (media,) = await told(rig)
    ref = FileRef.parse(media.ref or "")
    assert layout.media("acme") != layout.media("globex")
    assert await store.find(ref) is not None
