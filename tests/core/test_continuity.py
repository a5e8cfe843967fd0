"""Whose an address is and where it speaks, decided by several processes at once on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from nats.aio.msg import Msg

from sluiceway import directory as module
from sluiceway.bus.link import TIMEOUT_S, Link
from sluiceway.bus.reader import Reader
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Conversations, Nats
from sluiceway.contacts import AddressRecord, Change, ContactRecord, ConversationRecord, Known, Reach, begun
from sluiceway.continuity import Continuity, Place, Talk
from sluiceway.errors import ConfigError
from sluiceway.identity import Identity
from sluiceway.stream import EventStream
from sluiceway.testing.nats import NatsServer
from sluiceway.windows import Windows
from sluiceway_contracts import ConversationOpened, Event, uuid7
from sluiceway_contracts.values import now

from .conftest import linked, nats_settings, until

IDENTITY = Identity(b"an identity key for tests only")
WINDOWS = Windows(Conversations())
ANN = Reach(address="tel:+447700900456", channel="sms", account="uk-sms")
KEY = IDENTITY.address_key(ANN.address)
PROVEN = Known(ANN.address, "channel", "message", now())


class Counted(Link):
    """Counts requests, and how many of them had to wait for an earlier one."""

    def __init__(self, settings: Nats) -> None:
        super().__init__(settings, "test")
        self.requests = 0
        self.round_trips = 0

    async def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> Msg:
        self.requests += 1
        mine = self.round_trips + 1
        try:
            return await super().request(subject, payload, headers, timeout_s)
        finally:
            self.round_trips = max(self.round_trips, mine)


class Process:
    """One process's continuity, on its own connection."""

    def __init__(self, link: Link, identity: Identity = IDENTITY) -> None:
        self.link = link
        stream = EventStream(link, link.settings.prefix)
        self.continuity = Continuity(link, Layout(link.settings).identity, identity, stream, WINDOWS)

    async def resolve(self, reach: Reach = ANN, tenant: str = "acme") -> Place:
        return await self.continuity.resolve(tenant, reach, "inbound")


@asynccontextmanager
async def processes(settings: Nats, count: int) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        made = [Process(await stack.enter_async_context(linked(settings))) for _ in range(count)]
        following = [asyncio.create_task(process.continuity.directory.follow()) for process in made]
        try:
            yield made
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)


@pytest.fixture
async def counted(link: Link, layout: Layout) -> AsyncIterator[Counted]:
    counted = Counted(link.settings)
    await counted.connect()
    yield counted
    await counted.close()


async def opened(link: Link) -> list[ConversationOpened]:
    """What the stream says of conversations."""
    reader = Reader(link, Layout(link.settings).events)
    stored = reader.messages(f"{link.settings.prefix}.v1.*.events.conversation.opened.>", "all", follow=False)
    events = [Event.decode(message.data).data async for message in stored]
    return [data for data in events if isinstance(data, ConversationOpened)]


@pytest.mark.usefixtures("layout")
async def test_eight_processes_that_meet_an_address_at_once_agree_and_announce_it_once(link: Link) -> None:
    async with processes(link.settings, 8) as eight:
        for number in range(10):
            reach = msgspec.structs.replace(ANN, address=f"tel:+4477009004{number:02}")
            places = await asyncio.gather(*(process.resolve(reach) for process in eight))
            assert len({(place.contact, place.conversation) for place in places}) == 1
            assert sum(place.is_new for place in places) <= 1
            assert {place.resolved_by for place in places} <= {"new", "open"}
            assert len(await opened(link)) == number + 1


@pytest.mark.usefixtures("layout")
async def test_an_address_that_is_known_opens_nothing(link: Link) -> None:
    async with processes(link.settings, 2) as (one, other):
        first = await one.resolve()
        for process in (one, other, other):
            again = await process.resolve()
            assert (again.contact, again.conversation) == (first.contact, first.conversation)
            assert (again.is_new, again.resolved_by) == (False, "open")
    assert (first.is_new, first.resolved_by) == (True, "new")
    (told,) = await opened(link)
    assert (told.conversation_id, told.contact_id, told.channel, told.reason) == (
        first.conversation,
        first.contact,
        "sms",
        "inbound",
    )


@pytest.mark.usefixtures("layout")
async def test_another_account_reaches_the_same_contact_and_is_remembered(link: Link) -> None:
    german = msgspec.structs.replace(ANN, account="de-sms")
    async with processes(link.settings, 2) as (one, other):
        first = await one.resolve()
        assert (await other.resolve(german)).conversation == first.conversation
        wanted = Talk(first.contact, first.conversation, (ANN, german))

        async def heard_of() -> bool:
            return await one.continuity.find("acme", first.conversation) == wanted

        await until(heard_of, "the first process knows of the second account")


