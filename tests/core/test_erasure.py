"""A person erased on a real server, whose files are then searched for everything that they ever wrote or were."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import sending
from sluiceway.bus.link import Link
from sluiceway.bus.reader import Reader
from sluiceway.bus.shred import Shredder
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout
from sluiceway.checks import Refusal
from sluiceway.contacts import Change
from sluiceway.continuity import Continuity
from sluiceway.erasure import Erasure
from sluiceway.gateway import Received
from sluiceway.identity import Identity
from sluiceway.ledger import MessageRecord
from sluiceway.media import MediaStore
from sluiceway.merges import Grounds
from sluiceway.placement import Placement
from sluiceway.record import Record
from sluiceway.stream import EventStream
from sluiceway.testing.nats import NatsServer
from sluiceway.unions import Unions
from sluiceway.wire import FORM, Request, Response
from sluiceway_contracts import (
    Command,
    ContactErased,
    Event,
    FileRef,
    MessageMedia,
    MessageReceived,
    MessageSend,
    MessageStatus,
    Party,
    StoredFile,
    Text,
    now,
    uuid7,
)
from sluiceway_gateways._simulated_files import file
from sluiceway_gateways.webform.http import KEY

from .conftest import ENVIRONMENT, TWILIO, Rig, running, until

BOTH = (
    TWILIO
    + """
[accounts.globex-sms]
connection = "twilio-uk"
tenant = "globex"
address = "tel:+447700900199"
[connections.forms]
gateway = "webform.http"
[accounts.shop-contact]
connection = "forms"
tenant = "acme"
address = "web:shop/contact"
site_key = "4d1f0c6be29a4b7f8e3a5c21"
origins = ["https://shop.example"]
"""
)
ANN, HOME, BYSTANDER = "+447700900456", "+447700900457", "+447700900789"
MAIL, NAME = "wilhelmina@example.com", "Featherstonehaugh"
WRITTEN = (
    "kettle arrived broken",
    "other phone of mine",
    "garden gnome",
    "sorry about the kettle",
    "straight to your number",
    "remember your appointment",
    "after a short nap",
    "never came through",
    "two at once",
    "unplaceable",
)
ADDRESSES = ("447700900456", "447700900457", MAIL)


@pytest.fixture
async def rig(tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(sending, "RETRIES_S", (0,))
    async with running(tmp_path, own_nats, BOTH) as rig:
        yield rig


def erasure(rig: Rig, link: Link | None = None, settle_s: float = 0.3) -> Erasure:
    link, layout, secret = link or rig.link, Layout(rig.core.nats), ENVIRONMENT["IDENTITY_KEY"].encode()
    stream = EventStream(link, rig.core.nats.prefix)
    placement = Placement(rig.core, secret, link, layout, stream)
    return Erasure(
        link,
        layout,
        rig.core.nats.prefix,
        Identity(secret),
        continuity=placement.continuity,
        stream=stream,
        files=MediaStore(link, layout, 1 << 20),
        settle_s=settle_s,
    )


def continuity(rig: Rig) -> Continuity:
    facts = rig.service.inbound.facts
    assert facts is not None
    return facts._placement.continuity


def change(contact: str) -> Change:
    return Change("acme", contact, now(), cause=uuid7())


async def who(rig: Rig, number: str, tenant: str = "acme") -> str:
    contact = await continuity(rig).owner(tenant, f"tel:{number}")
    assert contact is not None
    return contact


async def form(rig: Rig, fields: Mapping[str, str]) -> None:
    body = "&".join(f"{name}={value.replace('+', '%2B').replace(' ', '+')}" for name, value in fields.items())
    headers = {"content-type": FORM, "origin": "https://shop.example"}
    url = f"{rig.core.http.base_url}/hooks/forms/shop/contact?{KEY}=4d1f0c6be29a4b7f8e3a5c21"
    response = await rig.deliver(Request(method="POST", url=url, headers=headers, body=body.encode()))
    assert response.status < 400


async def unplaced(rig: Rig) -> None:
    """A text to a number that is nobody's account."""
    nobodys = rig.account().account
    stray = msgspec.structs.replace(nobodys, address="tel:+447700900001")
    await rig.deliver(rig.simulator.deliver(stray, ANN, "unplaceable"))


