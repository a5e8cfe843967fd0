"""Messages to a conversation, without an account: which way they take, what they are given, what is refused and why."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway.accounts import Notice
from sluiceway.bus.store import Bucket
from sluiceway.routing import View
from sluiceway.survey import Survey
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import (
    Command,
    CommandFailed,
    ConsentChanged,
    ConsentSet,
    ConversationOpened,
    Event,
    MessageSend,
    Text,
    uuid7,
)
from sluiceway_contracts.values import now

from .twochannels import CUSTOMER, TwoChannels, two_channels


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[TwoChannels]:
    async with two_channels(tmp_path, shared_nats) as rig:
        yield rig


async def test_an_answer_goes_where_the_customer_last_wrote(rig: TwoChannels) -> None:
    where = await rig.customer()
    await rig.ask_to_send("By chat.", conversation_id=where)
    await rig.until_event("message.sent")
    await rig.text("I am on the train now")
    await rig.ask_to_send("By SMS.", conversation_id=where)
    await rig.until_event("message.sent", 2)
    assert rig.sent == [("chat", "By chat."), ("sms", "By SMS.")]


async def test_all_that_becomes_of_it_names_the_command(rig: TwoChannels) -> None:
    command = await rig.ask_to_send(conversation_id=await rig.customer())
    await rig.until_status(1, "delivered")
    told = [e for e in await rig.events() if e.type.startswith(("sluiceway.message.s", "sluiceway.command"))]
    assert {event.causationid for event in told} == {command.id}


@pytest.mark.parametrize("named", [{"channel": "sms"}, {"channel": "sms", "to": (f"tel:{CUSTOMER}",)}])
async def test_a_command_may_name_the_channel(rig: TwoChannels, named: dict[str, Any]) -> None:
    await rig.ask_to_send(conversation_id=await rig.customer(), **named)
    await rig.until_event("message.sent")
    assert rig.sent == [("sms", "On its way.")]


async def test_a_channel_that_the_customer_opted_out_of_is_not_taken_until_they_opt_in(rig: TwoChannels) -> None:
    where = await rig.customer()
    await said(rig, "revoked")
    await consents(rig, f"tel:{CUSTOMER}", {"chat"})
    await rig.ask_to_send("By SMS, then.", conversation_id=where)
    await rig.until_event("message.sent")
    assert rig.sent == [("sms", "By SMS, then.")]
    await said(rig, "granted")
    await consents(rig, f"tel:{CUSTOMER}", set())
    await rig.ask_to_send("By chat again.", conversation_id=where)
    await rig.until_event("message.sent", 2)
    assert rig.sent[1] == ("chat", "By chat again.")


async def said(rig: TwoChannels, state: str) -> None:
    """A customer's stop or start, as the gateway of the chat tells it."""
    data = ConsentChanged(address=f"tel:{CUSTOMER}", channel="chat", purpose="all", state=state, method="keyword")
    event = Event(tenant="acme", channel="chat", account="uk-chat", data=data)
    await rig.link.publish(event.nats_subject(rig.core.nats.prefix), event.encode(), event.headers())


async def consents(rig: TwoChannels, address: str, channels: set[str]) -> None:
    """Wait until the dispatcher knows on which channels an address opted out."""
    from sluiceway.consents import ConsentRecord, Consents

    from .conftest import until

    known = Consents(Bucket(rig.link, f"{rig.core.nats.names}_IDENTITY", ConsentRecord), rig.service._identity)

    async def so() -> bool:
        return await known.revoked("acme", address) == channels

    await until(so, f"{channels} are known to be closed")


async def test_where_nothing_is_open_it_fails_and_says_why_of_each_channel(rig: TwoChannels) -> None:
    where = await rig.customer()
    await set_consent(rig, "revoked", channel="sms")
    await rig.until_event("consent.changed")
    register = Bucket(rig.link, f"{rig.core.nats.names}_ACCOUNTS", Notice)
    entry = await register.get("acme.chat.uk-chat")
    assert entry is not None
    await register.put("acme.chat.uk-chat", entry.value.with_health("paused"))
    await rig.ask_to_send(conversation_id=where)
    failed = (await rig.failure()).data
    assert isinstance(failed, CommandFailed)
    assert failed.error.code == "no_channel"
    assert failed.error.message == (
        "no channel is open; chat uk-chat: the provider refuses its credentials; sms uk-sms: the address opted out"
    )
    assert rig.sent == []


