"""Records without the addresses in them: what the server has, what is read, and what a crash leaves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sluiceway.attempts import MessageRecord
from sluiceway.bus.link import Link
from sluiceway.bus.shred import Shredder
from sluiceway.bus.store import Bucket, Conflict
from sluiceway.bus.streams import Layout
from sluiceway.contacts import Change, ContactRecord, Known, Reach, begun, linked
from sluiceway.discreet import DiscreetContacts, DiscreetMessages, Texts
from sluiceway.identity import Identity
from sluiceway_contracts import Event, Piece
from sluiceway_contracts.values import now

IDENTITY = Identity(b"an identity key for tests only")
ANN, HOME = "tel:+447700900456", "tel:+447700900457"
REACH = Reach(address=ANN, channel="sms", account="uk-sms")


def table(link: Link, layout: Layout) -> DiscreetContacts:
    return DiscreetContacts(Bucket[Any](link, layout.identity, dict), Texts(link, layout.identity, IDENTITY))


def messages(link: Link, layout: Layout) -> DiscreetMessages:
    return DiscreetMessages(Bucket(link, layout.messages, MessageRecord), Texts(link, layout.identity, IDENTITY))


def record() -> ContactRecord:
    """A contact with two addresses, and an event to tell of one."""
    change = Change("acme", "c1", now(), "sms", "uk-sms")
    first = begun(change, REACH, Known(ANN, "channel", "message", now()), "inbound")
    return linked(change, first, Known(HOME, "agent", "command", now(), evidence="she said so, in person"))


async def test_another_process_reads_what_was_written_and_the_record_names_no_address(
    link: Link, layout: Layout
) -> None:
    written, key = record(), "acme.c.c1"
    revision = await table(link, layout).create(key, written)
    found = await table(link, layout).get(key)
    assert found == (written, revision)
    raw = await Bucket[Any](link, layout.identity, dict).get(key)
    assert raw is not None
    assert not [word for word in ("+4477", "she said so") if word in str(raw.value)]
    assert [Event.decode(bytes(event)).type for event in found.value.untold] == [
        "sluiceway.conversation.opened",
        "sluiceway.contact.linked",
    ]


async def test_a_text_is_written_once_however_often_its_record_changes(link: Link, layout: Layout) -> None:
    ours, key = table(link, layout), "acme.c.c1"
    revision = await ours.create(key, record())
    before = await keys(link, layout, "t")
    for _ in range(3):
        revision = await ours.update(key, record(), revision)
    assert await table(link, layout).update(key, record(), revision) > revision
    assert await keys(link, layout, "t") == before
    assert len(before) == 3


async def test_the_loser_of_a_race_reads_the_winner(link: Link, layout: Layout) -> None:
    winner = record()
    await table(link, layout).create("acme.c.c1", winner)
    with pytest.raises(Conflict) as conflict:
        await table(link, layout).create("acme.c.c1", record())
    assert conflict.value.found is not None
    assert conflict.value.found.value == winner


async def test_a_record_whose_text_is_gone_is_read_without_it_and_learns_it_anew(link: Link, layout: Layout) -> None:
    key, written = "acme.c.c1", record()
    await table(link, layout).create(key, written)
    await Shredder(link).key(layout.identity, f"acme.t.c1.{IDENTITY.address_key(ANN)}")
    found = await table(link, layout).get(key)
    assert found is not None
    assert [known.address for known in found.value.addresses] == [HOME]
    assert found.value.reaches == ()
    await table(link, layout).update(key, written, found.revision)
    again = await table(link, layout).get(key)
    assert again is not None
    assert again.value == written


async def test_what_names_an_unknown_text_is_not_read_at_once(link: Link, layout: Layout) -> None:
    ours = table(link, layout)
    await ours.create("acme.c.c1", record())
    raw = await Bucket[Any](link, layout.identity, dict).get("acme.c.c1")
    assert raw is not None
    data = msgspec.json.encode(raw.value)
    assert ours.read(data) == record_of(await ours.get("acme.c.c1"))
    assert table(link, layout).read(data) is None


async def test_the_ledger_names_no_recipient_and_whoever_reads_it_is_told(link: Link, layout: Layout) -> None:
    pieces = (Piece(index=1, of=2, status="sent", recipient=ANN), Piece(index=2, of=2, status="accepted"))
    written, key = message(pieces), "acme.m.m1"
    revision = await messages(link, layout).create(key, written)
    assert await messages(link, layout).get(key) == (written, revision)
    raw = await Bucket[Any](link, layout.messages, dict).get(key)
    assert raw is not None
    assert "+4477" not in str(raw.value)
    await Shredder(link).keys(layout.identity, "acme.t.c1.*")
    found = await messages(link, layout).get(key)
    assert found is not None
    assert [piece.recipient for piece in found.value.pieces] == [None, None]


def message(pieces: tuple[Piece, ...]) -> MessageRecord:
    return MessageRecord(
        state="intent",
        command_id="x",
        channel="sms",
        account="uk-sms",
        contact="c1",
        conversation="v1",
        pieces=pieces,
    )


def record_of(entry: Any) -> ContactRecord:
    assert isinstance(entry.value, ContactRecord)
    return entry.value


async def keys(link: Link, layout: Layout, kind: str) -> list[str]:
    found = await Bucket[Any](link, layout.identity, dict).keys()
    return [key for key in found if key.split(".")[1] == kind]