async def story(rig: Rig) -> str:
    """All that can become of a person's words and ours; returns the contact."""
    before = len(await rig.events("message.received"))
    statuses, sent = len(await rig.events("message.status")), len(await rig.events("message.sent"))
    await rig.text("The kettle arrived broken", ANN)
    ann = await who(rig, ANN)
    where = (await rig.events("message.received"))[before].subject
    await rig.send("We are sorry about the kettle.", conversation_id=where)
    await rig.send("Straight to your number", to=(f"tel:{ANN}",))
    await rig.until_event("message.status", statuses + 4)
    await rig.text("From the other phone of mine", HOME)
    await form(rig, {"name": NAME, "phone": ANN, "email": MAIL, "message": "My garden gnome is blue"})
    for event in (await rig.events("message.received"))[before + 1 :]:
        await unions(rig).merge(change(ann), str(event.contactid), uuid7(), Grounds("command"))
    await rig.send("Please remember your appointment", conversation_id=where, not_before=later(3600))
    await rig.send("We answer after a short nap", conversation_id=where, not_before=later(1))
    await rig.send("Two at once", to=(f"tel:{ANN}",), cc=(f"tel:{HOME}",))
    await rig.until_event("message.sent", sent + 3)
    await rig.until_event("command.failed")
    await unplaced(rig)
    await bury(rig, where)
    return ann


def unions(rig: Rig) -> Unions:
    facts = rig.service.inbound.facts
    assert facts is not None
    return facts._placement.unions


async def bury(rig: Rig, where: str | None) -> None:
    """A message of ours whose tries are used up."""
    original = rig.provider.answer

    async def busy(request: Request) -> Response:
        return Response(status=429)

    rig.provider.answer = busy  # type: ignore[method-assign]
    try:
        await rig.send("This never came through", conversation_id=where)
        await rig.until_event("error.dead_letter")
    finally:
        rig.provider.answer = original  # type: ignore[method-assign]


def later(seconds: int) -> datetime.datetime:
    return now() + datetime.timedelta(seconds=seconds)


async def others(rig: Rig) -> None:
    """Another contact of the tenant, and the same person at another tenant."""
    await rig.text("A bystander asks", BYSTANDER)
    await rig.text("Globex hears of it", ANN, "globex-sms")
    await rig.send("A bystander is answered", to=(f"tel:{BYSTANDER}",))
    await until(lambda: delivered(rig), "the answer has arrived")


async def delivered(rig: Rig) -> bool:
    statuses = [event.data for event in await rig.events("message.status")]
    return any(isinstance(status, MessageStatus) and status.overall == "delivered" for status in statuses)


def found(folder: Path, words: tuple[str, ...]) -> dict[str, list[str]]:
    """Where in a server's files each of the words stands."""
    files = {file.relative_to(folder): file.read_bytes().lower() for file in folder.rglob("*") if file.is_file()}
    spots = {word: [str(file) for file, data in files.items() if word.lower().encode() in data] for word in words}
    return {word: files for word, files in spots.items() if files}


def left_behind(server: NatsServer) -> dict[str, list[str]]:
    """What the files of a server that has stopped still hold of the person."""
    server.kill()
    try:
        return found(server._folder, (*WRITTEN, NAME, *ADDRESSES))
    finally:
        server.restart()


async def of_others(rig: Rig) -> list[bytes]:
    globex = await who(rig, ANN, "globex")
    bystander = await who(rig, BYSTANDER)
    return [data for subject, data in await stored(rig, "EVENTS") if globex in subject or bystander in subject]