async def set_consent(rig: TwoChannels, state: str, **fields: Any) -> Command:
    data = ConsentSet(address=f"tel:{CUSTOMER}", state=state, **fields)
    command = Command(tenant="acme", actorrole="agent", data=data)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
    return command


async def test_consent_that_is_set_by_command_is_told_for_every_channel_of_such_addresses(rig: TwoChannels) -> None:
    command = await set_consent(rig, "revoked")
    events = await rig.until_event("consent.changed", 2)
    told = [event.data for event in events]
    assert all(isinstance(said, ConsentChanged) for said in told)
    assert [(s.channel, s.state, s.method) for s in told if isinstance(s, ConsentChanged)] == [
        ("chat", "revoked", "command"),
        ("sms", "revoked", "command"),
    ]
    assert {event.causationid for event in events} == {command.id}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"state": "maybe"}, "invalid"),
        ({"state": "revoked", "channel": "a.b"}, "invalid"),
        ({"state": "revoked", "address": "tel:0"}, "invalid_address"),
        ({"state": "revoked", "address": "mailto:a@b.example"}, "unknown_channel"),
    ],
)
async def test_consent_that_can_not_be_set_fails_by_name(rig: TwoChannels, fields: dict[str, Any], code: str) -> None:
    data = ConsentSet(**({"address": f"tel:{CUSTOMER}"} | fields))
    command = Command(tenant="acme", data=data)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
    failed = (await rig.failure()).data
    assert isinstance(failed, CommandFailed)
    assert (failed.error.code, failed.command_id) == (code, command.id)


async def test_an_override_is_what_its_channel_is_given(rig: TwoChannels) -> None:
    where = await rig.customer()
    short = {"sms": {"parts": [{"type": "text", "text": "Short."}]}}
    await rig.ask_to_send("By chat, at length.", conversation_id=where, overrides=short)
    await rig.ask_to_send("At length.", conversation_id=where, channel="sms", overrides=short)
    await rig.until_event("message.sent", 2)
    assert sorted(rig.sent) == [("chat", "By chat, at length."), ("sms", "Short.")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"conversation_id": uuid7()}, "unknown_conversation"),
        ({"conversation_id": "x"}, "unknown_conversation"),
        ({"message_id": "7"}, "invalid"),
        ({"parts": (Text(text=" "),)}, "empty_message"),
        ({"attempt": 2}, "invalid"),
        ({"channel": "fax"}, "no_channel"),
        ({"to": ("tel:+447700900999",)}, "no_channel"),
        ({"to": ("tel:+447700900999", "tel:+447700900998")}, "too_many_recipients"),
        ({"to": ("tel:0",)}, "invalid_address"),
        ({"overrides": {"sms": {"parts": [{"type": "text"}]}}}, "invalid_override"),
        ({"overrides": {"sms": {"parts": []}}}, "invalid_override"),
        ({"overrides": {"sms": {"colour": "red"}}}, "invalid_override"),
        ({"fallback_channels": ("sms",), "fallback_after_ms": 10}, "invalid"),
        ({"not_before": now() + datetime.timedelta(days=9)}, "too_early"),
    ],
)
async def test_what_can_not_be_sent_fails_by_name(rig: TwoChannels, fields: dict[str, Any], code: str) -> None:
    where = await rig.customer()
    command = await rig.ask_to_send(**({"conversation_id": where} | fields))
    failed = (await rig.failure()).data
    assert isinstance(failed, CommandFailed)
    assert (failed.error.code, failed.command_id) == (code, command.id)
    assert rig.sent == []


