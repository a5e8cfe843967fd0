"""Calls through a running service: ordered by the queue, placed and talked at the simulator, told on the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluiceway.errors import Unavailable
from sluiceway.gateway import Ask
from sluiceway.testing.deliveries import make
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import AgentSet, CallRequest, Command, MessageMedia, MessageReceived, uuid7
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
CUSTOMER, AGENT = "+447700900456", "+447700900789"


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    async with running(tmp_path, shared_nats, VOICE) as rig:
        assert isinstance(rig.simulator, TwilioVoiceSimulator)
        rig.simulator.scale = 0.0
        yield rig


async def order(rig: Rig, data: CommandData) -> None:
    command = Command(tenant="acme", source="/acme/apps/desk", data=data)
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
