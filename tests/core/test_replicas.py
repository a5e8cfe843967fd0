"""Two replicas of one gateway: one at a time serves an account, and no change-over sends a message twice."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import accounts
from sluiceway.config import Http, Probes
from sluiceway.ledger import Ledger
from sluiceway.service import Service
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway.wire import Response
from sluiceway_contracts import Command, MessageReceived, MessageSend, MessageStatus, Party, Text, uuid7

from .conftest import TWILIO, Rig, linked, running, until

UNPIN = msgspec.json.encode({"group": "g"})


@asynccontextmanager
async def two_replicas(tmp_path: Path, server: NatsServer) -> AsyncIterator[Rig]:
    """A rig, and beside it a second service with the same accounts."""
    async with running(tmp_path, server) as rig:
        core = msgspec.structs.replace(
            rig.core,
            http=Http(listen=f"127.0.0.1:{free_port()}", public_url=rig.core.http.base_url),
            probes=Probes(listen=f"127.0.0.1:{free_port()}"),
        )
        served = rig.accounts
        twin = accounts.Accounts(
            served.connections, {s.name: s.account for s in served}, core.http.base_url, "sluiceway.toml"
        )
        second = Service(core, twin)
        await second.start()
        await until(lambda: second.ready, "the second replica is ready")
        try:
            yield rig
        finally:
            await second.stop()


async def unpin(rig: Rig) -> None:
    """Take the account from whoever has it."""
    names = rig.core.nats.names
    await rig.link.request(rig.link.api(f"CONSUMER.UNPIN.{names}_COMMANDS.out_acme_sms_uk-sms"), UNPIN)


async def test_a_change_over_during_a_pause_between_tries_sends_once(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_replicas(tmp_path, own_nats) as rig:
        original, throttled = rig.provider.answer, [Response(status=429, headers={"retry-after": "2"})]

        async def answer(request: Any) -> Response:
            return throttled.pop() if throttled else await original(request)

        monkeypatch.setattr(rig.provider, "answer", answer)
        await rig.send("Once.", to=("tel:+447700900777",))
        await until(lambda: not throttled, "the first try was throttled")
        await unpin(rig)
        await rig.send("After.", to=("tel:+447700900778",))  # the server gives the pin with a message
        await rig.until_event("message.sent", 2)
        await asyncio.sleep(3)  # whoever waited has woken up by now
        assert Counter(request.form["Body"] for request in rig.provider.requests) == {"Once.": 1, "After.": 1}


async def test_a_change_over_with_sends_in_flight_sends_each_once_and_knows_what_became_of_it(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_replicas(tmp_path, own_nats) as rig:
        original = rig.provider.answer

        async def answer(request: Any) -> Response:
            await asyncio.sleep(0.3)
            return await original(request)

        monkeypatch.setattr(rig.provider, "answer", answer)
        for number in range(12):
            await rig.send(str(number), to=(f"tel:+44770090070{number % 4}",))
        await until(lambda: len(rig.provider.requests) >= 2, "some are in flight")
        await unpin(rig)
        await rig.send("12", to=("tel:+447700900709",))
        await rig.until_event("message.sent", 13)
        assert Counter(request.form["Body"] for request in rig.provider.requests) == {str(n): 1 for n in range(13)}
        statuses = {e.data.status for e in await rig.events("message.status") if isinstance(e.data, MessageStatus)}
        assert "unknown" not in statuses
        for customer in range(4):
            sent = [r.form["Body"] for r in rig.provider.requests if r.form["To"] == f"+44770090070{customer}"]
            assert sent == [str(number) for number in range(12) if number % 4 == customer]


async def test_a_consumer_that_is_deleted_is_made_again_and_nothing_is_sent_twice(rig: Rig) -> None:
    await rig.send("Before.", to=("tel:+447700900777",))
    await rig.until_event("message.sent")
    names = rig.core.nats.names
    await rig.link.request(rig.link.api(f"CONSUMER.DELETE.{names}_COMMANDS.out_acme_sms_uk-sms"))
    await rig.send("After.", to=("tel:+447700900777",))
    await rig.until_event("message.sent", 2)
    assert [request.form["Body"] for request in rig.provider.requests] == ["Before.", "After."]


@pytest.mark.parametrize("where", ["sms.uk-sms.message.send.any", "_._.message.send._", "any._.message.send._"])
async def test_reserved_tokens_in_a_command_hurt_nobody(rig: Rig, where: str) -> None:
    await rig.command(b"{}", where)
    await rig.send("Hello", to=("tel:+447700900777",))
    await rig.until_event("message.sent")
    assert not rig.link.closed.is_set()


async def test_a_command_that_is_too_large_fails_and_the_next_one_goes_out(rig: Rig) -> None:
    await rig.command(b'{"id":"' + b"x" * 600_000, "sms.uk-sms.message.send._")
    await rig.send("Hello", to=("tel:+447700900777",))
    await rig.until_event("message.sent")
    (failed,) = await rig.events("command.failed")
    assert failed.data.error.code == "too_large"  # type: ignore[attr-defined]  # events of this type have one


async def test_a_command_beyond_the_calendar_fails(rig: Rig) -> None:
    data = MessageSend(
        message_id=uuid7(), author=Party(role="agent"), parts=(Text(text="Hello"),), to=("tel:+447700900777",)
    )
    late = Command(tenant="acme", time=datetime.datetime.max.replace(tzinfo=datetime.UTC), data=data)
    await rig.command(late.encode(), "sms.uk-sms.message.send._")
    (failed,) = await rig.until_event("command.failed")
    assert failed.data.error.code == "invalid"  # type: ignore[attr-defined]  # events of this type have one


async def test_what_was_told_as_failed_is_not_sent_when_its_account_appears(rig: Rig, tmp_path: Path) -> None:
    await rig.send("Too early.", to=("tel:+447700900777",), account="late-sms")
    await rig.until_event("command.failed")
    late = msgspec.structs.replace(rig.account().account, address="tel:+447700900124")
    core = msgspec.structs.replace(
        rig.core, http=Http(listen=f"127.0.0.1:{free_port()}"), probes=Probes(listen=f"127.0.0.1:{free_port()}")
    )
    service = Service(
        core, accounts.Accounts(rig.accounts.connections, {"late-sms": late}, core.http.base_url, "sluiceway.toml")
    )
    await service.start()
    try:
        await until(lambda: service.ready, "the account is served")
        await rig.send("In time.", to=("tel:+447700900777",), account="late-sms")
        await rig.until_event("message.sent")
    finally:
        await service.stop()
    assert [request.form["Body"] for request in rig.provider.requests] == ["In time."]


async def test_the_same_message_id_by_another_command_fails_by_name(rig: Rig) -> None:
    first = await rig.send("Once.", to=("tel:+447700900777",))
    await rig.until_event("message.sent")
    await rig.send("Twice?", to=("tel:+447700900777",), message_id=first.data.message_id)  # type: ignore[attr-defined]  # a MessageSend has one
    (failed,) = await rig.until_event("command.failed")
    assert failed.data.error.code == "duplicate_message_id"  # type: ignore[attr-defined]  # events of this type have one
    assert len(rig.provider.requests) == 1


async def test_a_stop_while_the_provider_is_silent_ends_as_unknown_and_the_next_process_goes_on_at_once(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.outbound.DRAIN_S", 0.2)
    async with running(tmp_path, own_nats) as rig:
        silent, asked = asyncio.Event(), asyncio.Event()

        async def answer(request: Any) -> Response:
            asked.set()
            await silent.wait()
            return Response(status=500)

        monkeypatch.setattr(rig.provider, "answer", answer)
        command = await rig.send("Once.", to=("tel:+447700900777",))
        await until(asked.is_set, "the provider is asked")
        await rig.service.stop()
        silent.set()
        async with linked(rig.core.nats) as link:
            rig.link = link
            ledger = Ledger(
                link, f"{rig.core.nats.names}_MESSAGES", rig.service._identity, f"{rig.core.nats.names}_IDENTITY"
            )
            assert isinstance(command.data, MessageSend)
            found = await ledger.get("acme", command.data.message_id)
        assert found is not None
        assert (found.value.state, found.value.pieces[0].status) == ("done", "unknown")


async def test_a_stop_leaves_what_the_provider_was_never_asked_to_the_next_process(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.outbound.DRAIN_S", 0.2)
    monkeypatch.setattr("sluiceway.sending.AT_ONCE", 2)
    async with running(tmp_path, own_nats) as rig:
        silent, asked = asyncio.Event(), []

        async def answer(request: Any) -> Response:
            asked.append(request)
            await silent.wait()
            return Response(status=500)

        monkeypatch.setattr(rig.provider, "answer", answer)
        commands = [await rig.send(str(n), to=(f"tel:+4477009007{n:02}",)) for n in range(10)]
        await until(lambda: len(asked) == 2, "two are in flight")
        await rig.service.stop()
        silent.set()
        async with linked(rig.core.nats) as link:
            ledger = Ledger(
                link, f"{rig.core.nats.names}_MESSAGES", rig.service._identity, f"{rig.core.nats.names}_IDENTITY"
            )
            found = [await ledger.get("acme", c.data.message_id) for c in commands]  # type: ignore[attr-defined]  # MessageSends have one
    assert Counter(entry and entry.value.pieces[0].status for entry in found) == {"unknown": 2, None: 8}


async def test_a_paused_account_stays_paused_over_a_restart_and_is_told_healthy_when_it_works(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.outbound.DRAIN_S", 0.2)
    async with running(tmp_path, own_nats) as rig:
        original, refusing = rig.provider.answer, True

        async def answer(request: Any) -> Response:
            refused = Response.of_json({"code": 20003, "message": "Authenticate"}, status=401)
            return refused if refusing else await original(request)

        monkeypatch.setattr(rig.provider, "answer", answer)
        await rig.send("Hello", to=("tel:+447700900777",))
        await rig.until_event("account.health")
        await rig.service.stop()
        refusing = False
        again = Service(rig.core, rig.accounts)
        await again.start()
        try:
            rig.link = again.link
            await until(lambda: again.ready, "the next process is ready")
            await rig.until_event("message.sent")
            states = [event.data.state for event in await rig.until_event("account.health", 2)]  # type: ignore[attr-defined]  # they have one
            assert states == ["paused", "healthy"]
        finally:
            await again.stop()


async def test_what_was_told_as_failed_is_never_sent(tmp_path: Path, own_nats: NatsServer) -> None:
    async with running(tmp_path, own_nats, TWILIO + "\n[limits]\nper_recipient_hour = 1\n") as rig:
        for words in ("first", "second"):
            await rig.send(words, to=("tel:+447700900777",))
        await rig.until_event("command.failed")
        await rig.until_event("message.sent")
        names = rig.core.nats.names
        await rig.link.request(rig.link.api(f"CONSUMER.DELETE.{names}_COMMANDS.out_acme_sms_uk-sms"))
        await rig.send("other", to=("tel:+447700900778",))  # behind all that comes again
        await rig.until_event("message.sent", 2)
        assert [request.form["Body"] for request in rig.provider.requests] == ["first", "other"]
        assert len(await rig.events("command.failed")) == 1


async def test_a_reply_that_was_sent_is_not_told_as_answered_past_when_it_comes_again(rig: Rig) -> None:
    await rig.text("Where is my order?")
    (first,) = await rig.events("message.received")
    assert isinstance(first.data, MessageReceived)
    await rig.send("On its way.", conversation_id=first.subject, if_last_inbound=first.data.message.id)
    await rig.until_event("message.sent")
    await rig.text("Thanks!")
    names = rig.core.nats.names
    await rig.link.request(rig.link.api(f"CONSUMER.DELETE.{names}_COMMANDS.out_acme_sms_uk-sms"))
    await rig.send("Bye.", conversation_id=first.subject)
    await rig.until_event("message.sent", 2)
    assert await rig.events("command.failed") == []
    assert [request.form["Body"] for request in rig.provider.requests] == ["On its way.", "Bye."]
