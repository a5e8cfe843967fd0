"""Files that we send: looked up first, given to the provider as it wants them, refused before it is bothered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluiceway import sending
from sluiceway.media import MediaStore
from sluiceway.service import Service
from sluiceway.simulator import Answer
from sluiceway.testing.nats import NatsServer
from sluiceway.wire import Request, Response
from sluiceway_contracts import (
    AnyPart,
    CommandFailed,
    FileRef,
    Media,
    MessageSent,
    MessageStatus,
    StoredFile,
    Text,
)
from sluiceway_gateways._simulated_files import png

from . import conftest
from .conftest import Rig, running, until
from .test_whatsapp import WHATSAPP

PNG = png(b"\x10\x20\x30")
CUSTOMER = "whatsapp:447700900456"


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    for name in ("META_SECRET", "META_VERIFY", "META_TOKEN"):
        monkeypatch.setitem(conftest.ENVIRONMENT, name, name.lower())
    monkeypatch.setattr(sending, "RETRIES_S", (0.01, 0.01))
    async with running(tmp_path, shared_nats, WHATSAPP) as rig:
        yield rig


async def stored(rig: Rig, data: bytes = PNG, mime: str = "image/png", tenant: str = "acme") -> StoredFile:
    return await rig.service._files.keep(tenant, chunks(data), mime)


def media(file: StoredFile | str, kind: str = "image", **fields: Any) -> Media:
    return Media(kind=kind, ref=file if isinstance(file, str) else file.ref, **fields)


async def sent(rig: Rig, *parts: AnyPart, count: int = 1) -> list[MessageSent]:
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=parts)
    return [e.data for e in await rig.until_event("message.sent", count) if isinstance(e.data, MessageSent)]


async def refused(rig: Rig, *parts: AnyPart) -> str:
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=parts)
    (event,) = await rig.until_event("command.failed")
    assert isinstance(event.data, CommandFailed)
    assert rig.provider.requests == []
    return event.data.error.code


def uploads(rig: Rig) -> list[Request]:
    return [request for request in rig.provider.requests if request.url.partition("?")[0].endswith("/media")]


def messages(rig: Rig) -> list[dict[str, Any]]:
    return [r.json(dict[str, Any]) for r in rig.provider.requests if r.url.partition("?")[0].endswith("/messages")]


async def test_a_file_is_uploaded_byte_for_byte_and_the_message_names_it(rig: Rig) -> None:
    (event,) = await sent(rig, Text(text="Like this?"), media(await stored(rig), name='my "photo".png'))
    (upload,) = uploads(rig)
    form = dict(upload.multipart)
    assert form["file"] == PNG
    assert form["type"] == b"image/png"
    (message,) = messages(rig)
    assert message["image"] == {"id": message["image"]["id"], "caption": "Like this?"}
    part = event.message.parts[1]
    assert isinstance(part, Media)
    assert (part.state, part.mime, part.size, part.url) == ("stored", "image/png", len(PNG), None)


async def test_what_is_said_of_a_file_does_not_count(rig: Rig) -> None:
    """A picture that is a document in truth goes as one."""
    file = await stored(rig, b"%PDF-1.7\n" + bytes(100), "application/pdf")
    await sent(rig, media(file, mime="image/jpeg", size=1, name="a.pdf"))
    (message,) = messages(rig)
    assert message["type"] == "document"


@pytest.mark.parametrize("ref", [str(FileRef("acme", "0" * 64)), str(FileRef("globex", "0" * 64))])
async def test_a_file_that_is_not_there_is_refused(rig: Rig, ref: str) -> None:
    assert await refused(rig, media(ref)) == "media_not_found"


async def test_a_file_of_another_tenant_is_refused(rig: Rig) -> None:
    file = await stored(rig)
    theirs = file.ref.replace("media:acme/", "media:globex/")
    assert await refused(rig, media(theirs)) == "media_not_found"


async def test_what_is_no_reference_is_refused(rig: Rig) -> None:
    assert await refused(rig, media("https://shop.example/1.png")) == "invalid"


async def test_a_file_that_is_too_large_for_the_channel_is_refused_before_it_is_asked(rig: Rig) -> None:
    large = await stored(rig, PNG + bytes(5_000_001))
    assert await refused(rig, Text(text="Look"), media(large)) == "media_too_large"


def failing(rig: Rig, monkeypatch: pytest.MonkeyPatch, answer: Answer, times: int) -> None:
    """Have the provider answer so to the first uploads."""
    well, left = rig.simulator.answer, [times]

    def badly(request: Request) -> Answer:
        if request.url.partition("?")[0].endswith("/media") and left[0]:
            left[0] -= 1
            return answer
        return well(request)

    monkeypatch.setattr(rig.simulator, "answer", badly)


async def test_an_upload_that_fails_is_tried_again_and_nothing_is_sent_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(rig, monkeypatch, Answer(Response(status=503)), 2)
    await sent(rig, media(await stored(rig)))
    assert len(messages(rig)) == 1
    assert len(uploads(rig)) == 3


async def test_an_upload_that_never_works_ends_the_message_as_failed_and_nothing_was_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(rig, monkeypatch, Answer(Response(status=503)), 1000)
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=(media(await stored(rig)),))
    (event,) = await rig.until_event("message.status")
    assert isinstance(event.data, MessageStatus)
    assert event.data.status == "failed"
    assert messages(rig) == []


async def test_an_upload_that_is_refused_ends_the_message_with_the_providers_code(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = {"error": {"code": 131053, "message": "Media upload error"}}
    failing(rig, monkeypatch, Answer(Response.of_json(problem, 400)), 1)
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=(media(await stored(rig)),))
    (event,) = await rig.until_event("message.status")
    assert isinstance(event.data, MessageStatus)
    error = event.data.pieces[0].error
    assert error is not None
    assert (event.data.status, error.provider_code) == ("rejected", "131053")


async def test_messages_that_go_out_at_once_wait_for_one_upload(rig: Rig) -> None:
    file = await stored(rig)
    for number in range(10):
        await rig.send(account="uk-wa", to=(f"whatsapp:44770090040{number}",), parts=(media(file),))
    await rig.until_event("message.sent", 10)
    assert len(uploads(rig)) == 1
    assert len({message["image"]["id"] for message in messages(rig)}) == 1


async def test_what_the_provider_has_forgotten_is_uploaded_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = type(rig.account("uk-wa").gateway)
    monkeypatch.setattr(gateway, "uploads_last_s", 0)
    file = await stored(rig)
    await sent(rig, media(file))
    await sent(rig, media(file), count=2)
    assert len(uploads(rig)) == 2


async def test_a_file_that_goes_while_it_waits_ends_the_message_and_not_the_account(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, find = await stored(rig), MediaStore.find
    asked = [0]

    async def once(self: Any, ref: FileRef) -> Any:
        asked[0] += 1
        return await find(self, ref) if asked[0] == 1 else None

    monkeypatch.setattr(MediaStore, "find", once)
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=(media(file),))
    (event,) = await rig.until_event("message.status")
    assert isinstance(event.data, MessageStatus)
    assert event.data.status == "rejected"
    await rig.send("Hello", account="uk-wa", to=(CUSTOMER,))
    await rig.until_event("message.sent")


async def test_a_fault_of_the_gateways_ends_that_message_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, attachment: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(type(rig.account("uk-wa").gateway), "upload", broken)
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=(media(await stored(rig)),))
    (event,) = await rig.until_event("message.status")
    assert isinstance(event.data, MessageStatus)
    assert event.data.status == "rejected"
    await rig.send("Hello", account="uk-wa", to=(CUSTOMER,))
    await rig.until_event("message.sent")


async def test_a_refused_login_holds_the_account_and_the_message_goes_out_when_it_works(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.health.PROBE_S", 0.05)
    problem = {"error": {"code": 190, "message": "Session has expired"}}
    failing(rig, monkeypatch, Answer(Response.of_json(problem, 401)), 2)
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=(media(await stored(rig)),))
    await rig.until_event("message.sent")
    assert len(messages(rig)) == 1
    assert len(await rig.events("account.health")) == 2


async def test_a_large_document_goes_out_in_chunks_and_whole(rig: Rig) -> None:
    large = b"%PDF-1.7\n" + bytes(range(256)) * 20_000
    await sent(rig, media(await stored(rig, large, "application/pdf"), kind="file", name="a.pdf"))
    (upload,) = uploads(rig)
    assert dict(upload.multipart)["file"] == large
    await asyncio.sleep(0)
    await until(lambda: len(messages(rig)) == 1, "the message is sent")


async def test_what_was_begun_and_whose_file_is_gone_ends_as_rejected_and_what_was_sent_stays_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process sent the first of two pictures and died; the second has gone meanwhile."""
    first, second = await stored(rig), await stored(rig, png(b"\x40\x50\x60"))
    failing(rig, monkeypatch, Answer(Response(status=503)), 0)
    well, left = rig.simulator.answer, [1]

    def held(request: Request) -> Answer:
        if request.url.partition("?")[0].endswith("/messages") and not left[0]:
            return Answer(Response.of_json({"error": {"code": 131056, "message": "slow"}}, 400))
        left[0] -= request.url.partition("?")[0].endswith("/messages")
        return well(request)

    monkeypatch.setattr(rig.simulator, "answer", held)
    monkeypatch.setattr(sending, "RETRIES_S", (600,))
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=(media(first), media(second)))
    await until(lambda: len(messages(rig)) == 2, "the second was tried")
    await rig.service.stop()
    find = MediaStore.find

    async def gone(self: Any, ref: FileRef) -> Any:
        return None if str(ref) == second.ref else await find(self, ref)

    monkeypatch.setattr(MediaStore, "find", gone)
    after = Service(rig.core, rig.accounts)
    await after.start()
    try:
        rig.link = after.link
        await until(lambda: after.ready, "the next is ready")
        (event,) = await rig.until_event("message.status")
        assert isinstance(event.data, MessageStatus)
        first_piece, second_piece = event.data.pieces
        assert first_piece.external_id is not None
        assert (second_piece.external_id, second_piece.status) == (None, "rejected")
        assert len(await rig.events("message.sent")) == 1
    finally:
        await after.stop()


async def test_what_the_provider_has_of_a_file_is_not_used_again_once_it_was_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await stored(rig)
    await sent(rig, media(file))
    well, left = rig.simulator.answer, [1]

    def refused_once(request: Request) -> Answer:
        if request.url.partition("?")[0].endswith("/messages") and left[0]:
            left[0] = 0
            return Answer(Response.of_json({"error": {"code": 131053, "message": "Media upload error"}}, 400))
        return well(request)

    monkeypatch.setattr(rig.simulator, "answer", refused_once)
    await rig.send(account="uk-wa", to=(CUSTOMER,), parts=(media(file),))
    await rig.until_event("message.status")
    await sent(rig, media(file), count=2)
    assert len(uploads(rig)) == 2
