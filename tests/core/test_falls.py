"""What tells the dispatcher that an attempt failed, and what becomes of what nobody serves or can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway.bus.store import Bucket
from sluiceway.consents import ConsentRecord, Consents
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import (
    Command,
    CommandFailed,
    ConsentChanged,
    Event,
    MessageSend,
    MessageStatus,
    Party,
    Piece,
    Text,
    uuid7,
)

from .conftest import linked, until
from .twochannels import TwoChannels, two_channels


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[TwoChannels]:
    async with two_channels(tmp_path, shared_nats) as rig:
        yield rig


async def test_an_attempt_for_an_account_that_nobody_serves_is_told_as_rejected_and_not_as_a_failed_command(
    rig: TwoChannels,
) -> None:
    data = MessageSend(
        message_id=uuid7(),
        author=Party(role="agent"),
        parts=(Text(text="Hello"),),
        to=("tel:+447700900777",),
        attempt=2,
    )
    command = Command(tenant="acme", channel="sms", account="gone", data=data)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
    (told,) = await rig.until_event("message.status")
    assert isinstance(told.data, MessageStatus)
    assert (told.data.status, told.data.attempt, told.causationid) == ("rejected", 2, command.id)
    assert told.data.pieces[0].error is not None
    assert told.data.pieces[0].error.code == "unknown_account"
    assert await rig.events("command.failed") == []


async def test_an_account_without_its_channel_fails_by_name(rig: TwoChannels) -> None:
    data = MessageSend(message_id=uuid7(), author=Party(role="agent"), parts=(Text(text="Hello"),))
    command = Command(tenant="acme", account="uk-sms", data=data)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
    failed = (await rig.failure()).data
    assert isinstance(failed, CommandFailed)
    assert failed.error.code == "unknown_account"
    assert "name the channel" in failed.error.message


async def test_failures_of_messages_that_fall_nowhere_and_garbage_bring_no_command_again(rig: TwoChannels) -> None:
    where = await rig.customer()
    await rig.ask_to_send(conversation_id=where)
    await rig.until_status(1, "delivered")
    before = len(await rig.stream("COMMANDS"))
    data = MessageStatus(
        message_id=uuid7(), status="failed", overall="failed", pieces=(Piece(index=1, of=1, status="failed"),)
    )
    event = Event(tenant="acme", channel="sms", account="uk-sms", subject=where, data=data)
    await rig.link.publish(event.nats_subject(rig.core.nats.prefix), event.encode(), event.headers())
    for garbage in (b'"overall":"failed"', b'{"overall":"failed"}'):
        await rig.link.publish(f"{rig.core.nats.prefix}.v1.acme.events.message.status.sms._._", garbage)
    await asyncio.sleep(0.3)
    assert len(await rig.stream("COMMANDS")) == before
    assert not rig.link.closed.is_set()


async def test_consent_that_can_not_be_read_keeps_nobody_from_what_comes_after_it(rig: TwoChannels) -> None:
    start = f"{rig.core.nats.prefix}.v1.acme.events.consent.changed"
    await rig.link.publish(f"{start}.sms._._", b"garbage")
    await rig.link.publish(f"{start}.sms", b"garbage")
    said = ConsentChanged(address="tel:+447700900777", channel="sms", purpose="all", state="revoked", method="keyword")
    event = Event(tenant="acme", channel="sms", account="uk-sms", data=said)
    await rig.link.publish(event.nats_subject(rig.core.nats.prefix), event.encode(), event.headers())
    known = Consents(Bucket(rig.link, f"{rig.core.nats.names}_IDENTITY", ConsentRecord), rig.service._identity)

    async def noted() -> bool:
        return await known.revoked("acme", "tel:+447700900777") == {"sms"}

    await until(noted, "it is noted")


async def test_a_clean_stop_gives_up_all_that_the_dispatcher_had(tmp_path: Path, own_nats: NatsServer) -> None:
    async with two_channels(tmp_path, own_nats) as rig:
        await rig.ask_to_send(conversation_id=await rig.customer())
        await rig.until_status(1, "delivered")
        await rig.ask_to_send(to=("tel:+15005550004",), channel="sms", account="uk-sms")
        await rig.until_event("consent.changed")
        names = rig.core.nats.names
        durables = (f"{names}_COMMANDS.dispatcher", f"{names}_COMMANDS.unserved", f"{names}_EVENTS.consents")

        async def pinned() -> list[bool]:
            async with linked(rig.core.nats) as link:
                answers = [await link.request(link.api(f"CONSUMER.INFO.{name}")) for name in durables]
            groups = [msgspec.json.decode(answer.data)["priority_groups"] for answer in answers]
            return [bool(group[0].get("pinned_client_id")) for group in groups]

        async def all_pinned() -> bool:
            return all(await pinned())

        await until(all_pinned, "it has all")
        await rig.service.stop()
        assert await pinned() == [False, False, False]


async def test_a_failure_whose_command_the_stream_has_no_more_waits_for_its_time(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.bus.consumer.Delivery.sequence", 10**6)
    fields: dict[str, Any] = {"fallback_channels": ("sms",), "fallback_after_ms": 2000}
    await rig.ask_to_send(conversation_id=await rig.customer("+15005553003"), **fields)
    await rig.until_status(2, "failed")
    assert [channel for channel, _ in rig.sent] == ["chat", "sms"]
