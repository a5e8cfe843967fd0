"""Questions over NATS: which channels are open now, and an answer to every question that somebody asks."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest

from sluiceway.asks import Asks, answering
from sluiceway.bus.link import Link
from sluiceway.checks import Refusal
from sluiceway.errors import Unavailable
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import (
    CanSend,
    CanSendAnswer,
    ConsentChanged,
    Event,
    Message,
    MessageReceived,
    Party,
    Text,
    subjects,
    uuid7,
)
from sluiceway_contracts.values import now

from .conftest import linked, until
from .twochannels import CUSTOMER, TwoChannels, two_channels

ADDRESS = f"tel:{CUSTOMER}"


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[TwoChannels]:
    async with two_channels(tmp_path, shared_nats) as rig:
        yield rig


async def can_send(rig: TwoChannels, question: bytes, tenant: str = "acme") -> CanSendAnswer:
    subject = subjects.ask(tenant, "can-send", prefix=rig.core.nats.prefix)
    message = await rig.link.request(subject, question, timeout_s=5)
    return msgspec.json.decode(message.data, type=CanSendAnswer)


def about(conversation: str) -> bytes:
    return msgspec.json.encode(CanSend(conversation_id=conversation))


async def test_the_open_channels_are_told_the_one_to_take_first_and_why_others_are_closed(rig: TwoChannels) -> None:
    where = await rig.customer()
    answer = await can_send(rig, about(where))
    assert answer.conversation_id == where
    assert answer.contact_id == (await rig.events("message.received"))[0].contactid
    assert [(way.channel, way.account, way.address) for way in answer.open] == [
        ("chat", "uk-chat", ADDRESS),
        ("sms", "uk-sms", ADDRESS),
    ]
    said = ConsentChanged(address=ADDRESS, channel="chat", purpose="all", state="revoked", method="keyword")
    event = Event(tenant="acme", channel="chat", account="uk-chat", data=said)
    await rig.link.publish(event.nats_subject(rig.core.nats.prefix), event.encode(), event.headers())

    async def closed() -> bool:
        return [way.code for way in (await can_send(rig, about(where))).closed] == ["opted_out"]

    await until(closed, "the chat is closed")


async def test_a_reply_window_that_has_ended_closes_its_channel(rig: TwoChannels) -> None:
    where = await rig.customer()
    contact = (await rig.events("message.received"))[0].contactid
    id, ended = uuid7(), now() - datetime.timedelta(hours=1)
    author = Party(role="customer", address=ADDRESS, contact_id=contact)
    message = Message(id=id, author=author, parts=(Text(text="Hi", id="1"),), text="Hi", reply_window_ends=ended)
    data = MessageReceived(message=message, resolved_by="open")
    event = Event(id=id, tenant="acme", channel="chat", account="uk-chat", contactid=contact, subject=where, data=data)
    await rig.link.publish(event.nats_subject(rig.core.nats.prefix), event.encode(), event.headers())
    answer = await can_send(rig, about(where))
    assert [way.channel for way in answer.open] == ["sms"]
    assert [(way.channel, way.code) for way in answer.closed] == [("chat", "window_closed")]


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (about("019c22f1-0000-7625-af24-35aeedc2728d"), "unknown_conversation"),
        (about("x"), "unknown_conversation"),
        (b"{}", "undecodable"),
    ],
)
async def test_what_has_no_answer_is_answered_with_an_error(rig: TwoChannels, question: bytes, code: str) -> None:
    answer = await can_send(rig, question)
    assert answer.error is not None
    assert (answer.error.code, answer.conversation_id, answer.open) == (code, None, ())


async def test_a_conversation_of_another_tenant_is_none(rig: TwoChannels) -> None:
    answer = await can_send(rig, about(await rig.customer()), tenant="globex")
    assert answer.error is not None
    assert answer.error.code == "unknown_conversation"


async def test_of_two_processes_one_answers_each_question_and_a_broken_one_is_told(link: Link) -> None:
    asked: Counter[str] = Counter()

    def by(name: str) -> Asks:
        async def answer(tenant: str, question: CanSend) -> CanSendAnswer:
            asked[name] += 1
            match question.conversation_id:
                case "broken":
                    raise RuntimeError("a fault of ours")
                case "away":
                    raise Unavailable("NATS is away")
                case "refused":
                    raise Refusal("no_such", "there is none")
            return CanSendAnswer(conversation_id=question.conversation_id)

        return Asks(links[name], link.settings.prefix, {"can-send": answering(CanSend, answer)})

    async def ask(what: str) -> Any:
        found = await link.request(f"{link.settings.prefix}.v1.acme.ask.can-send", about(what), timeout_s=5)
        answer = msgspec.json.decode(found.data, type=CanSendAnswer)
        return answer.error.code if answer.error else answer.conversation_id

    async with linked(link.settings) as first, linked(link.settings) as second:
        links = {"first": first, "second": second}
        running = [asyncio.create_task(by(name).run()) for name in links]
        await until(lambda: all(not task.done() for task in running), "both run")
        await first.request(f"{link.settings.prefix}.v1.acme.ask.can-send", about("x"))
        before = asked.total()
        assert await asyncio.gather(*map(ask, ("a", "broken", "away", "refused", *"bcdefgh"))) == [
            *("a", "internal", "unavailable", "no_such"),
            *"bcdefgh",
        ]
        assert asked.total() - before == 11
        for task in running:
            task.cancel()


@pytest.mark.parametrize(
    "where", ["$KV.{names}_IDENTITY.fingerprint", "{prefix}.v1.globex.events.message.received.sms.x.y"]
)
async def test_an_answer_goes_into_no_stream_and_no_bucket(rig: TwoChannels, where: str) -> None:
    settings = rig.core.nats
    reply = where.format(names=settings.names, prefix=settings.prefix)
    seen: list[bytes] = []

    async def note(message: Any) -> None:
        seen.append(message.data)

    await rig.link.subscribe(reply, note)
    asker = await nats.connect(str(settings.url))
    try:
        await asker.publish(subjects.ask("acme", "conversation", prefix=settings.prefix), b"{}", reply=reply)
        await asker.flush()
        await can_send(rig, about(await rig.customer()))
        await asyncio.sleep(0.2)
    finally:
        await asker.close()
    assert seen == []
