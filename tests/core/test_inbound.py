"""Deliveries, as a provider makes them, against a running service: what is answered, and what is on the stream."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from sluiceway.bus.link import Ack
from sluiceway.errors import Ambiguous
from sluiceway.gateway import Secret
from sluiceway.stream import EventStream
from sluiceway.testing.nats import NatsServer
from sluiceway.wire import Request
from sluiceway_contracts import AccountUnknown, ErrorDeadLetter, Event, MessageReceived, Text
from sluiceway_contracts.values import now
from sluiceway_gateways._twilio import sign

from .conftest import ENVIRONMENT, TWILIO, Rig, running, until


def changed(request: Request, **changes: object) -> Request:
    return msgspec.structs.replace(request, **changes)


def signed(rig: Rig, body: bytes, content_type: str = "application/x-www-form-urlencoded") -> Request:
    """Any body, signed as Twilio would sign it."""
    bare = Request(method="POST", url=rig.hook_url, headers={"content-type": content_type}, body=body)
    given = sign(Secret(ENVIRONMENT["TWILIO_TOKEN"]), bare.url, bare.form.pairs)
    return changed(bare, headers={"content-type": content_type, "x-twilio-signature": given})


def a_text(rig: Rig, words: str = "Hello") -> Request:
    return rig.simulator.deliver(rig.account().account, "+447700900456", words)


async def test_a_signed_text_becomes_an_event_in_a_new_conversation(rig: Rig) -> None:
    response = await rig.text("Where is my order?")
    assert response.status == 200
    assert b"<Response" in response.body
    opened, received = await rig.events()
    assert opened.type == "sluiceway.conversation.opened"
    assert isinstance(received.data, MessageReceived)
    message = received.data.message
    assert message.text == "Where is my order?"
    assert message.parts == (Text(id="1", text="Where is my order?"),)
    assert message.author.address == "tel:+447700900456"
    assert message.author.assurance == "channel"
    assert (received.tenant, received.channel, received.account) == ("acme", "sms", "uk-sms")
    assert (received.subject, received.contactid) == (opened.subject, opened.contactid)
    assert received.data.is_new_conversation
    assert received.data.resolved_by == "new"


async def test_the_event_is_on_the_subject_that_the_contract_names(rig: Rig) -> None:
    await rig.text("Hello")
    (event,) = await rig.events("message.received")
    subject = (await rig.stream())[1][0]
    expected = f"v1.acme.events.message.received.sms.{event.contactid}.{event.subject}"
    assert subject == f"{rig.core.nats.prefix}.{expected}"


async def test_a_second_text_joins_the_open_conversation(rig: Rig) -> None:
    await rig.text("Hello")
    await rig.text("Is anybody there?")
    first, second = await rig.events("message.received")
    assert first.subject == second.subject
    assert isinstance(second.data, MessageReceived)
    assert second.data.resolved_by == "open"
    assert len(await rig.events("conversation.opened")) == 1


async def test_the_same_delivery_ten_times_is_one_event(rig: Rig) -> None:
    request = a_text(rig)
    answers = await asyncio.gather(*(rig.deliver(request) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert len(await rig.events("message.received")) == 1


async def test_texts_in_one_connection_keep_their_order(rig: Rig) -> None:
    for number in range(20):
        await rig.text(str(number))
    texts = [event.data.message.text for event in await rig.events("message.received")]  # type: ignore[attr-defined]  # events of this type have one
    assert texts == [str(number) for number in range(20)]


async def test_a_burst_of_a_new_customer_opens_one_conversation(rig: Rig) -> None:
    await asyncio.gather(*(rig.text(str(number)) for number in range(30)))
    assert len(await rig.events("message.received")) == 30
    assert len(await rig.events("conversation.opened")) == 1


async def test_each_account_of_a_hook_is_credited_with_its_own(rig: Rig) -> None:
    await rig.text("Hello", account="uk-sms")
    await rig.text("Hallo", account="de-sms")
    assert [event.account for event in await rig.events("message.received")] == ["uk-sms", "de-sms"]


async def test_a_customer_of_two_accounts_is_one_contact(rig: Rig) -> None:
    await rig.text("Hello", account="uk-sms")
    await rig.text("Hallo", account="de-sms")
    first, second = await rig.events("message.received")
    assert (first.contactid, first.subject) == (second.contactid, second.subject)


async def test_a_text_to_nobodys_number_is_parked_announced_and_acknowledged(rig: Rig) -> None:
    stranger = msgspec.structs.replace(rig.account().account, address="tel:+447700900999")
    response = await rig.deliver(rig.simulator.deliver(stranger, "+447700900456", "Hello"))
    assert response.status == 200
    (event,) = await rig.events()
    assert isinstance(event.data, AccountUnknown)
    assert event.data.identity == "+447700900999"
    (parked,) = await rig.stream("DEAD")
    assert b"Body=Hello" in parked[1]


async def test_a_signed_delivery_with_a_missing_field_is_parked_with_its_bytes(rig: Rig) -> None:
    body = b"From=%2B447700900456&To=%2B447700900123&Body=Hello"
    response = await rig.deliver(signed(rig, body))
    assert response.status == 204
    (event,) = await rig.events()
    assert isinstance(event.data, ErrorDeadLetter)
    assert "MessageSid" in event.data.error.message
    assert (await rig.stream("DEAD"))[0][1] == body


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("unsigned", 403),
        ("signed with another key", 403),
        ("a truncated signature", 403),
        ("a changed body", 403),
        ("a doubled parameter", 403),
        ("another URL", 403),
        ("another content type", 415),
        ("not ASCII", 400),
        ("not UTF-8", 400),
        ("too many fields", 413),
        ("two megabytes", 413),
        ("a GET", 405),
        ("a hook that is not there", 404),
        ("a path that is no hook", 404),
    ],
)
async def test_what_nobody_proved_has_a_clear_status_and_leaves_nothing(rig: Rig, case: str, status: int) -> None:
    request = a_text(rig)
    body, headers = request.body, dict(request.headers)
    given = headers["x-twilio-signature"]
    form = "application/x-www-form-urlencoded"
    bad = {
        "unsigned": changed(request, headers={"content-type": form}),
        "signed with another key": changed(
            request, headers=headers | {"x-twilio-signature": sign(Secret("foreign"), request.url, request.form.pairs)}
        ),
        "a truncated signature": changed(request, headers=headers | {"x-twilio-signature": given[:-4]}),
        "a changed body": changed(request, body=body.replace(b"Hello", b"Hallo")),
        "a doubled parameter": changed(request, body=body + b"&Body=Goodbye"),
        "another URL": changed(request, url=request.url + "?x=1"),
        "another content type": changed(request, headers=headers | {"content-type": "text/plain"}),
        "not ASCII": changed(request, body=body + "&Body=é".encode()),
        "not UTF-8": changed(request, body=body + b"&More=%FF"),
        "too many fields": changed(request, body=b"&".join(b"a=1" for _ in range(2000))),
        "two megabytes": changed(request, body=b"a=" + b"x" * 2_000_000),
        "a GET": changed(request, method="GET", body=b""),
        "a hook that is not there": changed(request, url=request.url + "x"),
        "a path that is no hook": changed(request, url=request.url.replace("/hooks/", "/other/")),
    }[case]
    try:
        assert (await rig.deliver(bad)).status == status
    except Ambiguous:
        assert case == "two megabytes", "only a body that is too large may be cut off"
    assert await rig.events() == []
    assert await rig.stream("DEAD") == []
    assert (await rig.deliver(request)).status == 200


async def test_before_nats_is_reached_the_provider_is_told_to_come_again(tmp_path: Path, own_nats: NatsServer) -> None:
    async with running(tmp_path, own_nats) as rig:
        request = a_text(rig)
        own_nats.kill()
        response = await rig.deliver(request)
        assert response.status == 503
        assert "retry-after" in response.headers
        own_nats.restart()
        await until(lambda: rig.link.connected, "NATS is back")
        assert (await rig.deliver(request)).status == 200
        assert len(await rig.events("message.received")) == 1


SECOND_LOGIN = (
    TWILIO.replace("[connections.twilio-uk]", '[connections.twilio-uk]\nhook = "shared"')
    + """