async def stored(rig: Rig, name: str) -> list[tuple[str, bytes]]:
    """What a stream has, but looks at idle conversations, which come at any moment."""
    reader = Reader(rig.link, f"{rig.core.nats.names}_{name}")
    every = [(message.subject, message.data) async for message in reader.messages(">", "all", follow=False)]
    return [(subject, data) for subject, data in every if b'"reason":"idle"' not in data]


async def test_nothing_that_a_person_wrote_or_was_told_is_left_in_the_servers_files(
    rig: Rig, own_nats: NatsServer
) -> None:
    waiting = await rig.send("A bystander waits", to=(f"tel:{BYSTANDER}",), not_before=later(3600))
    ann = await story(rig)
    assert set(found(own_nats._folder, (*WRITTEN, NAME, *ADDRESSES))) == {*WRITTEN, NAME, *ADDRESSES}
    await erasure(rig).erase(change(ann), Party(role="agent"), "asked for it")
    told = await erased(rig)
    assert {event.contactid for event in told} >= {ann}
    assert len(told) == 3
    assert waiting.encode() in [data for _, data in await stored(rig, "SCHEDULED")]
    assert left_behind(own_nats) == {}


async def test_nothing_of_others_is_gone(rig: Rig) -> None:
    await others(rig)
    ann = await story(rig)
    kept = await of_others(rig)
    assert len(kept) > 6
    await erasure(rig).erase(change(ann))
    assert await of_others(rig) == kept


async def test_who_was_merged_is_erased_whichever_of_them_is_named_and_a_second_time_does_no_harm(rig: Rig) -> None:
    ann = await story(rig)
    home = await rig.events("message.received")
    other = next(event.contactid for event in home if event.contactid != ann)
    assert other is not None
    for contact in (other, ann, other):
        await erasure(rig).erase(change(contact))
    assert {event.contactid for event in await erased(rig)} >= {ann, other}
    assert len(await erased(rig)) == 3


async def test_who_typed_somebody_elses_number_into_a_form_takes_nothing_of_theirs_along(rig: Rig) -> None:
    await others(rig)
    bystander = await who(rig, BYSTANDER)
    await rig.send("A bystander waits", to=(f"tel:{BYSTANDER}",), not_before=later(3600))
    await form(rig, {"name": NAME, "phone": BYSTANDER, "message": "My garden gnome is blue"})
    typist = next(event.contactid for event in await received(rig) if event.channel == "webform")
    assert typist not in (None, bystander)
    before, waiting = await of_others(rig), await stored(rig, "SCHEDULED")
    await erasure(rig).erase(change(str(typist)))
    assert (await of_others(rig), await stored(rig, "SCHEDULED")) == (before, waiting)
    assert not await continuity(rig).was_erased("acme", f"tel:{BYSTANDER}", now() - datetime.timedelta(days=1))
    assert await who(rig, BYSTANDER) == bystander


async def test_the_projection_for_readers_is_erased_where_there_is_one(rig: Rig) -> None:
    bucket = f"{rig.core.nats.names}_STATE"
    stream = {"name": f"KV_{bucket}", "subjects": [f"$KV.{bucket}.>"], "max_msgs_per_subject": 1, "allow_direct": True}
    await rig.link.request(rig.link.api(f"STREAM.CREATE.KV_{bucket}"), msgspec.json.encode(stream))
    await rig.text("The kettle arrived broken", ANN)
    ann = await who(rig, ANN)
    (event,) = await received(rig)
    for key in (f"acme.contact.{ann}", f"acme.conversation.{event.subject}", "acme.contact.another"):
        await rig.link.publish(f"$KV.{bucket}.{key}", b"{}")
    await erasure(rig).erase(change(ann))
    reader = Reader(rig.link, f"KV_{bucket}")
    left = [message.subject async for message in reader.messages(">", "all", follow=False)]
    assert left == [f"$KV.{bucket}.acme.contact.another"]


