"""The projection on a real server: records as the stream tells them, whoever is killed, paused or late."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from sluiceway import projection as projection_module
from sluiceway import state
from sluiceway.bus.consumer import Consumer
from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket, Conflict
from sluiceway.bus.streams import Layout, ensure
from sluiceway.errors import Unavailable
from sluiceway.projection import Projection
from sluiceway.records import Records
from sluiceway.state import CONTACT, CONVERSATION, Key
from sluiceway.testing.nats import NatsServer
from sluiceway.tombstones import erase
from sluiceway_contracts import (
    ContactErased,
    ContactMerged,
    ContactState,
    ConversationOpened,
    ConversationState,
    Event,
    EventData,
    Message,
    MessageReceived,
    Party,
    Text,
    now,
    uuid7,
)

from . import conftest
from .conftest import linked, nats_settings, until

PHONE = "tel:+447700900456"


def received(address: str = PHONE, contact: str | None = None) -> MessageReceived:
    author = Party(role="customer", address=address, assurance="channel", contact_id=contact)
    return MessageReceived(message=Message(id=uuid7(), author=author, parts=(Text(text="Hi"),)), resolved_by="open")


class Stream:
    """The events of a deployment, and what was made of them."""

    def __init__(self, link: Link) -> None:
        self.layout = Layout(link.settings)
        self.conversations = Bucket(link, self.layout.state, ConversationState)
        self.contacts = Bucket(link, self.layout.state, ContactState)
        self._link = link

    async def tell(
        self, data: EventData, contact: str | None = None, conversation: str | None = None, tenant: str = "acme"
    ) -> Event:
        event = Event(tenant=tenant, channel="sms", account="uk", contactid=contact, subject=conversation, data=data)
        await self._link.publish(event.nats_subject(self._link.settings.prefix), event.encode(), event.headers())
        return event

    async def opened(self, contact: str, previous: str | None = None) -> str:
        """A conversation with one message."""
        id = uuid7()
        data = ConversationOpened(
            conversation_id=id, contact_id=contact, channel="sms", reason="inbound", previous_id=previous
        )
        await self.tell(data, contact, id)
        await self.tell(received(contact=contact), contact, id)
        return id

    async def conversation(self, id: str, tenant: str = "acme") -> ConversationState | None:
        entry = await self.conversations.get(f"{tenant}.conversation.{id}")
        return entry.value if entry is not None else None

    async def contact(self, id: str) -> ContactState | None:
        entry = await self.contacts.get(f"acme.contact.{id}")
        return entry.value if entry is not None else None

    async def counts(self, ids: Sequence[str]) -> list[int]:
        """How many messages of customers each conversation has."""
        records = [await self.conversation(id) for id in ids]
        return [record.message_count.inbound if record is not None else 0 for record in records]

    async def written(self) -> int:
        answer = await self._link.request(self._link.api(f"STREAM.INFO.KV_{self.layout.state}"))
        return int(msgspec.json.decode(answer.data)["state"]["last_seq"])


@pytest.fixture
def stream(link: Link, layout: Layout) -> Stream:
    return Stream(link)


@asynccontextmanager
async def projecting(link: Link) -> AsyncIterator[Projection]:
    """A replica that runs, and is asked to stop at the end."""
    projection = await Projection.create(link, Layout(link.settings), link.settings.prefix)
    task = asyncio.create_task(projection.run())
    try:
        yield projection
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_records_follow_the_stream_each_tenant_by_itself(link: Link, stream: Stream) -> None:
    anna = uuid7()
    first = await stream.opened(anna)
    async with projecting(link):
        await stream.tell(received(), anna, first, tenant="globex")
        await stream.tell(received(), anna, first)

        async def all_there() -> bool:
            return await stream.counts([first]) == [2] and await stream.conversation(first, "globex") is not None

        await until(all_there, "both tenants have a record")
        other = await stream.conversation(first, "globex")
        assert other is not None
        assert (other.message_count.inbound, other.first_sequence, other.opened_at) == (1, 3, None)
        contact = await stream.contact(anna)
        assert contact is not None
        assert (contact.open_conversation, [one.address for one in contact.addresses]) == (first, [PHONE])


async def test_what_waits_is_written_once_a_record(link: Link, stream: Stream) -> None:
    anna = uuid7()
    first = await stream.opened(anna)
    for _ in range(100):
        await stream.tell(received(), anna, first)
    async with projecting(link):

        async def all_there() -> bool:
            return await stream.counts([first]) == [101]

        await until(all_there, "all is counted")
        assert await stream.written() <= 6, "two records, and the first messages may come by themselves"
        before = await stream.written()
        await stream.tell(received(), anna, first)
        await until(lambda: _counted(stream, first, 102), "one more is counted")
        assert await stream.written() == before + 1, "the contact is nothing new"


async def _counted(stream: Stream, conversation: str, count: int) -> bool:
    return await stream.counts([conversation]) == [count]


async def test_what_is_no_event_or_names_no_token_is_skipped(link: Link, stream: Stream) -> None:
    prefix = link.settings.prefix
    await link.publish(f"{prefix}.v1.acme.events.message.received.sms._._", b"no JSON")
    await link.publish(f"{prefix}.v1.acme.events.nonsense", b"{}")
    foreign = Event(tenant="acme", data=ContactErased(contact_id="a.b\r\nPUB", method="command"))
    await link.publish(f"{prefix}.v1.acme.events.contact.erased._._._", foreign.encode())
    async with projecting(link):
        first = await stream.opened(uuid7())
        await until(lambda: _counted(stream, first, 1), "the next one is read")


async def test_the_tenant_is_the_subjects_whatever_the_body_says(link: Link, stream: Stream) -> None:
    conversation = uuid7()
    event = Event(tenant="globex", channel="sms", contactid=uuid7(), subject=conversation, data=received())
    subject = event.nats_subject(link.settings.prefix).replace("globex", "acme")
    await link.publish(subject, event.encode())
    async with projecting(link):
        await until(lambda: _counted(stream, conversation, 1), "it is acme's")
        assert await stream.conversation(conversation, "globex") is None


async def test_a_fault_over_one_event_stops_no_other(
    link: Link, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, broken = state.fold, await stream.opened(uuid7())

    def fold(event: Event, sequence: int, records: state.Records) -> dict[Key, state.Record]:
        if event.subject == broken:
            raise RuntimeError("a bug")
        return original(event, sequence, records)

    monkeypatch.setattr(projection_module, "fold", fold)
    async with projecting(link):
        first = await stream.opened(uuid7())
        await until(lambda: _counted(stream, first, 1), "the next one is read")
        assert await stream.conversation(broken) is None


async def test_another_replica_goes_on_where_one_was_stopped(link: Link, stream: Stream) -> None:
    ids = [await stream.opened(uuid7()) for _ in range(5)]
    async with linked(link.settings) as other, projecting(other):
        async with projecting(link):
            await until(lambda: _all(stream, ids, 1), "one of them reads")
        for id in ids:
            await stream.tell(received(), None, id)
        await until(lambda: _all(stream, ids, 2), "the other goes on")


async def _all(stream: Stream, ids: list[str], count: int) -> bool:
    return await stream.counts(ids) == [count] * len(ids)


async def test_a_replica_that_is_killed_before_it_acknowledges_leaves_nothing_counted_twice(
    link: Link, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has written its records, but never says so; the server keeps its pin for ten seconds."""
    monkeypatch.setattr(conftest, "WAIT_S", 60)
    ids = [await stream.opened(uuid7()) for _ in range(5)]
    doomed = await linked_projection(link)
    await until(lambda: _all(stream, ids, 1), "the first has written")
    async with linked(link.settings) as second, projecting(second):
        await doomed.aclose()
        for id in ids:
            await stream.tell(received(), None, id)
        await until(lambda: _all(stream, ids, 2), "the other took over")
        written = await stream.written()
        await asyncio.sleep(0.5)
        assert await stream.written() == written