async def test_a_message_to_an_address_goes_by_the_only_account_that_reaches_it(rig: TwoChannels) -> None:
    await rig.ask_to_send(to=("tel:+447700900777",), channel="chat")
    await rig.until_event("message.sent")
    (opened,) = await rig.events("conversation.opened")
    assert isinstance(opened.data, ConversationOpened)
    assert rig.sent == [("chat", "On its way.")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": ("tel:+447700900777",)}, "ambiguous_account"),
        ({"to": ("mailto:a@b.example",)}, "no_channel"),
        ({"to": ()}, "no_recipient"),
        ({"to": ("tel:+447700900777",), "channel": "chat", "fallback_channels": ("sms",)}, "no_conversation"),
    ],
)
async def test_an_address_that_no_single_account_reaches_fails_by_name(
    rig: TwoChannels, fields: dict[str, Any], code: str
) -> None:
    await rig.ask_to_send(**fields)
    failed = (await rig.failure()).data
    assert isinstance(failed, CommandFailed)
    assert failed.error.code == code


async def test_a_message_before_its_time_takes_the_way_that_is_best_when_it_is_due(rig: TwoChannels) -> None:
    where = await rig.customer()
    await rig.ask_to_send("Later.", conversation_id=where, not_before=now() + datetime.timedelta(seconds=2))
    await rig.text("I am on the train now")
    await rig.until_event("message.sent")
    assert rig.sent == [("sms", "Later.")]


async def test_a_command_that_comes_again_is_forwarded_and_sent_once(rig: TwoChannels) -> None:
    where = await rig.customer()
    await rig.ask_to_send("Once.", conversation_id=where)
    await rig.until_event("message.sent")
    await rig.text("I am on the train now")
    names = rig.core.nats.names
    await rig.link.request(rig.link.api(f"CONSUMER.DELETE.{names}_COMMANDS.dispatcher"))
    await rig.ask_to_send("After.", conversation_id=where)
    await rig.until_event("message.sent", 2)
    assert rig.sent == [("chat", "Once."), ("sms", "After.")]


async def test_a_message_that_the_dispatcher_breaks_over_is_told_as_failed_and_never_sent(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, broken = Survey.of, [True]

    async def of(self: Survey, tenant: str, talk: Any) -> View:
        if broken:
            broken.clear()
            raise RuntimeError("a fault of ours")
        return await original(self, tenant, talk)

    monkeypatch.setattr(Survey, "of", of)
    where = await rig.customer()
    await rig.ask_to_send("Never.", conversation_id=where)
    failed = (await rig.failure()).data
    assert isinstance(failed, CommandFailed)
    assert failed.error.code == "internal"
    names = rig.core.nats.names
    await rig.link.request(rig.link.api(f"CONSUMER.DELETE.{names}_COMMANDS.dispatcher"))
    await rig.ask_to_send("After.", conversation_id=where)
    await rig.until_event("message.sent")
    assert rig.sent == [("chat", "After.")]


async def test_what_was_told_as_failed_is_not_sent_when_a_channel_opens(rig: TwoChannels) -> None:
    where = await rig.customer()
    await set_consent(rig, "revoked")
    await rig.until_event("consent.changed", 2)
    await rig.ask_to_send("Never.", conversation_id=where)
    await rig.failure()
    await set_consent(rig, "granted")
    await rig.until_event("consent.changed", 4)
    names = rig.core.nats.names
    await rig.link.request(rig.link.api(f"CONSUMER.DELETE.{names}_COMMANDS.dispatcher"))
    await rig.ask_to_send("After.", conversation_id=where)
    await rig.until_event("message.sent")
    assert rig.sent == [("chat", "After.")]
    assert len(await rig.events("command.failed")) == 1


async def test_a_routed_message_costs_one_more_stored_command_and_nothing_else(rig: TwoChannels) -> None:
    where = await rig.customer()
    await rig.ask_to_send(conversation_id=where)
    await rig.until_status(1, "delivered")
    assert len(await rig.stream("COMMANDS")) == 2
    ((_, data),) = [entry for entry in await rig.stream("COMMANDS") if ".chat." in entry[0]]
    forwarded = Command.decode(data)
    assert isinstance(forwarded.data, MessageSend)
    assert forwarded.data == msgspec.structs.replace(
        forwarded.data, fallback_channels=(), overrides={}, not_before=None, attempt=None
    )
    assert (forwarded.channel, forwarded.account, forwarded.data.to) == ("chat", "uk-chat", (f"tel:{CUSTOMER}",))