async def test_earlier_values_of_the_projection_are_gone_though_others_have_records_beside_them(
    rig: Rig, own_nats: NatsServer
) -> None:
    await rig.text("A bystander asks", BYSTANDER)
    for words in ("The kettle arrived broken", "It is still broken", "And now?"):
        await rig.text(words, ANN)
    await until(lambda: in_state(own_nats), "the person is in them")
    await erasure(rig).erase(change(await who(rig, ANN)))
    assert in_state(own_nats) == []
    assert in_state(own_nats, BYSTANDER)


def in_state(server: NatsServer, number: str = ANN) -> list[str]:
    """The files of the projection in which a number stands."""
    places = found(server._folder, (number.lstrip("+"),)).values()
    return [place for some in places for place in some if "_STATE" in place]


async def test_headers_are_overwritten_too(rig: Rig, own_nats: NatsServer) -> None:
    subject = f"{rig.core.nats.prefix}.v1.acme.dead.inbound.sms.twilio-uk"
    ack = await rig.link.publish(subject, b"x", {"sluiceway-reason": "a word in a header"})
    assert found(own_nats._folder, ("a word in a header",))
    assert await Shredder(rig.link).message(Layout(rig.core.nats).dead, ack.seq)
    assert not await Shredder(rig.link).message(Layout(rig.core.nats).dead, ack.seq)
    assert found(own_nats._folder, ("a word in a header",)) == {}


async def test_a_tombstone_says_how_long_it_lasts(rig: Rig) -> None:
    await rig.text("The kettle arrived broken", ANN)
    ann = await who(rig, ANN)
    await erasure(rig).erase(change(ann))
    bucket = Layout(rig.core.nats).identity
    for key in (f"acme.e.{continuity(rig).token(f'tel:{ANN}')}", f"acme.d.{ann}"):
        answer = await rig.link.request(rig.link.api(f"DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}"))
        assert (answer.headers or {})["Nats-TTL"] == "2592000s"


async def test_a_retry_of_what_was_erased_is_still_a_repetition(rig: Rig) -> None:
    delivery = rig.simulator.deliver(rig.account().account, ANN, "The kettle arrived broken")
    await rig.deliver(delivery)
    await erasure(rig).erase(change(await who(rig, ANN)))
    assert (await rig.deliver(delivery)).status == 200
    assert await received(rig) == []


async def test_a_contact_that_never_was_is_refused(rig: Rig) -> None:
    with pytest.raises(Refusal, match="there is no contact nobody") as refused:
        await erasure(rig).erase(change("nobody"))
    assert refused.value.code == "unknown_contact"


async def test_a_stream_that_denies_deletes_is_told(rig: Rig) -> None:
    await rig.text("Hello", ANN)
    layout = Layout(rig.core.nats)
    denying = layout.configs[layout.events] | {"deny_delete": True}
    await rig.link.request(rig.link.api(f"STREAM.UPDATE.{layout.events}"), msgspec.json.encode(denying))
    with pytest.raises(Refusal, match=r"nothing can be erased from the stream T.*deny_delete") as refused:
        await erasure(rig).erase(change(await who(rig, ANN)))
    assert refused.value.code == "erasure_denied"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", [1, 4, 9, 15, 22, 30])