@pytest.mark.usefixtures("layout")
async def test_accounts_that_are_met_at_once_are_all_remembered(link: Link) -> None:
    reaches = [msgspec.structs.replace(ANN, account=f"sms-{n}") for n in range(6)]
    async with processes(link.settings, 6) as six:
        places = await asyncio.gather(*(process.resolve(reach) for process, reach in zip(six, reaches, strict=True)))
        (conversation,) = {place.conversation for place in places}

        async def all_known() -> bool:
            found = await six[0].continuity.find("acme", conversation)
            return found is not None and {*found.reaches} == {*reaches}

        await until(all_known, "the first process knows of all accounts")


@pytest.mark.usefixtures("layout")
async def test_one_person_at_two_tenants_is_two_contacts(link: Link) -> None:
    one = Process(link)
    places = [await one.resolve(tenant=tenant) for tenant in ("acme", "globex")]
    assert len({place.contact for place in places}) == 2
    assert await one.continuity.find("globex", places[0].conversation) is None


async def test_a_conversation_without_its_contact_is_not_found(link: Link, layout: Layout) -> None:
    await Bucket(link, layout.identity, ConversationRecord).create("acme.v.x", ConversationRecord("nobody"))
    assert await Process(link).continuity.find("acme", "x") is None


@pytest.mark.parametrize("crash", ["after the address", "after the contact", "after the event"])
async def test_what_a_crash_left_half_done_is_finished_by_the_next_and_announced_once(
    link: Link, layout: Layout, crash: str
) -> None:
    contact = uuid7()
    await Bucket(link, layout.identity, AddressRecord).create(f"acme.a.{KEY}", AddressRecord(contact))
    record = begun(Change("acme", contact, now(), "sms", "uk-sms"), ANN, PROVEN, "inbound")
    if crash != "after the address":
        await Bucket(link, layout.identity, ContactRecord).create(f"acme.c.{contact}", record)
    if crash == "after the event":
        await EventStream(link, link.settings.prefix).publish(Event.decode(bytes(record.untold[0])))
    async with processes(link.settings, 2) as two:
        places = await asyncio.gather(*(process.resolve() for process in two))
        places.append(await two[0].resolve())
    assert {place.contact for place in places} == {contact}
    (agreed,) = {place.conversation for place in places}
    assert agreed == record.conversation or crash == "after the address"
    assert [(data.conversation_id, data.contact_id) for data in await opened(link)] == [(agreed, contact)]


async def test_an_address_whose_key_was_deleted_by_hand_is_a_new_contacts(link: Link, layout: Layout) -> None:
    first = await Process(link).resolve()
    await link.publish(f"$KV.{layout.identity}.acme.a.{KEY}", b"", {"KV-Operation": "DEL"})
    assert (await Process(link).resolve()).contact != first.contact


@pytest.mark.usefixtures("layout")
async def test_the_first_key_is_kept_and_another_is_refused(link: Link) -> None:
    for _ in range(2):
        await Process(link).continuity.check_key()
    with pytest.raises(ConfigError, match=r"identity\.key: is not the key that this NATS's contacts were made with"):
        await Process(link, Identity(b"another key, also long enough")).continuity.check_key()


@pytest.mark.usefixtures("layout")
async def test_of_two_first_keys_at_once_one_is_refused(link: Link) -> None:
    identities = [IDENTITY, Identity(b"another key, also long enough")]
    checks = [Process(link, identity).continuity.check_key() for identity in identities]
    outcomes = await asyncio.gather(*checks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [ConfigError]


async def test_a_new_contact_takes_at_most_four_round_trips(counted: Counted) -> None:
    await Process(counted).resolve()
    assert counted.requests == 7
    assert counted.round_trips <= 4


async def test_a_contact_whose_last_message_came_here_takes_none(counted: Counted) -> None:
    process = Process(counted)
    await process.resolve()
    before = counted.requests
    for _ in range(100):
        await process.resolve()
    assert counted.requests == before


async def test_a_contact_that_another_process_knows_takes_at_most_three(link: Link, counted: Counted) -> None:
    await Process(link).resolve()
    await Process(counted).resolve()
    assert counted.requests <= 4
    assert counted.round_trips <= 4


async def test_who_was_not_heard_for_longest_is_forgotten_first(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 2)
    process = Process(counted)
    ann, bob, eve = (msgspec.structs.replace(ANN, address=f"tel:+44770090010{n}") for n in range(3))
    for reach in (ann, bob, ann, eve):
        await process.resolve(reach)
    before = counted.requests
    await process.resolve(ann)
    assert counted.requests == before
    await process.resolve(bob)
    assert counted.requests > before


async def test_after_a_lost_connection_nothing_remembered_is_trusted(own_nats: NatsServer) -> None:
    counted = Counted(nats_settings(own_nats))
    await counted.connect()
    await ensure(counted, Layout(counted.settings), create=True)
    process = Process(counted)
    first = await process.resolve()
    back = asyncio.Event()
    counted.on_reconnect.append(back.set)
    own_nats.kill()
    own_nats.restart()
    await until(back.is_set, "NATS is back")
    before = counted.requests
    again = await process.resolve()
    assert counted.requests > before
    assert (again.contact, again.conversation, again.is_new) == (first.contact, first.conversation, False)
    await counted.close()
