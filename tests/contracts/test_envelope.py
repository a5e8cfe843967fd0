"""Envelopes: what one writes another reads, what one does not know one survives, what is none fails in one way."""

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_contracts import (
    COMMANDS,
    CONTENT_TYPE,
    EVENTS,
    Command,
    ConsentChanged,
    ConversationOpened,
    Event,
    Message,
    MessageReceived,
    MessageSend,
    Party,
    Text,
    TypingChanged,
    TypingSet,
    Undecodable,
    Unknown,
    UnknownCommand,
    UnknownEvent,
    is_uuid,
    now,
    utc,
)
from sluiceway_contracts.subjects import InvalidSubject
from sluiceway_contracts.values import Timed

SAMPLES = Path(__file__).parents[2] / "contracts" / "samples"
RAW_SAMPLES = [file.read_bytes() for file in sorted(SAMPLES.glob("*/*.json"))]
RECEIVED = json.loads((SAMPLES / "events" / "message.received.json").read_bytes())
CONVERSATION = "019bbbc6-c3e2-792e-82e4-6aa12752135b"
CONTACT = "019bbbc6-c3de-786e-b17a-c27601eac234"
OPENED = ConversationOpened(conversation_id=CONVERSATION, contact_id=CONTACT, channel="sms", reason="inbound")
SEND = MessageSend(message_id=CONVERSATION, author=Party(role="bot"), parts=(Text(text="Hi"),))
TYPING = TypingSet(state="started")

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def received(**data: Any) -> bytes:
    """The sample with other fields in its message."""
    return json.dumps(RECEIVED | {"data": RECEIVED["data"] | {"message": RECEIVED["data"]["message"] | data}}).encode()


def message_of(event: Event) -> Message:
    assert isinstance(event.data, MessageReceived)
    return event.data.message


class TestWriting:
    def test_an_event_fills_in_what_follows_from_its_data(self) -> None:
        event = Event(tenant="acme", channel="sms", account="uk-sms", data=OPENED)
        assert (event.specversion, event.type) == ("1.0", "sluiceway.conversation.opened")
        assert event.source == "/acme/sms/uk-sms"
        assert is_uuid(event.id)
        assert event.time.tzinfo is datetime.UTC

    def test_an_event_of_no_account_says_so_in_its_source(self) -> None:
        assert Event(tenant="acme", data=OPENED).source == "/acme/_/_"

    def test_a_command_names_the_application_that_gives_it(self) -> None:
        assert Command(tenant="acme", data=SEND).source == "/acme/apps/_"
        assert Command(tenant="acme", source="/acme/apps/desk", data=SEND).source == "/acme/apps/desk"

    def test_what_is_absent_is_not_written(self) -> None:
        written = json.loads(Event(tenant="acme", data=OPENED).encode())
        assert set(written) == {"specversion", "id", "source", "type", "time", "tenant", "data"}

    def test_headers_let_the_stream_drop_what_it_has(self) -> None:
        event = Event(tenant="acme", data=OPENED)
        assert event.headers() == {"content-type": CONTENT_TYPE, "Nats-Msg-Id": f"acme:{event.id}"}

    def test_headers_carry_the_trace(self) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        assert Event(tenant="acme", traceparent=trace, data=OPENED).headers()["traceparent"] == trace


class TestSubject:
    def test_of_an_event_names_channel_contact_and_conversation(self) -> None:
        event = Event(tenant="acme", channel="sms", contactid=CONTACT, subject=CONVERSATION, data=OPENED)
        assert event.nats_subject() == (f"sluiceway.v1.acme.events.conversation.opened.sms.{CONTACT}.{CONVERSATION}")

    def test_of_typing_is_one_that_no_stream_keeps(self) -> None:
        event = Event(tenant="acme", data=TypingChanged(by=Party(role="customer"), state="started"))
        assert event.nats_subject(prefix="eu") == "eu.v1.acme.live.typing.changed._._._"

    def test_of_a_command_is_the_gateways_or_the_dispatchers(self) -> None:
        dispatched = Command(tenant="acme", subject=CONVERSATION, data=SEND)
        direct = Command(tenant="acme", channel="sms", account="uk-sms", data=SEND)
        assert dispatched.nats_subject() == f"sluiceway.v1.acme.commands.any.any.message.send.{CONVERSATION}"
        assert direct.nats_subject() == "sluiceway.v1.acme.commands.sms.uk-sms.message.send._"

    def test_of_a_live_command_is_one_that_no_stream_keeps(self) -> None:
        command = Command(tenant="acme", channel="sms", contactid=CONTACT, subject=CONVERSATION, data=TYPING)
        assert command.nats_subject() == f"sluiceway.v1.acme.live.typing.set.sms.{CONTACT}.{CONVERSATION}"
        command = Command(tenant="acme", subject=CONVERSATION, data=TYPING)
        assert command.nats_subject(prefix="eu") == f"eu.v1.acme.live.typing.set._._.{CONVERSATION}"

    def test_of_an_envelope_with_a_hostile_tenant_is_refused(self) -> None:
        event = Event.decode(json.dumps(RECEIVED | {"tenant": "acme.>"}).encode())
        with pytest.raises(InvalidSubject):
            event.nats_subject()


