"""Messages that fall back to another channel: when, to which, and that no answer is read twice as two."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway.bus.store import Bucket
from sluiceway.errors import Unavailable
from sluiceway.forwarding import Forwarding
from sluiceway.gateway import Receipt
from sluiceway.ladder import RouteRecord
from sluiceway.ledger import Ledger
from sluiceway.outbound import AccountSender
from sluiceway.testing.nats import NatsServer
from sluiceway.wire import Response
from sluiceway_contracts import Command, CommandFailed, MessageReceived, MessageSend, MessageSent, MessageStatus
from sluiceway_contracts.values import now

from .conftest import until
from .twochannels import TwoChannels, two_channels

SOON: dict[str, Any] = {"fallback_channels": ("sms",), "fallback_after_ms": 1000}
LATE: dict[str, Any] = {"fallback_channels": ("sms",), "fallback_after_ms": 600_000}
UNREACHABLE = "+15005553003"


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[TwoChannels]:
    async with two_channels(tmp_path, shared_nats) as rig:
        yield rig


def silent(rig: TwoChannels, monkeypatch: pytest.MonkeyPatch, channel: str = "chat") -> None:
    """What goes out on this channel is taken, and nothing more is heard of it."""
    original = rig.provider.answer

    async def answer(request: Any) -> Response:
        if (request.form["From"] == "+447700900124") == (channel == "chat"):
            return rig.takes_and_is_silent(request)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)


def message_id(command: Command) -> str:
    assert isinstance(command.data, MessageSend)
    return command.data.message_id


def ledger(rig: TwoChannels) -> Ledger:
    return Ledger(rig.link, f"{rig.core.nats.names}_MESSAGES", rig.service._identity, f"{rig.core.nats.names}_IDENTITY")


async def test_what_is_not_delivered_in_time_goes_out_on_the_next_channel_and_the_first_is_superseded(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(rig, monkeypatch)
    where = await rig.customer()
    command = await rig.ask_to_send("Your parcel.", conversation_id=where, **SOON)
    await rig.until_status(2, "delivered")
    assert rig.sent == [("chat", "Your parcel."), ("sms", "Your parcel.")]
    statuses = await rig.statuses()
    assert statuses[0] == (1, "superseded")
    assert [status for attempt, status in statuses if attempt == 2] == ["queued", "sent", "delivered"]
    told = [event for event in await rig.events() if isinstance(event.data, (MessageSent, MessageStatus))]
    assert {event.causationid for event in told} == {command.id}
    assert {event.subject for event in told} == {where}
    sent = [event.data for event in told if isinstance(event.data, MessageSent)]
    assert [(data.message.id, data.attempt) for data in sent] == [(message_id(command), 1), (message_id(command), 2)]


async def test_what_is_delivered_in_time_goes_out_once(rig: TwoChannels) -> None:
    await rig.ask_to_send(conversation_id=await rig.customer(), **SOON)
    await rig.until_status(1, "delivered")

    async def came_again() -> bool:
        return len([1 for subject, _ in await rig.stream("COMMANDS") if ".any.any." in subject]) == 2

    await until(came_again, "its time is up")
    await asyncio.sleep(0.3)
    assert rig.sent == [("chat", "On its way.")]


async def test_a_late_delivery_of_what_was_superseded_is_not_told(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(rig, monkeypatch)
    command = await rig.ask_to_send(conversation_id=await rig.customer(), **SOON)
    await rig.until_status(2, "delivered")
    external = (await rig.record(command)).pieces[0].external_id or ""
    late = Receipt(at="", key="late", external_id=external, status="delivered")
    applied = await ledger(rig).apply("acme", "uk-chat", late)
    assert applied is not None
    assert (applied.news, applied.piece.status, applied.record.attempt) == (False, "superseded", 1)
    assert (await rig.record(command, 2)).overall == "delivered"


async def test_what_fails_falls_at_once(rig: TwoChannels) -> None:
    where = await rig.customer(UNREACHABLE)
    await rig.ask_to_send(conversation_id=where, **LATE)
    await rig.until_status(2, "failed")
    assert [channel for channel, _ in rig.sent] == ["chat", "sms"]
    assert "superseded" not in {status for _, status in await rig.statuses()}


async def test_what_a_channel_refuses_is_told_as_its_attempts_and_falls_at_once(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = rig.provider.answer

    async def answer(request: Any) -> Response:
        if request.form["From"] == "+447700900124":
            return Response.of_json({"code": 21211, "message": "no"}, status=400)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.ask_to_send(conversation_id=await rig.customer(), **LATE)
    await rig.until_status(2, "delivered")
    assert (await rig.statuses())[0] == (1, "rejected")
    assert await rig.events("command.failed") == []


async def test_what_a_gateway_refuses_to_try_is_told_as_its_attempts_and_falls_at_once(rig: TwoChannels) -> None:
    long = {"chat": {"parts": [{"type": "text", "text": "x" * 40_000}]}}
    await rig.ask_to_send(conversation_id=await rig.customer(), overrides=long, **LATE)
    await rig.until_status(2, "delivered")
    assert (await rig.statuses())[0] == (1, "rejected")
    assert rig.sent == [("sms", "On its way.")]
    assert await rig.events("command.failed") == []


async def test_an_answer_that_the_customer_has_overtaken_falls_nowhere(rig: TwoChannels) -> None:
    where = await rig.customer()
    (first, *_) = await rig.events("message.received")
    assert isinstance(first.data, MessageReceived)
    await rig.ask_to_send(conversation_id=where, if_last_inbound=first.data.message.id, **SOON)
    await rig.until_status(1, "rejected")
    await asyncio.sleep(1.5)
    assert rig.sent == []
    assert await rig.statuses() == [(1, "rejected")]


async def test_a_delivery_that_is_told_while_it_is_being_superseded_ends_the_ladder(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(rig, monkeypatch)
    command = await rig.ask_to_send(conversation_id=await rig.customer(), **SOON)
    await rig.until_event("message.sent")
    original = Ledger.supersede

    async def just_before(self: Ledger, tenant: str, message: str, fresh: Any) -> Any:
        external = (await rig.record(command)).pieces[0].external_id or ""
        await self.apply(tenant, "uk-chat", Receipt(at="", key="d", external_id=external, status="delivered"))
        return await original(self, tenant, message, fresh)

    monkeypatch.setattr(Ledger, "supersede", just_before)
    routes = Bucket(rig.link, f"{rig.core.nats.names}_MESSAGES", RouteRecord)

    async def chosen() -> bool:
        entry = await routes.get(f"acme.r.{message_id(command)}")
        return entry is not None and len(entry.value.rungs) == 2

    await until(chosen, "the next way was chosen")
    await asyncio.sleep(0.5)
    assert rig.sent == [("chat", "On its way.")]
    assert (await rig.record(command)).overall == "delivered"
    assert "superseded" not in {status for _, status in await rig.statuses()}


async def test_what_still_waits_to_be_tried_again_is_never_sent_once_it_is_superseded(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.sending.RETRIES_S", (3, 3, 3))
    original, tries = rig.provider.answer, []

    async def answer(request: Any) -> Response:
        if request.form["From"] == "+447700900124":
            tries.append(request)
            return Response(status=429)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)
    where = await rig.customer()
    command = await rig.ask_to_send(conversation_id=where, **SOON)
    await rig.until_status(2, "delivered")
    assert len(tries) == 1
    await rig.ask_to_send("Behind it.", conversation_id=where, channel="chat")

    async def tried_again() -> bool:
        return len(tries) > 1

    await until(tried_again, "the one behind it had its turn")
    assert tries[1].form["Body"] == "Behind it."
    assert (await rig.record(command)).overall == "superseded"
    assert [status for attempt, status in await rig.statuses() if attempt == 1] == ["superseded"]


async def test_what_no_gateway_has_taken_up_is_never_sent_once_it_is_superseded(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = await rig.customer()
    gate = asyncio.Event()
    original = AccountSender._do

    async def held(self: AccountSender, task: Any, again: bool) -> None:
        if self._served.name == "uk-chat":
            await gate.wait()
        await original(self, task, again)

    monkeypatch.setattr(AccountSender, "_do", held)
    command = await rig.ask_to_send("Once.", conversation_id=where, **SOON)
    await rig.until_status(2, "delivered")
    gate.set()
    await rig.ask_to_send("After.", conversation_id=where, channel="chat")

    async def after() -> bool:
        return ("chat", "After.") in rig.sent

    await until(after, "the one behind it is sent")
    assert rig.sent == [("sms", "Once."), ("chat", "After.")]
    assert (await rig.record(command)).overall == "superseded"


async def test_what_was_being_sent_while_it_was_superseded_stays_superseded_and_keeps_its_id(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = rig.provider.answer

    async def answer(request: Any) -> Response:
        if request.form["From"] == "+447700900124":
            await rig.until_status(2, "delivered")
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)
    command = await rig.ask_to_send(conversation_id=await rig.customer(), **SOON)
    await rig.until_event("message.sent", 2)
    record = await rig.record(command)
    assert (record.overall, record.pieces[0].external_id is not None) == ("superseded", True)
    await asyncio.sleep(1)
    assert [status for attempt, status in await rig.statuses() if attempt == 1] == ["superseded"]


async def test_where_no_other_channel_is_open_the_last_attempt_goes_on(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(rig, monkeypatch)
    where = await rig.customer()
    command = await rig.ask_to_send(conversation_id=where, fallback_channels=("email", "chat"), fallback_after_ms=1000)
    await rig.until_event("message.sent")
    await asyncio.sleep(2.5)
    assert await rig.statuses() == []
    assert (await rig.record(command)).overall == "accepted"


async def test_nothing_falls_once_it_has_expired(rig: TwoChannels, monkeypatch: pytest.MonkeyPatch) -> None:
    silent(rig, monkeypatch)
    soon = now() + datetime.timedelta(seconds=0.8)
    await rig.ask_to_send(conversation_id=await rig.customer(), expires_at=soon, **SOON)
    await rig.until_event("message.sent")
    await asyncio.sleep(2.5)
    assert [channel for channel, _ in rig.sent] == ["chat"]


async def test_the_same_message_id_by_another_command_fails_by_name_and_falls_nowhere(rig: TwoChannels) -> None:
    where = await rig.customer()
    first = await rig.ask_to_send("Once.", conversation_id=where, **SOON)
    await rig.ask_to_send("Twice?", conversation_id=where, message_id=message_id(first), **SOON)
    failed = (await rig.failure()).data
    assert isinstance(failed, CommandFailed)
    assert failed.error.code == "duplicate_message_id"
    await rig.until_status(1, "delivered")
    assert rig.sent == [("chat", "Once.")]


async def test_a_dispatcher_that_ended_between_choosing_and_doing_is_finished_by_the_next(
    rig: TwoChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, broken = Forwarding.put, [True]

    async def put(self: Forwarding, command: Command, attempt: int) -> None:
        if broken:
            raise Unavailable("it was killed here")
        await original(self, command, attempt)

    monkeypatch.setattr(Forwarding, "put", put)
    command = await rig.ask_to_send(conversation_id=await rig.customer(), **SOON)
    routes = Bucket(rig.link, f"{rig.core.nats.names}_MESSAGES", RouteRecord)

    async def chosen() -> bool:
        return await routes.get(f"acme.r.{message_id(command)}") is not None

    await until(chosen, "a way was chosen")
    await rig.text("I am on the train now")  # the best way is another one by now
    broken.clear()
    body = msgspec.json.encode({"group": "g"})
    await rig.link.request(rig.link.api(f"CONSUMER.UNPIN.{rig.core.nats.names}_COMMANDS.dispatcher"), body)
    await rig.ask_to_send("Behind it.", to=("tel:+447700900777",), channel="chat")
    await rig.until_event("message.sent", 2)
    assert sorted(rig.sent) == [("chat", "Behind it."), ("chat", "On its way.")]


async def test_a_message_that_falls_is_stored_this_often(rig: TwoChannels) -> None:
    before = {name: await stored(rig, name) for name in ("COMMANDS", "SCHEDULED", "EVENTS")}
    await rig.ask_to_send(conversation_id=await rig.customer(UNREACHABLE), **LATE)
    await rig.until_status(2, "failed")

    async def both_wait() -> bool:
        return await stored(rig, "SCHEDULED") - before["SCHEDULED"] == 2

    await until(both_wait, "the deadline of the fall and the end of the idle window are scheduled")
    after = {name: await stored(rig, name) for name in before}
    assert after["COMMANDS"] - before["COMMANDS"] == 4, "as it came, to chat, again when that failed, to SMS"


async def stored(rig: TwoChannels, name: str) -> int:
    """How much a stream has ever stored."""
    answer = await rig.link.request(rig.link.api(f"STREAM.INFO.{rig.core.nats.names}_{name}"))
    count: int = msgspec.json.decode(answer.data)["state"]["last_seq"]
    return count
