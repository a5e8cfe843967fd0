"""Calls through a running service: ordered by the queue, placed and talked at the simulator, told on the stream."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from sluiceway import Received, plugins
from sluiceway.bus.store import Bucket
from sluiceway.calls.records import CallRecord
from sluiceway.errors import Unavailable
from sluiceway.gateway import Ask
from sluiceway.record import Record
from sluiceway.testing.deliveries import make
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway.testing.provider import Provider
from sluiceway_contracts import (
    AgentSet,
    CallRecording,
    CallRequest,
    Command,
    ContactErase,
    MessageMedia,
    MessageReceived,
    Text,
    now,
    uuid7,
)
from sluiceway_contracts.commands import CommandData
from sluiceway_gateways.voice.twilio_simulator import TwilioVoiceSimulator

from .conftest import Rig, running, until

VOICE = """
[nats]
url = "{url}"
prefix = "t{number}"
names = "T{number}"
[http]
listen = "127.0.0.1:{hooks}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.calls]
gateway = "voice.twilio"
sid = "AC00000000000000000000000000000001"
token = "env:TWILIO_TOKEN"
api_url = "http://127.0.0.1:{api}"
[accounts.hotline]
connection = "calls"
tenant = "acme"
address = "tel:+447700900123"
phrases = {{ welcome = "Acme Kettles, good day." }}
[calls.tenants.acme]
prefixes = ["+44"]
"""
FORM_AND_SMS = """
[connections.texts]
gateway = "sms.twilio"
sid = "AC00000000000000000000000000000001"
token = "env:TWILIO_TOKEN"
api_url = "http://127.0.0.1:{texts}"
[accounts.sms]
connection = "texts"
tenant = "acme"
address = "tel:+447700900124"
[connections.forms]
gateway = "webform.http"
[accounts.shop]
connection = "forms"
tenant = "acme"
address = "web:shop/contact"
site_key = "4d1f0c6be29a4b7f8e3a5c21"
origins = ["https://shop.example"]
country_code = "44"
"""
CUSTOMER, AGENT = "+447700900456", "+447700900789"


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    async with running(tmp_path, shared_nats, VOICE) as rig:
        assert isinstance(rig.simulator, TwilioVoiceSimulator)
        rig.simulator.scale = 0.0
        yield rig


async def order(rig: Rig, data: CommandData, conversation: str | None = None) -> None:
    command = Command(tenant="acme", source="/acme/apps/desk", subject=conversation, data=data)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())


async def ring(rig: Rig, **fields: str) -> None:
    """Somebody calls, to the end."""
    rig.simulator.fields = fields
    await make(rig.simulator.deliveries(rig.account("hotline").account, CUSTOMER, ""), rig.client.exchange)


async def at_work(rig: Rig) -> None:
    """An agent is available, and callers may be put through to them."""
    await order(rig, AgentSet(agent_id="priya", state="available", name="Priya", reach=(f"tel:{AGENT}",)))
    await rig.until_event("agent.changed")
    assert rig.service.inbound.asked is not None
    asked = rig.service.inbound.asked

    async def is_seen() -> bool:
        return bool((await asked("calls", Ask("queue", "+447700900123"))).free)

    await until(is_seen, "the gateway sees who is free")


async def states(rig: Rig, type: str) -> list[str]:
    return [event.data.state for event in await rig.events(type) if hasattr(event.data, "state")]


async def test_a_customer_is_called_back_and_nothing_is_said_to_have_failed(rig: Rig) -> None:
    await at_work(rig)
    await order(rig, CallRequest(call_id=uuid7(), address=f"tel:{CUSTOMER}", reason="order A-1042", is_proven=True))
    await rig.until_event("call.ended")
    await rig.provider.idle()
    assert await states(rig, "call.updated") == ["offered", "answered", "ringing", "connected"]
    assert await states(rig, "call.ended") == ["answered"]
    assert await rig.events("command.failed") == []
    assert set(rig.provider.statuses) == {200, 204}


async def test_whoever_calls_is_put_through_to_whoever_is_free(rig: Rig) -> None:
    await at_work(rig)
    await ring(rig)
    await rig.until_event("call.ended")
    assert await states(rig, "call.updated") == ["answered", "connected"]


async def test_where_nobody_is_they_keep_their_place_or_leave_a_message(rig: Rig) -> None:
    await ring(rig, script="1")
    await rig.until_event("call.queued")
    await ring(rig, script="2,hangup", verified="1")
    (media,) = await rig.until_event("message.media")
    assert isinstance(media.data, MessageMedia)
    assert media.data.state == "stored"
    (message,) = await rig.events("message.received")
    assert isinstance(message.data, MessageReceived)
    assert message.data.message.author.assurance == "channel"
    assert media.data.message_id == message.data.message.id


async def test_a_recorded_call_has_its_recording_on_the_stream_and_in_the_store(
    tmp_path: Path, shared_nats: NatsServer
) -> None:
    async with running(tmp_path, shared_nats, f"{VOICE}record = true\n") as rig:
        assert isinstance(rig.simulator, TwilioVoiceSimulator)
        rig.simulator.scale = 0.0
        await at_work(rig)
        writes = Received(at="+447700900123", key="1", sender=f"tel:{CUSTOMER}", parts=(Text(text="Hello"),))
        served = rig.account("hotline")
        assert rig.service.inbound.facts is not None
        await rig.service.inbound.facts.take(Record(connection="calls", arrived_at=now(), facts=(writes,)), writes)
        (event,) = await rig.until_event("message.received")
        await order(rig, CallRequest(call_id=uuid7()), event.subject)
        recordings = [told.data for told in await rig.until_event("call.recording", 2)]
        pending, stored = sorted((data for data in recordings if isinstance(data, CallRecording)), key=_has_file)
        assert (pending.state, stored.state) == ("pending", "stored")
        assert stored.ref is not None
        assert stored.ref.startswith(f"media:{served.tenant}/")
        (sent,) = await rig.until_event("message.sent")
        assert sent.subject == event.subject


def _has_file(data: CallRecording) -> bool:
    return data.ref is not None


async def test_a_step_that_somebody_hears_the_gap_of_costs_two_round_trips_at_most(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips, counted = list[str](), ContextVar("counted", default=False)
    link, deliver = rig.service.link, rig.service.inbound.deliver
    request = link.request  # which a publish waits for its acknowledgement with

    async def counting_request(subject: str, *rest: Any, **more: Any) -> Any:
        trips.extend([subject] if counted.get() else [])
        return await request(subject, *rest, **more)

    async def counting(connections: Any, delivery: Any) -> Any:
        counted.set(True)
        trips.clear()
        answer = await deliver(connections, delivery)
        if answer.headers.get("content-type") == "text/xml":
            steps.append((delivery.subpath, len(trips)))
        counted.set(False)
        return answer

    steps = list[tuple[str, int]]()
    monkeypatch.setattr(link, "request", counting_request)
    monkeypatch.setattr(rig.service.inbound, "deliver", counting)
    await ring(rig, script="1")
    await at_work(rig)
    await rig.until_event("call.ended")
    await rig.provider.idle()
    assert {name for name, _ in steps} >= {"", "choice", "agent", "accept", "whisper", "dialled"}
    assert max(count for _, count in steps) <= 2


async def test_a_scheduled_call_comes_at_its_time(rig: Rig) -> None:
    await at_work(rig)
    at = now() + datetime.timedelta(seconds=2)
    await order(rig, CallRequest(call_id=uuid7(), address=f"tel:{CUSTOMER}", is_proven=True, not_before=at))
    (ended,) = await rig.until_event("call.ended")
    (requested,) = await rig.events("call.requested")
    assert getattr(requested.data, "state", "") == "scheduled"
    assert (await rig.events("call.updated"))[0].time >= at
    assert ended.time >= at


async def test_with_a_contact_its_calls_are_erased(rig: Rig) -> None:
    await ring(rig, script="1")
    (queued,) = await rig.until_event("call.queued")
    bucket = Bucket(rig.link, f"{rig.core.nats.names}_MESSAGES", CallRecord)
    (key,) = await bucket.keys("acme.call.")
    assert await bucket.get(key) is not None
    await order(rig, ContactErase(contact_id=queued.contactid or ""))
    await until(lambda: _is_gone(bucket, key), "the record is gone")
    await order(rig, CallRequest(call_id=uuid7(), address=f"tel:{CUSTOMER}", is_proven=True))
    assert await rig.until_event("call.requested")  # the others were erased, and the queue goes on


async def _is_gone(bucket: Bucket[CallRecord], key: str) -> bool:
    return await bucket.get(key) is None


async def test_a_number_typed_into_a_form_is_called_once_it_has_answered_the_code(
    tmp_path: Path, shared_nats: NatsServer
) -> None:
    texts = free_port()
    async with running(tmp_path, shared_nats, VOICE + FORM_AND_SMS.replace("{texts}", str(texts))) as rig:
        assert isinstance(rig.simulator, TwilioVoiceSimulator)
        rig.simulator.scale = 0.0
        sms = plugins.simulator("sms.twilio")(rig.accounts.connections["texts"].settings, _hook(rig, "texts"))
        provider = Provider(sms, f"127.0.0.1:{texts}")
        await provider.start()
        await at_work(rig)
        form = plugins.simulator("webform.http")(rig.accounts.connections["forms"].settings, _hook(rig, "forms"))
        form.fields = {"call_me": "yes", "phone": CUSTOMER}
        await rig.deliver(form.deliver(rig.account("shop").account, CUSTOMER, "My kettle leaks."))
        (requested,) = await rig.until_event("call.requested")
        assert getattr(requested.data, "state", "") == "unproven"
        await until(lambda: provider.requests, "the code is sent")
        (digits,) = re.findall("[0-9]{6}", provider.requests[0].form["Body"])
        assert not await rig.events("call.updated")
        await rig.deliver(sms.deliver(rig.account("sms").account, CUSTOMER, f"It is {digits}"))
        (ended,) = await rig.until_event("call.ended")
        assert getattr(ended.data, "state", "") == "answered"
        received = await rig.events("message.received")
        assert {event.subject for event in received} == {ended.subject}
        await provider.stop()


def _hook(rig: Rig, connection: str) -> str:
    return f"{rig.core.http.base_url}/hooks/{connection}"


async def test_while_core_can_not_be_asked_a_caller_waits(rig: Rig) -> None:
    asked, refused = rig.service.inbound.asked, 0
    assert asked is not None

    async def away_at_first(connection: str, question: Ask) -> Any:
        nonlocal refused
        refused += 1
        if refused <= 2:
            raise Unavailable("NATS is away")
        return await asked(connection, question)

    rig.service.inbound.asked = away_at_first
    await ring(rig, script="1")
    assert refused == 3
    await rig.until_event("call.queued")