async def test_an_erasure_that_was_killed_is_finished_by_the_next(
    rig: Rig, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    ann = await story(rig)
    original, left = Shredder.message, after

    async def message(self: Shredder, stream: str, sequence: int) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return await original(self, stream, sequence)

    with monkeypatch.context() as patched:
        patched.setattr(Shredder, "message", message)
        with pytest.raises(Killed):
            await erasure(rig).erase(change(ann))
    assert await erased(rig) == []
    await erasure(rig).erase(change(ann))
    assert len(await erased(rig)) == 3
    assert left_behind(own_nats) == {}


async def test_what_was_received_before_is_dropped_and_what_comes_after_is_a_new_contacts(rig: Rig) -> None:
    await rig.text("The kettle arrived broken", ANN)
    ann = await who(rig, ANN)
    spooled = now() - datetime.timedelta(seconds=60)
    await erasure(rig).erase(change(ann))
    facts = rig.service.inbound.facts
    assert facts is not None
    fact = Received(at="tel:+447700900123", key="SM1", sender=f"tel:{ANN}", parts=(Text(text="Too late"),))
    record = Record(connection="twilio-uk", arrived_at=spooled, facts=(fact,))
    await facts.take(record, fact)
    assert await received(rig) == []
    await rig.text("A new kettle", ANN)
    await facts.take(record, fact)
    (event,) = await received(rig)
    assert isinstance(event.data, MessageReceived)
    assert (event.data.message.text, event.data.is_new_conversation) == ("A new kettle", True)
    assert event.contactid != ann
    assert await who(rig, ANN) == event.contactid


async def test_a_command_given_before_is_refused_and_one_given_after_is_sent(rig: Rig) -> None:
    await rig.text("The kettle arrived broken", ANN)
    await erasure(rig).erase(change(await who(rig, ANN)))
    old = Command(
        tenant="acme",
        source="/acme/apps/desk",
        channel="sms",
        account="uk-sms",
        time=now() - datetime.timedelta(seconds=60),
        data=MessageSend(message_id=uuid7(), author=Party(role="agent"), parts=(Text(text="x"),), to=(f"tel:{ANN}",)),
    )
    await rig.link.publish(old.nats_subject(rig.core.nats.prefix), old.encode(), old.headers())
    await until(lambda: told(rig, "command.failed"), "the old command is refused")
    await rig.send("Hello again", to=(f"tel:{ANN}",))
    await until(lambda: told(rig, "message.sent"), "the new one is sent")
    assert [request.form["Body"] for request in rig.provider.requests] == ["Hello again"]


async def test_who_writes_all_the_while_is_erased_or_new_and_nothing_between(rig: Rig, own_nats: NatsServer) -> None:
    await rig.text("The kettle arrived broken 0", ANN)
    ann = await who(rig, ANN)
    stop = False

    async def write() -> None:
        number = 0
        while not stop:
            number += 1
            assert (await rig.text(f"The kettle arrived broken {number}", ANN)).status < 400
            await asyncio.sleep(0.03)

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.2)
    await erasure(rig, settle_s=2).erase(change(ann))
    stop = True
    await writing
    events = await received(rig)
    fresh = await who(rig, ANN)
    assert fresh != ann
    assert {event.contactid for event in events} == {fresh}
    assert len({event.subject for event in events}) == 1
    opened = [event for event in await decoded(rig) if event.type.endswith("conversation.opened")]
    assert [event.contactid for event in opened] == [fresh]


async def told(rig: Rig, type: str) -> bool:
    return any(event.type == f"sluiceway.{type}" for event in await decoded(rig))


async def decoded(rig: Rig) -> list[Event]:
    return [Event.decode(data) for _, data in await stored(rig, "EVENTS")]


async def received(rig: Rig) -> list[Event]:
    return [event for event in await decoded(rig) if isinstance(event.data, MessageReceived)]


async def erased(rig: Rig) -> list[Event]:
    return [event for event in await decoded(rig) if isinstance(event.data, ContactErased)]


async def test_a_refused_command_with_a_pattern_for_an_id_takes_nothing_of_others_along(rig: Rig) -> None:
    await others(rig)
    await rig.text("The kettle arrived broken", ANN)
    ann = await who(rig, ANN)
    await rig.send("Sorry about the kettle", message_id="*", to=(f"tel:{ANN}",))
    await rig.until_event("command.failed")
    before = await ledgers(rig)
    assert before
    await erasure(rig).erase(change(ann))
    assert await ledgers(rig) == before


async def ledgers(rig: Rig) -> dict[str, MessageRecord]:
    bucket = Bucket(rig.link, f"{rig.core.nats.names}_MESSAGES", MessageRecord)
    found = {key: await bucket.get(key) for key in await bucket.keys("acme.m.")}
    return {key: entry.value for key, entry in found.items() if entry is not None}


