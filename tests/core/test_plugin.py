"""A gateway of somebody else's, installed as its own distribution: found, configured and run like a shipped one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from pigeonpost import PigeonPost
from sluiceway import plugins
from sluiceway.errors import ConfigError
from sluiceway.testing import check_gateway
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import ErrorDeadLetter, MessageReceived, MessageStatus

from .conftest import Rig, load, running

PIGEON = """
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
[connections.birds]
gateway = "pigeon.post"
secret = "env:LOFT"
api_url = "http://127.0.0.1:{api}"
[accounts.north]
connection = "birds"
tenant = "acme"
address = "x-pigeon:north"
"""


@pytest.fixture
async def loft(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    async with running(tmp_path, shared_nats, PIGEON) as rig:
        yield rig


def test_it_is_found_in_a_distribution_of_its_own() -> None:
    point = plugins.installed()["pigeon.post"]
    assert point.dist is not None
    assert point.dist.name == "sluiceway-pigeonpost"
    assert distribution("sluiceway-pigeonpost").version == "1.0"
    assert plugins.gateway("pigeon.post") is PigeonPost


def test_its_settings_are_checked_like_any_others(tmp_path: Path) -> None:
    values = {"url": "nats://127.0.0.1:1", "number": 1, "hooks": 1, "probes": 1, "api": 1}
    with pytest.raises(ConfigError, match=r"connections\.birds\.secrets: is no known key; did you mean secret\?"):
        load(tmp_path, PIGEON.replace("secret =", "secrets ="), **values)


def test_it_passes_the_conformance_checks() -> None:
    check_gateway(PigeonPost)


async def test_its_messages_come_in_and_go_out_with_receipts(loft: Rig) -> None:
    answer = await loft.text("Coo?", "grey-7", account="north")
    assert answer.body == b'{"grain":true}'
    (received,) = await loft.events("message.received")
    assert isinstance(received.data, MessageReceived)
    assert received.data.message.author.address == "x-pigeon:grey-7"
    assert received.channel == "pigeon"
    await loft.send("Coo.", account="north", conversation_id=received.subject)
    await loft.until_event("message.status", 2)
    statuses = [e.data.status for e in await loft.events("message.status") if isinstance(e.data, MessageStatus)]
    assert statuses == ["sent", "delivered"]


async def test_what_its_provider_refuses_is_told_by_its_own_table(loft: Rig) -> None:
    await loft.send("Coo.", account="north", to=("x-pigeon:cat",))
    (status,) = await loft.until_event("message.status")
    assert isinstance(status.data, MessageStatus)
    error = status.data.pieces[0].error
    assert error is not None
    assert (error.code, error.provider_code, error.message) == ("rejected", "cat", "a cat lives there")


async def test_a_sender_that_is_no_address_spoils_only_itself(loft: Rig) -> None:
    assert (await loft.text("Coo?", "\n", account="north")).status == 200
    assert (await loft.text("Coo!", "grey-7", account="north")).status == 200
    first, *rest = await loft.events()
    assert isinstance(first.data, ErrorDeadLetter)
    assert first.data.error.code == "unreadable"
    assert [event.type for event in rest] == ["sluiceway.conversation.opened", "sluiceway.message.received"]