[connections.twilio-us]
gateway = "sms.twilio"
hook = "shared"
sid = "AC00000000000000000000000000000002"
token = "env:LOFT"
api_url = "http://127.0.0.1:{api}"
[accounts.us-sms]
connection = "twilio-us"
tenant = "globex"
address = "tel:+12025550123"
"""
)


async def test_two_logins_may_share_a_hook_and_each_is_credited_with_its_own(
    tmp_path: Path, shared_nats: NatsServer
) -> None:
    async with running(tmp_path, shared_nats, SECOND_LOGIN) as rig:
        assert (await rig.text("Hello", account="uk-sms")).status == 200
        us = rig.account("us-sms")
        simulator = type(rig.simulator)(rig.accounts.connections["twilio-us"].settings, rig.hook_url)
        assert (await rig.deliver(simulator.deliver(us.account, "+12025550177", "Hi"))).status == 200
        first, second = await rig.events("message.received")
        assert (first.tenant, first.account) == ("acme", "uk-sms")
        assert (second.tenant, second.account) == ("globex", "us-sms")


async def test_one_login_cannot_speak_for_anothers_account(tmp_path: Path, shared_nats: NatsServer) -> None:
    async with running(tmp_path, shared_nats, SECOND_LOGIN) as rig:
        us = rig.account("us-sms")
        assert (await rig.deliver(rig.simulator.deliver(us.account, "+12025550177", "Hi"))).status == 200
        (event,) = await rig.events()
        assert isinstance(event.data, AccountUnknown)
        assert event.data.connection == "twilio-uk"


async def test_a_delivery_waits_for_a_nats_that_comes_back_in_time(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, publish = asyncio.Event(), EventStream.publish

    async def publish_and_tell(self: EventStream, event: Event) -> Ack:
        begun.set()
        return await publish(self, event)

    monkeypatch.setattr("sluiceway.stream.PUBLISH_BUDGET_S", 60)
    monkeypatch.setattr("sluiceway.inbound.STORE_BUDGET_S", 60)
    async with running(tmp_path, own_nats) as rig:
        await rig.text("before")
        own_nats.kill()
        monkeypatch.setattr(EventStream, "publish", publish_and_tell)
        delivering = asyncio.create_task(rig.text("during"))
        await begun.wait()
        own_nats.restart()
        assert (await delivering).status == 200
        texts = [
            e.data.message.text for e in await rig.events("message.received") if isinstance(e.data, MessageReceived)
        ]
        assert texts == ["before", "during"]


async def test_the_message_says_when_it_arrived(rig: Rig) -> None:
    before = now()
    await rig.text("Hello")
    (event,) = await rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    arrived = event.data.message.received_at
    assert arrived is not None
    assert before <= arrived <= now()
