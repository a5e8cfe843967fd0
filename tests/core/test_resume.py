"""Commands that an earlier process had begun: finished, told as unknown, or left alone; never asked twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sluiceway import Response, sending
from sluiceway.bus.streams import Layout
from sluiceway.errors import Unavailable
from sluiceway.ledger import Ledger, MessageRecord
from sluiceway.patience import surely
from sluiceway_contracts import Command, MessageSend, MessageStatus, Party, Piece, Text, uuid7

from .conftest import Rig, until

ANN = "tel:+447700900456"


def ledger(rig: Rig) -> Ledger:
    return Ledger(rig.link, Layout(rig.core.nats).messages, rig.service._identity, Layout(rig.core.nats).identity)


def a_command() -> Command:
    send = MessageSend(message_id=uuid7(), author=Party(role="agent"), parts=(Text(text="Hello"),), to=(ANN,))
    return Command(tenant="acme", channel="sms", account="uk-sms", data=send)


def left_behind(
    command: Command, state: str, status: str = "accepted", external_id: str | None = None
) -> MessageRecord:
    """What the ledger has of a command when its process dies."""
    return MessageRecord(
        state=state,
        command_id=command.id,
        channel="sms",
        account="uk-sms",
        contact=uuid7(),
        conversation=uuid7(),
        pieces=(Piece(index=1, of=1, status=status, recipient=ANN, external_id=external_id),),
    )


async def carry_on(rig: Rig, command: Command, record: MessageRecord) -> None:
    """A process dies with this record; another is given the command again, and one more behind it."""
    assert isinstance(command.data, MessageSend)
    await ledger(rig).begin("acme", command.data.message_id, record)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())


async def statuses(rig: Rig) -> list[str]:
    return [e.data.status for e in await rig.events("message.status") if isinstance(e.data, MessageStatus)]


async def test_an_intent_that_a_crash_left_open_ends_as_unknown_and_is_not_sent(rig: Rig) -> None:
    command = a_command()
    await carry_on(rig, command, left_behind(command, "intent"))
    (event,) = await rig.until_event("message.status")
    assert isinstance(event.data, MessageStatus)
    assert (event.data.status, event.causationid) == ("unknown", command.id)
    assert rig.provider.requests == []


async def test_a_send_that_waited_for_its_next_try_is_tried(rig: Rig) -> None:
    command = a_command()
    await carry_on(rig, command, left_behind(command, "waiting"))
    await rig.until_event("message.sent")
    assert [request.form["Body"] for request in rig.provider.requests] == ["Hello"]
    assert isinstance(command.data, MessageSend)
    entry = await ledger(rig).get("acme", command.data.message_id)
    assert entry is not None
    assert (entry.value.state, entry.value.tries) == ("done", 2)


async def test_what_was_sent_and_not_told_is_told(rig: Rig) -> None:
    command = a_command()
    await carry_on(rig, command, left_behind(command, "done", external_id="SM1"))
    (event,) = await rig.until_event("message.sent")
    assert event.causationid == command.id
    assert rig.provider.requests == []


async def test_what_was_refused_and_not_told_is_told(rig: Rig) -> None:
    command = a_command()
    await carry_on(rig, command, left_behind(command, "done", status="rejected"))
    await rig.until_event("message.status")
    assert await statuses(rig) == ["rejected"]
    assert rig.provider.requests == []


async def test_a_message_id_of_another_command_is_left_alone(rig: Rig) -> None:
    command = a_command()
    await carry_on(rig, command, left_behind(a_command(), "done", external_id="SM1"))
    await rig.send("Behind it.", to=(ANN,))
    await rig.until_event("message.sent")
    assert [request.form["Body"] for request in rig.provider.requests] == ["Behind it."]
    assert len(await rig.events("message.sent")) == 1


async def test_what_the_provider_took_is_in_the_ledger_also_where_another_process_has_the_message_now(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, original = a_command(), rig.provider.answer
    assert isinstance(command.data, MessageSend)
    message_id = command.data.message_id

    async def answer(request: Any) -> Response:
        entry = await ledger(rig).get("acme", message_id)
        assert entry is not None
        await ledger(rig).write("acme", message_id, msgspec.structs.replace(entry.value, tried=7), entry.revision)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())

    async def amended() -> bool:
        entry = await ledger(rig).get("acme", message_id)
        return entry is not None and entry.value.tried == 7 and entry.value.pieces[0].external_id is not None

    await until(amended, "the provider's id is in the other's record")
    assert len(rig.provider.requests) == 1
    assert await rig.events("message.sent") == [], "to tell of it is the other's part"


async def test_a_provider_that_never_has_time_fails_the_message_in_the_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def answer(request: Any) -> Response:
        asked.append(request)
        return Response(status=429)

    monkeypatch.setattr(sending, "RETRIES_S", (0, 0))
    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.send("Hello", to=(ANN,))
    await rig.until_event("message.status")
    assert await statuses(rig) == ["failed"]
    assert len(asked) == 3


async def test_a_gateway_that_breaks_leaves_its_message_unknown(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(self: object, message: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(rig.account().gateway), "send", send)
    await rig.send("Hello", to=(ANN,))
    await rig.until_event("message.status")
    assert await statuses(rig) == ["unknown"]


async def test_what_nats_cannot_take_is_done_again_until_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluiceway.patience.PAUSE_S", 0)
    tries = 0

    async def work(result: str) -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("not now")
        return result

    assert await surely(work, "done") == "done"
    assert tries == 3