async def test_the_files_of_a_person_are_gone_and_those_that_others_have_too_stay(rig: Rig) -> None:
    files = rig.service._files

    async def mms(word: str, sender: str) -> None:
        rig.simulator.fields = {"media": word}
        assert (await rig.text("Look", sender)).status == 200

    for word, sender in (("mine", ANN), ("ours", ANN), ("ours", BYSTANDER), ("theirs", BYSTANDER)):
        await mms(word, sender)
    told = await rig.until_event("message.media", 4)
    refs = [event.data.ref for event in told if isinstance(event.data, MessageMedia)]
    by_word = {word: FileRef.parse(ref or "") for word, ref in zip(_words(told), refs, strict=True)}
    assert len(set(by_word.values())) == 3
    contact = await who(rig, ANN)
    await erasure(rig).erase(change(contact))
    mine, ours, theirs = (by_word[word] for word in ("mine", "ours", "theirs"))
    assert [await files.find(ref) is not None for ref in (mine, ours, theirs)] == [False, True, True]
    chunks = await _chunks(rig)
    assert _png("mine") not in chunks
    assert _png("theirs") in chunks


async def test_an_erasure_that_was_killed_within_a_file_is_finished_by_the_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.simulator.fields = {"media": "large-1"}
    monkeypatch.setattr(rig.service._files, "max_bytes", 2_000_000)
    assert (await rig.text("Look", ANN)).status == 200
    await rig.until_event("message.media")
    contact, message, done = await who(rig, ANN), Shredder.message, [0]

    async def killed(self: Shredder, stream: str, sequence: int) -> bool:
        done[0] += stream.startswith("OBJ_")
        if done[0] == 3:
            raise asyncio.CancelledError
        return await message(self, stream, sequence)

    monkeypatch.setattr(Shredder, "message", killed)
    with pytest.raises(asyncio.CancelledError):
        await erasure(rig).erase(change(contact))
    monkeypatch.setattr(Shredder, "message", message)
    await erasure(rig).erase(change(contact))
    assert await _chunks(rig) == []
    assert [event.contactid for event in await rig.events("contact.erased")] == [contact]


def _words(told: list[Event]) -> list[str]:
    """Which file each tells of, by its hash."""
    known = {hashlib.sha256(_png(word)).hexdigest(): word for word in ("mine", "ours", "theirs")}
    return [known[(event.data.ref or "").rpartition("/")[2]] for event in told if isinstance(event.data, MessageMedia)]


def _png(word: str) -> bytes:
    found = file(word)
    assert found is not None
    return found.body


async def _chunks(rig: Rig) -> list[bytes]:
    """What the bucket's stream holds."""
    stream, found = f"OBJ_{Layout(rig.core.nats).media('acme')}", []
    async for stored in Reader(rig.link, stream).messages("$O.>", "all", follow=False):
        found.append(stored.data)
    return found


async def test_a_file_that_was_still_to_be_fetched_is_neither_fetched_nor_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, let, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    answer, keep = rig.provider.answer, MediaStore.keep

    async def late(request: Request) -> Response:
        if request.method == "GET":
            asked.set()
            await let.wait()
        return await answer(request)

    async def kept(self: MediaStore, *arguments: Any) -> StoredFile:
        try:
            return await keep(self, *arguments)
        finally:
            ended.set()

    monkeypatch.setattr(rig.provider, "answer", late)
    monkeypatch.setattr(MediaStore, "keep", kept)
    rig.simulator.fields = {"media": "mine"}
    assert (await rig.text("Look", ANN)).status == 200
    await asked.wait()
    await erasure(rig).erase(change(await who(rig, ANN)))
    let.set()
    await ended.wait()
    await asyncio.sleep(0.2)
    assert await rig.events("message.media") == []
    assert await _chunks(rig) == []
    assert await rig.stream("FETCHES") == []