class Doomed:
    """A replica whose acknowledgements never leave, and that goes without giving up its pin."""

    def __init__(self, link: Link, task: asyncio.Task[None]) -> None:
        self._link = link
        self._task = task

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._link.close()


async def linked_projection(link: Link) -> Doomed:
    mine = Link(link.settings, "doomed")
    await mine.connect()
    projection = await Projection.create(mine, Layout(mine.settings), mine.settings.prefix)
    send = mine.send

    async def lose(subject: str, payload: bytes = b"", *rest: object, **more: object) -> None:
        if payload != b"+ACK":
            await send(subject, payload, *rest, **more)  # type: ignore[arg-type]

    async def keep() -> None:
        """The pin, as a process that is killed does."""

    mine.send = lose  # type: ignore[method-assign]
    projection._consumer.release = keep  # type: ignore[method-assign]
    return Doomed(mine, asyncio.create_task(projection.run()))


async def test_a_write_of_somebody_else_is_read_and_folded_upon(link: Link, stream: Stream) -> None:
    """An old holder of the pin is behind: its write loses, or ours does, and nothing is lost."""
    anna = uuid7()
    async with projecting(link) as projection:
        first = await stream.opened(anna)
        await until(lambda: _counted(stream, first, 1), "it is in the cache")
        entry = await stream.conversations.get(f"acme.conversation.{first}")
        assert entry is not None
        theirs = msgspec.structs.replace(entry.value, channels=("sms", "voice"))
        await stream.conversations.update(f"acme.conversation.{first}", theirs, entry.revision)
        await stream.tell(received(), anna, first)
        await until(lambda: _counted(stream, first, 2), "it is counted upon their record")
        record = await stream.conversation(first)
        assert record is not None
        assert record.channels == ("sms", "voice")
        with pytest.raises(Conflict):
            await projection._records.write("acme", Key(CONVERSATION, first), record, entry.revision)


