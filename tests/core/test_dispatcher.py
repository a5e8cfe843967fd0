"""The dispatcher by itself: who carries out what, in which order, in one process at a time, and what fails by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from sluiceway.bus.consumer import Consumer, Delivery
from sluiceway.bus.link import Link
from sluiceway.bus.reader import Reader
from sluiceway.bus.streams import Layout, ensure
from sluiceway.checks import Refusal
from sluiceway.config import Nats
from sluiceway.dispatcher import Dispatcher, Handler
from sluiceway.errors import Unavailable
from sluiceway.failures import Failures
from sluiceway.identity import Identity
from sluiceway.stream import EventStream
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import (
    Command,
    CommandFailed,
    ConsentSet,
    ContactErase,
    ContactLink,
    ContactMerge,
    ContactSplit,
    ContactUnlink,
    ConversationClose,
    Event,
    uuid7,
)
from sluiceway_contracts.commands import CommandData

from .conftest import Rig, linked, until

CLOSE = ConversationClose.type


@asynccontextmanager
async def dispatching(link: Link, layout: Layout, handle: Handler) -> AsyncIterator[Dispatcher]:
    """A dispatcher that closes conversations in this way; cancelled afterwards, as at a clean stop."""
    prefix = link.settings.prefix
    consumer = Consumer(link, layout.commands, "dispatcher", f"{prefix}.v1.*.commands.*.any.>")
    await consumer.create()
    failures = Failures(prefix, Identity(b"an identity key for tests only"), EventStream(link, prefix))
    dispatcher = Dispatcher(consumer, prefix, {CLOSE: handle}, failures)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def close(link: Link, conversation: str, tenant: str = "acme") -> Command:
    data = ConversationClose(conversation_id=conversation)
    command = Command(tenant=tenant, subject=conversation, data=data)
    await link.publish(command.nats_subject(link.settings.prefix), command.encode(), command.headers())
    return command


async def failures(link: Link, layout: Layout) -> list[CommandFailed]:
    """What the stream tells as failed."""
    found = Reader(link, layout.events).messages(f"{link.settings.prefix}.v1.>", "all", follow=False)
    told = [Event.decode(stored.data).data async for stored in found]
    return [data for data in told if isinstance(data, CommandFailed)]


def happened(link: Link, layout: Layout, count: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return len(await failures(link, layout)) >= count

    return enough


async def test_commands_of_one_conversation_are_carried_out_in_order_and_a_slow_one_delays_no_other(
    link: Link, layout: Layout
) -> None:
    done: list[str] = []
    slow, other = uuid7(), uuid7()
    gate = asyncio.Event()

    async def handle(command: Command, delivery: Delivery) -> None:
        if command.subject == slow:
            await gate.wait()
        done.append(command.id)

    async with dispatching(link, layout, handle):
        first, second = [await close(link, slow) for _ in range(2)]
        third = await close(link, other)
        await until(lambda: third.id in done, "the other conversation's is done")
        assert done == [third.id]
        gate.set()
        await until(lambda: len(done) == 3, "all are done")
    assert done == [third.id, first.id, second.id]


async def test_what_a_handler_refuses_fails_by_name_and_the_next_one_is_carried_out(link: Link, layout: Layout) -> None:
    where = uuid7()
    done: list[str] = []

    async def handle(command: Command, delivery: Delivery) -> None:
        if not done:
            done.append("refused")
            raise Refusal("closed_already", "it is closed")
        done.append(command.id)

    async with dispatching(link, layout, handle):
        refused, after = await close(link, where), await close(link, where)
        await until(lambda: after.id in done, "the next one is done")
        await until(happened(link, layout, 1), "the failure is told")
    (failed,) = await failures(link, layout)
    assert (failed.command_id, failed.command_type, failed.error.code) == (refused.id, CLOSE, "closed_already")


async def test_a_handler_that_breaks_fails_its_command_and_no_other(link: Link, layout: Layout) -> None:
    done = []

    async def handle(command: Command, delivery: Delivery) -> None:
        done.append(command.id)
        if len(done) == 1:
            raise RuntimeError("a fault of ours")

    async with dispatching(link, layout, handle):
        await close(link, uuid7())
        await close(link, uuid7())
        await until(lambda: len(done) == 2, "both were tried")
        await until(happened(link, layout, 1), "the failure is told")
    assert [failed.error.code for failed in await failures(link, layout)] == ["internal"]


async def test_while_nats_can_not_take_it_a_command_is_tried_again(
    link: Link, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.patience.PAUSE_S", 0)
    tries = []

    async def handle(command: Command, delivery: Delivery) -> None:
        tries.append(command.id)
        if len(tries) < 3:
            raise Unavailable("it is away")

    async with dispatching(link, layout, handle):
        await close(link, uuid7())
        await until(lambda: len(tries) == 3, "it was tried until it worked")
    assert await failures(link, layout) == []


@pytest.mark.parametrize(
    ("data", "where", "code"),
    [
        (b"garbage", "any.any.conversation.close._", "undecodable"),
        (b"x" * 300_000, "any.any.conversation.close._", "too_large"),
        (Command(tenant="globex", data=ConversationClose(conversation_id="c")), None, "wrong_tenant"),
        (Command(tenant="acme", data=ConversationClose(conversation_id="c")), "sms.any.message.send._", "wrong_type"),
        (
            Command(tenant="acme", channel="email", data=ConversationClose(conversation_id="c")),
            "sms.any.conversation.close._",
            "wrong_account",
        ),
    ],
)
async def test_what_can_not_be_read_or_contradicts_its_subject_fails_by_name(
    link: Link, layout: Layout, data: bytes | Command, where: str | None, code: str
) -> None:
    async def handle(command: Command, delivery: Delivery) -> None:
        raise AssertionError("nobody should be asked")

    body = data if isinstance(data, bytes) else data.encode()
    async with dispatching(link, layout, handle):
        await link.publish(f"{link.settings.prefix}.v1.acme.commands.{where or 'any.any.conversation.close._'}", body)
        await until(happened(link, layout, 1), "the failure is told")
    assert [failed.error.code for failed in await failures(link, layout)] == [code]


async def test_a_second_dispatcher_stands_by_and_goes_on_where_the_first_was_stopped(
    link: Link, layout: Layout
) -> None:
    done: list[tuple[str, str]] = []

    def by(name: str) -> Handler:
        async def handle(command: Command, delivery: Delivery) -> None:
            done.append((name, command.id))

        return handle

    async with linked(link.settings) as other, dispatching(link, layout, by("first")):
        first = await close(link, uuid7())
        await until(lambda: done, "the first does it")
        async with dispatching(other, layout, by("second")):
            second = await close(link, uuid7())
            await until(lambda: len(done) == 2, "the first does the next")
            assert done == [("first", first.id), ("first", second.id)]
    async with linked(link.settings) as other, dispatching(other, layout, by("second")):
        third = await close(link, uuid7())
        await until(lambda: len(done) == 3, "the second goes on")
    assert done[2] == ("second", third.id)


async def test_when_the_dispatching_process_is_killed_another_carries_out_what_was_not_finished(
    own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.bus.consumer.PIN_TIMEOUT_S", 1)
    settings = Nats(url=own_nats.url)
    layout, done, taken = Layout(settings), [], asyncio.Event()

    async def never(command: Command, delivery: Delivery) -> None:
        taken.set()
        await asyncio.Event().wait()

    async def handle(command: Command, delivery: Delivery) -> None:
        done.append(command.id)

    async with linked(settings) as first, linked(settings) as second:
        await ensure(first, layout, create=True)
        monkeypatch.setattr("sluiceway.dispatcher.DRAIN_S", 0)
        async with dispatching(first, layout, never):
            sent = [await close(second, uuid7()) for _ in range(3)]
            await taken.wait()
            await kill(first)
            async with dispatching(second, layout, handle):
                await until(lambda: len(done) == 3, "the other has done all")
    assert sorted(done) == sorted(command.id for command in sent)


async def kill(link: Link) -> None:
    """Its connection is gone, and it says nothing more."""

    async def nothing(*_: Any) -> None:
        raise Unavailable("it was killed")

    await link._client.close()
    link.send = nothing  # type: ignore[method-assign, assignment]  # a process that is killed gives nothing up


@pytest.mark.parametrize("id", ["", "*", ">", "a..b", "_", "A" * 40, "019C22F1-D578-7625-AF24-35AEEDC2728D"])
async def test_what_is_no_id_is_nobodys_and_holds_up_nothing(rig: Rig, id: str) -> None:
    await rig.text("Hello")
    (received,) = await rig.until_event("message.received")
    ann, address = str(received.contactid), "tel:+447700900999"
    commands: list[CommandData] = [
        ContactErase(contact_id=id),
        ContactMerge(from_id=id, into_id=ann),
        ContactMerge(from_id=ann, into_id=id),
        ContactSplit(contact_id=id, undo=uuid7()),
        ContactLink(contact_id=id, address=address),
        ContactUnlink(contact_id=id, address="tel:+447700900456"),
        ConversationClose(conversation_id=id),
        ConversationClose(conversation_id=id, reason="idle"),
    ]
    for data in commands:
        command = Command(tenant="acme", data=data)
        await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
    told = [event.data for event in await rig.until_event("command.failed", len(commands))]
    codes = sorted(data.error.code for data in told if isinstance(data, CommandFailed))
    assert codes == ["unknown_contact"] * 6 + ["unknown_conversation"] * 2
    assert await rig.events("message.received") == [received]
    assert not {"sluiceway.contact.unlinked", "sluiceway.conversation.closed"} & {e.type for e in await rig.events()}


async def test_consent_beside_what_is_no_id_names_no_conversation(rig: Rig) -> None:
    await rig.text("Hello")
    await rig.until_event("message.received")
    consent = ConsentSet(address="tel:+447700900999", channel="sms", state="revoked")
    command = Command(tenant="acme", data=consent)
    subject = command.nats_subject(rig.core.nats.prefix)
    await rig.link.publish(subject, msgspec.structs.replace(command, subject="*").encode(), command.headers())
    (changed,) = await rig.until_event("consent.changed")
    assert (changed.contactid, changed.subject) == (None, None)


async def test_a_contact_is_not_merged_into_itself_and_whoever_asks_is_told(rig: Rig) -> None:
    await rig.text("Hello")
    (received,) = await rig.until_event("message.received")
    ann = str(received.contactid)
    command = Command(tenant="acme", data=ContactMerge(from_id=ann, into_id=ann))
    await rig.link.publish(command.nats_subject(rig.core.nats.prefix), command.encode(), command.headers())
    (told,) = await rig.until_event("command.failed")
    assert isinstance(told.data, CommandFailed)
    assert (told.causationid, told.data.error.code) == (command.id, "same_contact")
