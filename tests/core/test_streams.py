"""Streams and buckets: made as the contract says, left alone where they are, refused where they are wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from sluiceway import stream as stream_module
from sluiceway.bus.link import Link
from sluiceway.bus.streams import DAY_S, Layout, StreamsError, ensure, exists
from sluiceway.config import Nats
from sluiceway.errors import Unavailable
from sluiceway.identity import Identity
from sluiceway.parking import Parcel, Parking
from sluiceway.stream import EventStream
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import ConversationOpened, Error, Event, uuid7

from .conftest import linked, until


async def call(link: Link, what: str, body: object = None) -> dict[str, Any]:
    answer = await link.request(link.api(what), msgspec.json.encode(body) if body else b"")
    return msgspec.json.decode(answer.data, type=dict[str, Any])


async def config_of(link: Link, name: str) -> dict[str, Any]:
    config: dict[str, Any] = (await call(link, f"STREAM.INFO.{name}"))["config"]
    return config


@pytest.mark.parametrize(
    ("room", "days", "window_s"), [("events", 30, DAY_S), ("commands", 7, DAY_S), ("dead", 30, DAY_S)]
)
async def test_streams_are_as_the_contract_says(
    link: Link, layout: Layout, room: str, days: int, window_s: int
) -> None:
    config = await config_of(link, getattr(layout, room))
    assert config["subjects"] == [f"{link.settings.prefix}.v1.*.{room}.>"]
    assert (config["retention"], config["discard"], config["storage"]) == ("limits", "new", "file")
    assert config["max_age"] == days * DAY_S * 10**9
    assert config["duplicate_window"] == window_s * 10**9


@pytest.mark.parametrize(("room", "days"), [("identity", 0), ("state", 0), ("messages", 30), ("accounts", 1)])
async def test_buckets_keep_the_last_of_each_key(link: Link, layout: Layout, room: str, days: int) -> None:
    config = await config_of(link, f"KV_{getattr(layout, room)}")
    assert config["subjects"] == [f"$KV.{getattr(layout, room)}.>"]
    assert (config["max_msgs_per_subject"], config["max_age"]) == (1, days * DAY_S * 10**9)


async def test_names_begin_as_configured(layout: Layout, link: Link) -> None:
    names = {name.removeprefix("KV_") for name in layout.configs}
    assert names == {f"{link.settings.names}_{x}" for x in ROOMS}


async def test_what_is_there_is_left_alone(link: Link, layout: Layout) -> None:
    wider = layout.configs[layout.events] | {"max_age": 365 * DAY_S * 10**9, "max_msgs": 1000}
    await call(link, f"STREAM.UPDATE.{layout.events}", wider)
    await link.publish(f"{link.settings.prefix}.v1.acme.events.x", b"kept")
    before = await call(link, f"STREAM.INFO.{layout.events}")
    for create in (True, False):
        await ensure(link, layout, create=create)
    after = await call(link, f"STREAM.INFO.{layout.events}")
    assert after["config"] == before["config"]
    assert after["state"]["messages"] == 1


ROOMS = ("EVENTS", "SCHEDULED", "COMMANDS", "DEAD", "FETCHES", "IDENTITY", "MESSAGES", "STATE", "ACCOUNTS")
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "subjects": ({"subjects": ["elsewhere.>"]}, r"has subjects=\['elsewhere\.>'\], but must have .*; alter it"),
    "discard": ({"discard": "old"}, "has discard=old, but must have new; alter it"),
    "retention": ({"retention": "workqueue"}, "has retention=workqueue, but must have limits; alter it"),
    "storage": ({"storage": "memory"}, "has storage=memory, but must have file; alter it"),
    "window": ({"duplicate_window": 120 * 10**9}, "forgets duplicates too early; set its duplicate window to 24 h"),
}


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("wrong", WRONG)
async def test_a_stream_that_is_not_as_it_must_be_is_refused_with_the_remedy(
    link: Link, wrong: str, create: bool
) -> None:
    layout = Layout(link.settings)
    changes, remedy = WRONG[wrong]
    if wrong == "subjects":
        changes = {"subjects": [f"elsewhere{link.settings.prefix}.>"]}
        remedy = "but must have .*; alter it"
    answer = await call(link, f"STREAM.CREATE.{layout.events}", layout.configs[layout.events] | changes)
    assert "error" not in answer
    with pytest.raises(StreamsError, match=f"the stream {layout.events} .*{remedy}"):
        await ensure(link, layout, create=create)


async def test_a_bucket_with_history_is_refused(link: Link) -> None:
    layout = Layout(link.settings)
    name = f"KV_{layout.identity}"
    await call(link, f"STREAM.CREATE.{name}", layout.configs[name] | {"max_msgs_per_subject": 5})
    with pytest.raises(StreamsError, match=f"{name} has max_msgs_per_subject=5, but must have 1"):
        await ensure(link, layout, create=True)


async def test_checking_names_the_first_that_is_missing_and_makes_nothing(link: Link) -> None:
    layout = Layout(link.settings)
    remedy = f"the stream {layout.events} is missing; create it, or set nats.streams to create"
    with pytest.raises(StreamsError, match=remedy):
        await ensure(link, layout, create=False)
    assert [name for name, wanted in layout.configs.items() if await exists(link, name, wanted)] == []


async def test_checking_passes_where_everything_is_there(link: Link, layout: Layout) -> None:
    await ensure(link, layout, create=False)
    assert all([await exists(link, name, wanted) for name, wanted in layout.configs.items()])


async def test_a_stream_that_cannot_be_made_says_why(link: Link, layout: Layout) -> None:
    taken = Layout(msgspec.structs.replace(link.settings, names=f"{link.settings.names}b"))
    with pytest.raises(StreamsError, match=f"the stream {taken.events} can't be created: subjects overlap"):
        await ensure(link, taken, create=True)


async def test_a_nats_without_jetstream_is_unavailable(link: Link) -> None:
    elsewhere = Link(msgspec.structs.replace(link.settings, domain="nowhere"), "test")
    await elsewhere.connect()
    with pytest.raises(Unavailable, match=r"this NATS has no JetStream in the domain nowhere; set nats\.domain"):
        await ensure(elsewhere, Layout(elsewhere.settings), create=True)
    await elsewhere.close()


async def test_a_full_stream_takes_no_event(link: Link, layout: Layout) -> None:
    full = layout.configs[layout.events] | {"max_msgs": 1}
    assert "error" not in await call(link, f"STREAM.UPDATE.{layout.events}", full)
    stream = EventStream(link, link.settings.prefix)

    def opened() -> Event:
        conversation, contact = uuid7(), uuid7()
        data = ConversationOpened(conversation_id=conversation, contact_id=contact, channel="sms", reason="inbound")
        return Event(tenant="acme", channel="sms", contactid=contact, subject=conversation, data=data)

    first = opened()
    assert (await stream.publish(first)).seq == 1
    with pytest.raises(Unavailable, match="the stream refuses: maximum messages exceeded"):
        await stream.publish(opened())
    assert (await stream.publish(first)).duplicate


async def test_a_full_stream_of_dead_letters_is_unavailable(link: Link, layout: Layout) -> None:
    full = layout.configs[layout.dead] | {"max_msgs": 1}
    assert "error" not in await call(link, f"STREAM.UPDATE.{layout.dead}", full)
    stream = EventStream(link, link.settings.prefix)
    parking = Parking(link, link.settings.prefix, Identity(b"an identity key for tests only"), stream)
    parcel = Parcel(tenant="acme", channel="sms", connection="uk", raw=b"1", content_type="text/pläin\r\nx: y")
    await parking.park(parcel, Error(code="unreadable", message="why"))
    with pytest.raises(Unavailable, match="the stream of dead letters refuses: maximum messages exceeded"):
        await parking.park(msgspec.structs.replace(parcel, raw=b"2"), Error(code="unreadable", message="why"))


def an_event() -> Event:
    conversation, contact = uuid7(), uuid7()
    data = ConversationOpened(conversation_id=conversation, contact_id=contact, channel="sms", reason="inbound")
    return Event(tenant="acme", channel="sms", contactid=contact, subject=conversation, data=data)


async def test_an_event_whose_acknowledgement_got_lost_is_published_again_and_stored_once(
    link: Link, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, lost = Link.publish, 0

    async def publish(self: Link, *args: Any) -> Any:
        nonlocal lost
        ack = await original(self, *args)
        if lost < 2:
            lost += 1
            raise Unavailable("the answer got lost")
        return ack

    monkeypatch.setattr(stream_module, "PUBLISH_BUDGET_S", 60)
    monkeypatch.setattr(Link, "publish", publish)
    ack = await EventStream(link, link.settings.prefix).publish(an_event())
    assert (ack.seq, ack.duplicate, lost) == (1, True, 2)


async def test_an_event_waits_for_a_nats_that_comes_back_in_time(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "PUBLISH_BUDGET_S", 60)
    async with linked(Nats(url=own_nats.url)) as link:
        layout = Layout(link.settings)
        await ensure(link, layout, create=True)
        stream, event = EventStream(link, link.settings.prefix), an_event()
        own_nats.kill()
        publishing = asyncio.create_task(stream.publish(event))
        await until(lambda: not link.connected, "the loss is noticed")
        assert not publishing.done()
        own_nats.restart()
        assert (await publishing).seq == 1


async def test_an_event_is_given_up_when_its_time_is_over(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, original = 0, Link.publish

    async def publish(self: Link, *args: Any) -> Any:
        nonlocal tries
        tries += 1
        return await original(self, *args)

    monkeypatch.setattr(Link, "publish", publish)
    async with linked(Nats(url=own_nats.url)) as link:
        own_nats.kill()
        await until(lambda: not link.connected, "the loss is noticed")
        with pytest.raises(Unavailable, match="the connection to NATS is down"):
            await EventStream(link, link.settings.prefix).publish(an_event())
    assert tries == 1, "it waits for the connection, and does not spin"