async def done(link: Link, stream: str, durable: str) -> bool:
    answer = await link.request(link.api(f"CONSUMER.INFO.{stream}.{durable}"))
    info = msgspec.json.decode(answer.data)
    return not info.get("num_pending", 1) and not info.get("num_ack_pending", 1)


async def test_two_that_both_believe_they_hold_the_pin_end_with_the_same_records(link: Link, stream: Stream) -> None:
    """As after a pause: each reads everything, and writes into the same bucket at once."""
    chance = random.Random(7)
    people, talks = [uuid7() for _ in range(3)], [uuid7() for _ in range(5)]
    events: list[Event] = []
    for _ in range(400):
        contact, other, talk = chance.choice(people), chance.choice(people), chance.choice(talks)
        data: EventData = received(f"tel:+44770090{chance.randrange(1000, 1005)}", contact)
        if chance.random() < 0.1 and contact != other:
            data = ContactMerged(from_id=other, into_id=contact, method="command")
        events.append(await stream.tell(data, contact, talk))
    async with linked(link.settings) as second:
        subject = f"{link.settings.prefix}.v1.*.events.>"
        consumers = [
            Consumer(one, stream.layout.events, durable, subject, in_order=True)
            for one, durable in ((link, "state"), (second, "other"))
        ]
        projections = []
        for one, consumer in zip((link, second), consumers, strict=True):
            await consumer.create()
            projections.append(Projection(consumer, Records(one, stream.layout.state), link.settings.prefix))
        tasks = [asyncio.create_task(projection.run()) for projection in projections]
        for durable in ("state", "other"):
            await until(functools.partial(done, link, stream.layout.events, durable), f"{durable} is through")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    wanted: dict[Key, state.Record] = {}
    for sequence, event in enumerate(events, 1):
        wanted |= state.fold(event, sequence, {key: wanted.get(key) for key in state.keys(event)})
    assert {id: await stream.conversation(id) for id in talks} == {id: wanted[Key(CONVERSATION, id)] for id in talks}
    assert {id: await stream.contact(id) for id in people} == {id: wanted[Key(CONTACT, id)] for id in people}


async def test_a_record_that_an_operator_deleted_is_made_anew(link: Link, stream: Stream) -> None:
    first = await stream.opened(uuid7())
    async with projecting(link):
        await until(lambda: _counted(stream, first, 1), "it is there")
        deletion = {"KV-Operation": "DEL"}
        await link.publish(f"$KV.{stream.layout.state}.acme.conversation.{first}", b"", deletion)
        await stream.tell(received(), None, first)
        await until(lambda: _counted(stream, first, 1), "it is there again, from now on")