class TestTimes:
    def test_another_offset_becomes_z(self) -> None:
        event = Event.decode(json.dumps(RECEIVED | {"time": "2026-01-14T11:12:04.5+02:00"}).encode())
        assert event.time == datetime.datetime(2026, 1, 14, 9, 12, 4, 500000, tzinfo=datetime.UTC)
        assert json.loads(event.encode())["time"] == "2026-01-14T09:12:04.500000Z"

    def test_another_offset_inside_data_becomes_z_too(self) -> None:
        event = Event.decode(received(occurred_at="2026-01-14T11:12:04+02:00"))
        assert json.loads(event.encode())["data"]["message"]["occurred_at"] == "2026-01-14T09:12:04Z"

    def test_a_naive_datetime_is_refused(self) -> None:
        naive = datetime.datetime(2026, 1, 14)  # noqa: DTZ001 (naive is what this is about)
        with pytest.raises(ValueError, match="has no offset"):
            Event(tenant="acme", time=naive, data=OPENED)
        with pytest.raises(ValueError, match="has no offset"):
            utc(naive)

    def test_a_time_without_an_offset_is_undecodable(self) -> None:
        with pytest.raises(Undecodable):
            Event.decode(json.dumps(RECEIVED | {"time": "2026-01-14T11:12:04"}).encode())

    @pytest.mark.parametrize("time", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
    def test_a_time_that_utc_has_no_year_for_is_undecodable(self, time: str) -> None:
        with pytest.raises(Undecodable, match="out of range"):
            Event.decode(json.dumps(RECEIVED | {"time": time}).encode())
        with pytest.raises(Undecodable, match="out of range"):
            Event.decode(received(occurred_at=time))

    @given(st.datetimes(timezones=OFFSETS))
    def test_any_time_of_any_place_is_the_same_moment_in_utc(self, moment: datetime.datetime) -> None:
        try:
            event = Event(tenant="acme", time=moment, data=OPENED)
        except ValueError:  # out of range in UTC
            return
        assert event.time.tzinfo is datetime.UTC
        assert event.time == moment
        assert Event.decode(event.encode()) == event

    def test_now_is_in_utc(self) -> None:
        assert now().tzinfo is datetime.UTC


class TestTheUnknown:
    def test_an_unknown_field_is_ignored(self) -> None:
        raw = json.loads(received(mood="calm")) | {"shard": 4}
        assert Event.decode(json.dumps(raw).encode()) == Event.decode(json.dumps(RECEIVED).encode())

    def test_an_unknown_event_keeps_its_type_and_its_data(self) -> None:
        raw = RECEIVED | {"type": "sluiceway.note.added", "data": {"note": {"text": "VIP"}}}
        event = Event.decode(json.dumps(raw).encode())
        assert event.type == "sluiceway.note.added"
        assert event.data == UnknownEvent(raw={"note": {"text": "VIP"}})

    def test_an_unknown_command_keeps_its_type_and_its_data(self) -> None:
        command = Command.decode(json.dumps(RECEIVED | {"type": "sluiceway.control.take", "data": [1]}).encode())
        assert (command.type, command.data) == ("sluiceway.control.take", UnknownCommand(raw=[1]))

    def test_an_event_is_no_command(self) -> None:
        assert isinstance(Command.decode(json.dumps(RECEIVED).encode()).data, UnknownCommand)

    def test_an_unknown_part_becomes_unknown_with_all_that_it_said(self) -> None:
        later = {"type": "hologram", "id": "h", "fallback": "A kettle, in 3D", "depth": 3}
        message = message_of(Event.decode(received(parts=[{"type": "text", "text": "Look"}, later])))
        assert message.parts == (
            Text(text="Look"),
            Unknown(id="h", was="hologram", raw=later, fallback="A kettle, in 3D"),
        )

    def test_an_unknown_part_may_say_nothing_of_itself(self) -> None:
        message = message_of(Event.decode(received(parts=[{"type": "hologram", "id": 7}])))
        assert message.parts == (Unknown(was="hologram", raw={"type": "hologram", "id": 7}),)

    def test_an_unknown_part_survives_in_a_command(self) -> None:
        raw = json.loads(Command(tenant="acme", data=SEND).encode())
        raw["data"]["parts"] = [{"type": "hologram"}]
        data = Command.decode(json.dumps(raw).encode()).data
        assert isinstance(data, MessageSend)
        assert data.parts == (Unknown(was="hologram", raw={"type": "hologram"}),)

    @pytest.mark.parametrize(
        "parts",
        [[7], [{}], [{"type": 7}], [{"type": ["text"]}], [{"type": "text"}], {"type": "hologram"}, [[]], "text"],
    )
    def test_what_is_no_part_is_undecodable(self, parts: object) -> None:
        with pytest.raises(Undecodable) as refused:
            Event.decode(received(parts=parts))
        assert (refused.value.id, refused.value.type) == (RECEIVED["id"], RECEIVED["type"])

    @given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.text(max_size=8))
    def test_tomorrows_part_never_costs_the_message(self, part: dict[str, Any], type: str) -> None:
        message = message_of(Event.decode(received(parts=[part | {"type": f"later-{type}"}])))
        assert isinstance(message.parts[0], Unknown)
        assert message.parts[0].was == f"later-{type}"


