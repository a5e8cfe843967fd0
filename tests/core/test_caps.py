"""Caps: however much is asked for, no more than the cap is sent, and only to where it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout
from sluiceway.caps import HOUR_S, MAX_REMEMBERED, Quota, Quotas, Recent
from sluiceway.errors import ConfigError
from sluiceway.ledger import Ledger, MessageRecord
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import Command, CommandFailed, MessageSend, Party, Piece, Text, uuid7

from .conftest import TWILIO, Rig, load, running, until

LIMITS = """
[limits]
destinations = ["+44", "+1"]
per_recipient_hour = 5
per_tenant_hour = 100
"""


@pytest.fixture
async def capped(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    async with running(tmp_path, shared_nats, TWILIO + LIMITS) as rig:
        yield rig


async def failures(rig: Rig) -> list[str]:
    return [
        event.data.error.code for event in await rig.events("command.failed") if isinstance(event.data, CommandFailed)
    ]


async def settled(rig: Rig, count: int) -> None:
    """So many commands were sent or refused."""

    async def enough() -> bool:
        return len(await rig.events("message.sent")) + len(await failures(rig)) >= count

    await until(enough, f"{count} commands are settled")


async def test_of_a_thousand_requests_the_cap_is_sent(capped: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{until.__module__}.WAIT_S", 60)
    for number in range(1000):
        await capped.send("Win!", to=(f"tel:+4477009{number:05}",), account=("uk-sms", "de-sms")[number % 2])

    async def all_are_settled() -> bool:
        await asyncio.sleep(0.5)
        return len([s for s, _ in await capped.stream() if ".command.failed." in s]) == 900

    await until(all_are_settled, "900 commands are refused")
    await capped.until_event("message.sent", 100)
    assert len(capped.provider.requests) == 100
    assert set(await failures(capped)) == {"too_many"}


async def test_one_recipient_gets_no_more_than_the_cap(capped: Rig) -> None:
    for number in range(20):
        await capped.send(str(number), to=("tel:+447700900777",))
    await settled(capped, 20)
    assert [request.form["Body"] for request in capped.provider.requests] == [str(number) for number in range(5)]
    assert await failures(capped) == ["too_many"] * 15
    await capped.send("Somebody else", to=("tel:+447700900778",))
    await capped.until_event("message.sent", 6)


@pytest.mark.parametrize("to", ["tel:+4915700000777", "tel:+882016000000", "x-twilio:89000"])
async def test_a_number_outside_the_destinations_is_refused_before_a_conversation_is_opened(
    capped: Rig, to: str
) -> None:
    await capped.send("Hello", to=(to,))
    await settled(capped, 1)
    assert await failures(capped) == ["destination_not_allowed"]
    assert capped.provider.requests == []
    assert await capped.events("conversation.opened") == []


async def test_who_wrote_from_outside_the_destinations_is_heard_and_not_answered(capped: Rig) -> None:
    await capped.text("Call me!", "+882016000000")
    (received,) = await capped.events("message.received")
    await capped.send("Hello", conversation_id=received.subject)
    await settled(capped, 1)
    assert await failures(capped) == ["destination_not_allowed"]


async def test_a_message_that_was_begun_before_is_finished_whatever_the_caps_say(capped: Rig) -> None:
    send = MessageSend(
        message_id=uuid7(), author=Party(role="agent"), parts=(Text(text="Begun."),), to=("tel:+4915700000777",)
    )
    command = Command(tenant="acme", channel="sms", account="uk-sms", data=send)
    record = MessageRecord(
        state="waiting",
        command_id=command.id,
        channel="sms",
        account="uk-sms",
        contact=uuid7(),
        conversation=uuid7(),
        pieces=(Piece(index=1, of=1, status="accepted", recipient=send.to[0]),),
    )
    ledger = Ledger(
        capped.link, Layout(capped.core.nats).messages, capped.service._identity, Layout(capped.core.nats).identity
    )
    await ledger.begin("acme", send.message_id, record)
    await capped.link.publish(command.nats_subject(capped.core.nats.prefix), command.encode(), command.headers())
    await capped.until_event("message.sent")
    assert [request.form["Body"] for request in capped.provider.requests] == ["Begun."]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('destinations = ["44"]', "limits.destinations"),
        ('destinations = "+44"', "limits.destinations"),
        ("per_recipient_hour = -1", "limits.per_recipient_hour"),
        ("per_hour = 1", "limits.per_hour"),
    ],
)
def test_a_cap_that_is_none_is_refused(tmp_path: Path, text: str, key: str) -> None:
    values: dict[str, Any] = {"url": "nats://127.0.0.1:4222", "number": 0, "hooks": 1, "probes": 2, "api": 3}
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, f"{TWILIO}[limits]\n{text}\n", **values)
    assert refused.value.key.startswith(key)


class TestQuotas:
    def quotas(self, link: Link, layout: Layout, per_hour: int, at_s: list[float] | None = None) -> Quotas:
        clock = at_s or [0.0]
        return Quotas(Bucket(link, layout.messages, Quota), per_hour, lambda: clock[0])

    async def test_processes_share_what_a_tenant_may_send(self, link: Link, layout: Layout) -> None:
        replicas = [self.quotas(link, layout, 100) for _ in range(4)]
        taken = await asyncio.gather(*(quotas.take("acme") for quotas in replicas * 50))
        assert taken.count(True) == 100

    async def test_tenants_have_each_their_own(self, link: Link, layout: Layout) -> None:
        quotas = self.quotas(link, layout, 1)
        assert [await quotas.take(tenant) for tenant in ("acme", "globex", "acme")] == [True, True, False]

    async def test_a_process_that_starts_again_does_not_start_at_nothing(self, link: Link, layout: Layout) -> None:
        for _ in range(10):
            await self.quotas(link, layout, 10).take("acme")
        assert not await self.quotas(link, layout, 10).take("acme")

    async def test_the_next_hour_has_its_own(self, link: Link, layout: Layout) -> None:
        at_s = [1.0]
        quotas = self.quotas(link, layout, 1, at_s)
        assert [await quotas.take("acme"), await quotas.take("acme")] == [True, False]
        at_s[0] += HOUR_S
        assert [await quotas.take("acme"), await quotas.take("acme")] == [True, False]

    async def test_a_clock_that_is_behind_gains_nothing(self, link: Link, layout: Layout) -> None:
        ahead, behind = [2.0 * HOUR_S], [1.0 * HOUR_S]
        assert await self.quotas(link, layout, 1, ahead).take("acme")
        assert not await self.quotas(link, layout, 1, behind).take("acme")

    async def test_most_messages_cost_no_write(self, link: Link, layout: Layout) -> None:
        quotas = self.quotas(link, layout, 1000)
        for _ in range(100):
            await quotas.take("acme")
        found = await Bucket(link, layout.messages, Quota).get("acme.n.hour")
        assert found is not None
        assert found.revision == 100 / (1000 / 50)


class TestRecent:
    def test_counts_the_last_hour(self) -> None:
        at_s = [0.0]
        recent = Recent(lambda: at_s[0])
        for at_s[0] in (0, 1800, 3599):
            recent.add("a")
        assert recent.count("a") == 3
        at_s[0] = 3600
        assert recent.count("a") == 2

    def test_what_is_taken_back_was_never_there(self) -> None:
        recent = Recent()
        recent.add("a")
        recent.take_back("a")
        assert recent.count("a") == 0

    def test_forgets_what_is_an_hour_old(self) -> None:
        at_s = [0.0]
        recent = Recent(lambda: at_s[0])
        for number in range(100):
            recent.add(str(number))
        at_s[0] = 2.0 * HOUR_S
        recent.add("new")
        assert len(recent._times) == 1

    def test_remembers_so_many_and_no_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert MAX_REMEMBERED > 1000
        monkeypatch.setattr("sluiceway.caps.MAX_REMEMBERED", 10)
        recent = Recent()
        for number in range(100):
            recent.add(str(number))
        assert len(recent._times) == 10