async def test_while_nats_is_away_it_waits_and_then_goes_on(own_nats: NatsServer) -> None:
    async with linked(nats_settings(own_nats)) as link:
        await ensure(link, Layout(link.settings), create=True)
        stream = Stream(link)
        first = await stream.opened(uuid7())
        async with projecting(link):
            await until(lambda: _counted(stream, first, 1), "it reads")
            own_nats.kill()
            await until(lambda: not link.connected, "the loss is noticed")
            own_nats.restart()
            await until(lambda: link.connected, "NATS is back")
            for _ in range(20):
                await stream.tell(received(), None, first)
            await until(lambda: _counted(stream, first, 21), "it reads on")


async def test_what_can_not_be_stored_now_is_stored_later(
    link: Link, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, refused = Records.write, 0

    async def write(self: Records, *arguments: object) -> None:
        nonlocal refused
        refused += 1
        if refused <= 2:
            raise Unavailable("not now")
        await original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Records, "write", write)
    async with projecting(link):
        first = await stream.opened(uuid7())
        await until(lambda: _counted(stream, first, 1), "it is stored")


async def merged(stream: Stream) -> tuple[str, str, list[str]]:
    """Anna, whom Ben turned out to be, and their conversations; two of Ben's his record does not list any more."""
    anna, ben = uuid7(), uuid7()
    ids = [await stream.opened(anna)]
    previous = None
    for _ in range(52):
        previous = await stream.opened(ben, previous)
        ids.append(previous)
    await stream.tell(ContactMerged(from_id=ben, into_id=anna, method="command"), anna)
    return anna, ben, ids


async def test_of_an_erased_contact_only_tombstones_are_left_and_stay(link: Link, stream: Stream) -> None:
    anna, ben, ids = await merged(stream)
    group = await stream.opened(uuid7())
    await stream.tell(received(), anna, group)
    erased = await stream.tell(ContactErased(contact_id=anna, method="command"), anna)
    await stream.tell(received(), anna, ids[0])
    async with projecting(link):
        later = await stream.opened(uuid7())
        await until(lambda: _counted(stream, later, 1), "all is read")
        for id in ids:
            record = await stream.conversation(id)
            assert record is not None
            assert msgspec.to_builtins(record).keys() == {"id", "contact", "state"}
            assert record.state == "erased"
        for contact in (anna, ben):
            assert await stream.contact(contact) == ContactState(id=contact, erased_at=erased.time)
        other = await stream.conversation(group)
        assert other is not None
        assert other.state == "open", "a conversation of somebody else's is theirs"


async def test_an_erasure_that_was_broken_off_is_finished(
    link: Link, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben, ids = await merged(stream)
    original, left = Records.write, 0

    async def write(self: Records, tenant: str, key: Key, *arguments: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Unavailable("it is killed")
        await original(self, tenant, key, *arguments)  # type: ignore[arg-type]

    async with projecting(link):
        await until(lambda: _counted(stream, ids[-1], 1), "all is read")

        async def is_merged() -> bool:
            record = await stream.contact(ben)
            return record is not None and record.merged_into == anna

        await until(is_merged, "they are one")
    monkeypatch.setattr(Records, "write", write)
    at = now()
    for left in (3, 40, 7, 4, 1):  # noqa: B007  # read above
        with pytest.raises(Unavailable):
            await erase(Records(link, stream.layout.state), "acme", anna, at)
    left = 0
    await erase(Records(link, stream.layout.state), "acme", anna, at)
    records = [await stream.conversation(id) for id in ids]
    assert {record.state for record in records if record is not None} == {"erased"}
    assert [await stream.contact(id) for id in (anna, ben)] == [ContactState(id=id, erased_at=at) for id in (anna, ben)]


async def test_a_contact_that_nobody_knew_is_erased_all_the_same(link: Link, stream: Stream) -> None:
    records, at = Records(link, stream.layout.state), now()
    await erase(records, "acme", "nobody", at)
    assert await stream.contact("nobody") == ContactState(id="nobody", erased_at=at)
    held = (await records.load("acme", [Key(CONTACT, "nobody")]))[Key(CONTACT, "nobody")]
    await erase(records, "acme", "nobody", now())
    assert (await records.load("acme", [Key(CONTACT, "nobody")]))[Key(CONTACT, "nobody")] == held