class TestUndecodable:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b"{",
            b"\xff\xfe",
            b'{"id": "\xff"}',
            b'"\\ud800"',
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"tenant": "acme", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b"9" * 10_000,
            b'{"specversion": "1.0", "data": ' + b"9" * 10_000 + b"}",
        ],
        ids=lambda data: data[:20].decode("latin-1").encode("unicode_escape").decode(),
    )
    def test_garbage_is(self, data: bytes) -> None:
        for decode in (Event.decode, Command.decode):
            with pytest.raises(Undecodable) as refused:
                decode(data)
            assert (refused.value.id, refused.value.type) == (None, None)

    @pytest.mark.parametrize("value", [b"9" * 6000, b"[" * 100_000 + b"]" * 100_000])
    def test_what_is_too_large_or_too_deep_in_the_data_is(self, value: bytes) -> None:
        for type in ("sluiceway.message.received", "sluiceway.note.added"):
            raw = json.dumps(RECEIVED | {"type": type, "data": 0}).encode()
            with pytest.raises(Undecodable):
                Event.decode(raw[:-2] + value + b"}")

    def test_an_event_without_id_type_or_source_is(self) -> None:
        for name in ("id", "type", "source"):
            with pytest.raises(Undecodable, match=name):
                Event.decode(json.dumps(RECEIVED | {name: ""}).encode())

    def test_tells_the_id_and_type_where_they_can_be_read(self) -> None:
        with pytest.raises(Undecodable) as refused:
            Event.decode(b'{"id": "7", "type": "sluiceway.message.received"}')
        assert (refused.value.id, refused.value.type) == ("7", "sluiceway.message.received")

    def test_tells_no_id_or_type_that_is_no_text(self) -> None:
        with pytest.raises(Undecodable) as refused:
            Event.decode(b'{"id": 7, "type": ["a"]}')
        assert (refused.value.id, refused.value.type) == (None, None)

    @given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
    def test_is_all_that_any_bytes_raise(self, data: bytes) -> None:
        for decode in (Event.decode, Command.decode):
            with pytest.raises(Undecodable):
                decode(data)

    @given(st.sampled_from(RAW_SAMPLES), st.data())
    def test_is_all_that_a_damaged_sample_raises(self, raw: bytes, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 8))
        attempt(raw[:at] + data.draw(st.binary(max_size=8)) + raw[at + cut :])

    @given(st.sampled_from(RAW_SAMPLES), JSON, st.data())
    def test_is_all_that_a_sample_with_another_value_somewhere_raises(
        self, raw: bytes, value: Any, data: st.DataObject
    ) -> None:
        document = json.loads(raw)
        spot = document
        while True:
            key = data.draw(st.sampled_from(list(spot) if isinstance(spot, dict) else range(len(spot))))
            if not (isinstance(spot[key], dict | list) and spot[key] and data.draw(st.booleans())):
                break
            spot = spot[key]
        spot[key] = value
        attempt(json.dumps(document).encode())


def attempt(data: bytes) -> None:
    """Decode; what comes of it, if anything, is encoded again."""
    for decode in (Event.decode, Command.decode):
        try:
            envelope = decode(data)
        except Undecodable:
            continue
        assert envelope.id
        assert envelope.type


def test_what_is_unchangeable_stays_so() -> None:
    with pytest.raises(AttributeError):
        Event(tenant="acme", data=OPENED).tenant = "other"  # type: ignore[misc]  # the type checker refuses, too


def test_data_with_no_parts_and_a_wrong_field_is_not_rescued() -> None:
    raw = RECEIVED | {"type": ConsentChanged.type, "data": {"address": 7}}
    with pytest.raises(Undecodable, match="data"):
        Event.decode(json.dumps(raw).encode())


@pytest.mark.parametrize("struct", [*EVENTS.values(), *COMMANDS.values(), Message, Event, Command])
def test_every_structure_with_a_time_brings_it_to_utc(struct: type[msgspec.Struct]) -> None:
    has_times = any("datetime" in repr(field.type) for field in msgspec.structs.fields(struct))
    assert has_times == issubclass(struct, Timed)
