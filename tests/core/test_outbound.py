"""Commands to a running service: what its provider is asked, and what the stream says became of them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from sluiceway.wire import Response
from sluiceway_contracts import (
    AccountHealth,
    Command,
    CommandFailed,
    ConsentChanged,
    ConversationClose,
    ConversationOpened,
    Event,
    Media,
    MessageMarkSeen,
    MessageReceived,
    MessageRef,
    MessageSent,
    MessageStatus,
    Text,
    UnknownCommand,
    uuid7,
)
from sluiceway_contracts.values import now

from .conftest import Rig, until


def statuses(events: list[Event], message_id: str = "") -> list[str]:
    found = [event.data for event in events if isinstance(event.data, MessageStatus)]
    return [data.status for data in found if not message_id or data.message_id == message_id]


async def conversation(rig: Rig, account: str = "uk-sms") -> str:
    """The conversation of a customer who has just written."""
    await rig.text("Where is my order?", account=account)
    return (await rig.events("message.received"))[-1].subject or ""


async def test_an_answer_goes_out_and_its_receipts_come_back_on_the_stream(rig: Rig) -> None:
    where = await conversation(rig)
    command = await rig.send("On its way.", conversation_id=where)
    await rig.until_event("message.status", 3)
    form = rig.provider.requests[0].form
    assert (form["To"], form["From"], form["Body"]) == ("+447700900456", "+447700900123", "On its way.")
    (sent,) = await rig.events("message.sent")
    assert isinstance(sent.data, MessageSent)
    assert sent.data.message.text == "On its way."
    assert sent.data.message.id == command.data.message_id  # type: ignore[attr-defined]  # it is a MessageSend
    events = await rig.events()
    assert statuses(events) == ["queued", "sent", "delivered"]
    outcome = [event for event in events if isinstance(event.data, (MessageSent, MessageStatus))]
    assert {event.causationid for event in outcome} == {command.id}
    assert {event.subject for event in outcome} == {where}


async def test_a_status_carries_the_segments_that_the_provider_bills(rig: Rig) -> None:
    await rig.send("x" * 200, conversation_id=await conversation(rig))
    (status, *_) = await rig.until_event("message.status")
    assert isinstance(status.data, MessageStatus)
    assert status.data.segments == 2
    assert status.data.overall == status.data.pieces[0].status


async def test_a_message_to_an_address_opens_its_conversation(rig: Rig) -> None:
    await rig.send("Your parcel is here.", to=("tel:+447700900777",))
    await rig.until_event("message.sent")
    (opened,) = await rig.events("conversation.opened")
    assert isinstance(opened.data, ConversationOpened)
    assert opened.data.reason == "outbound"
    await rig.text("Thanks!", "+447700900777")
    (received,) = await rig.events("message.received")
    assert received.subject == opened.subject


async def test_the_same_message_id_is_sent_once(rig: Rig) -> None:
    where, message_id = await conversation(rig), uuid7()
    for _ in range(3):
        await rig.send("Once.", conversation_id=where, message_id=message_id)
    await rig.send("After.", conversation_id=where)
    await rig.until_event("message.sent", 2)
    assert [request.form["Body"] for request in rig.provider.requests] == ["Once.", "After."]


async def test_answers_of_one_conversation_go_out_in_order(rig: Rig) -> None:
    where = await conversation(rig)
    for number in range(20):
        await rig.send(str(number), conversation_id=where)
    await rig.until_event("message.sent", 20)
    assert [request.form["Body"] for request in rig.provider.requests] == [str(number) for number in range(20)]


async def test_media_of_a_type_the_channel_takes_goes_as_media(rig: Rig) -> None:
    photo = Media(kind="image", mime="image/jpeg", url="https://shop.example/parcel.jpg", caption="Your parcel")
    await rig.send(parts=(photo,), conversation_id=await conversation(rig))
    await rig.until_event("message.sent")
    form = rig.provider.requests[0].form
    assert (form["MediaUrl"], form["Body"]) == ("https://shop.example/parcel.jpg", "Your parcel")


async def test_what_the_channel_cannot_show_goes_as_its_fallback(rig: Rig) -> None:
    video = Media(
        kind="video", mime="video/x-unheard-of", name="parcel.xyz", fallback="See https://shop.example/parcel"
    )
    await rig.send(parts=(Text(text="Look:"), video), conversation_id=await conversation(rig))
    await rig.until_event("message.sent")
    assert rig.provider.requests[0].form["Body"] == "Look:\nSee https://shop.example/parcel"


async def test_a_number_that_opted_out_is_rejected_and_the_consent_is_gone(rig: Rig) -> None:
    await rig.send("Hello", to=("tel:+15005550004",))
    (status,) = await rig.until_event("message.status")
    assert isinstance(status.data, MessageStatus)
    assert status.data.status == "rejected"
    error = status.data.pieces[0].error
    assert error is not None
    assert (error.code, error.provider_code) == ("opted_out", "21610")
    (consent,) = await rig.until_event("consent.changed")
    assert isinstance(consent.data, ConsentChanged)
    assert (consent.data.address, consent.data.state) == ("tel:+15005550004", "revoked")


async def test_a_handset_that_cannot_be_reached_ends_as_failed_with_the_providers_code(rig: Rig) -> None:
    await rig.send("Hello", to=("tel:+15005553003",))

    async def failed() -> bool:
        return "failed" in statuses(await rig.events())

    await until(failed, "a failed status")
    last = (await rig.events("message.status"))[-1].data
    assert isinstance(last, MessageStatus)
    assert last.pieces[0].error is not None
    assert last.pieces[0].error.provider_code == "30003"


async def test_a_throttled_send_is_tried_again_when_the_provider_says(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([Response(status=429, headers={"retry-after": "0"}), Response(status=429, headers={})])
    original = rig.provider.answer

    async def answer(request: Any) -> Response:
        return next(answers, None) or await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.send("Again.", conversation_id=await conversation(rig))
    await rig.until_event("message.sent")
    assert [request.form["Body"] for request in rig.provider.requests] == ["Again."]


@pytest.mark.parametrize("status", [500, 503, 201])
async def test_an_answer_that_says_nothing_ends_as_unknown_and_is_never_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    asked = []

    async def answer(request: Any) -> Response:
        asked.append(request)
        return Response(status=status, body=b"<html>garbage")

    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.send("Once.", conversation_id=await conversation(rig))
    await rig.until_event("message.status")
    assert statuses(await rig.events()) == ["unknown"]
    assert len(asked) == 1


async def test_a_message_that_is_too_late_expires_unsent(rig: Rig) -> None:
    past = now() - datetime.timedelta(minutes=1)
    await rig.send("Too late.", conversation_id=await conversation(rig), expires_at=past)
    await rig.until_event("message.status")
    assert statuses(await rig.events()) == ["expired"]
    assert rig.provider.requests == []


async def test_a_receipt_that_overtakes_the_answer_is_told_after_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    original = rig.provider.answer

    async def answer(request: Any) -> Response:
        """Twilio's callbacks arrive, and are answered, before its answer does."""
        response = await original(request)
        await until(lambda: len(rig.provider.statuses) == 3, "three callbacks")
        return response

    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.send("Hello", conversation_id=await conversation(rig))
    await rig.until_event("message.status", 3)
    told = [event for event in await rig.events() if isinstance(event.data, (MessageSent, MessageStatus))]
    assert isinstance(told[0].data, MessageSent)
    assert statuses(told) == ["queued", "sent", "delivered"]
    assert set(rig.provider.statuses) == {204}


async def failure(rig: Rig) -> CommandFailed:
    (event,) = await rig.until_event("command.failed")
    assert isinstance(event.data, CommandFailed)
    assert rig.provider.requests == []
    assert event.causationid == event.data.command_id
    return event.data


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"parts": ()}, "empty_message"),
        ({"parts": (Text(text="  \n"),)}, "empty_message"),
        ({"parts": (Text(text="x" * 40_000),)}, "too_long"),
        ({"to": ()}, "no_recipient"),
        ({"to": ("tel:+447700900777", "tel:+447700900778")}, "too_many_recipients"),
        ({"to": ("tel:0770",)}, "invalid_address"),
        ({"to": ("mailto:a@b.example",)}, "invalid_address"),
        ({"to": (), "conversation_id": uuid7()}, "unknown_conversation"),
        ({"to": (), "conversation_id": "x"}, "unknown_conversation"),
        ({"message_id": "7"}, "invalid"),
        ({"account": "nobody"}, "unknown_account"),
    ],
)
async def test_a_command_that_cannot_be_carried_out_fails_with_a_code(
    rig: Rig, fields: dict[str, Any], code: str
) -> None:
    command = await rig.send(**({"to": ("tel:+447700900777",)} | fields))
    failed = await failure(rig)
    assert (failed.error.code, failed.command_id, failed.command_type) == (code, command.id, command.type)


async def test_bytes_that_are_no_command_fail_as_undecodable(rig: Rig) -> None:
    await rig.command(b"\xff\x00garbage", "sms.uk-sms.message.send._")
    assert (await failure(rig)).error.code == "undecodable"


async def test_an_envelope_of_another_tenant_fails(rig: Rig) -> None:
    foreign = Command(tenant="globex", source="/globex/apps/desk", data=ConversationClose(conversation_id=uuid7()))
    await rig.command(foreign.encode(), "sms.uk-sms.conversation.close._")
    assert (await failure(rig)).error.code == "wrong_tenant"


async def test_an_envelope_of_another_account_fails(rig: Rig) -> None:
    data = ConversationClose(conversation_id=uuid7())
    foreign = Command(tenant="acme", channel="sms", account="de-sms", data=data)
    await rig.command(foreign.encode(), "sms.uk-sms.conversation.close._")
    assert (await failure(rig)).error.code == "wrong_account"


async def test_a_command_of_a_later_version_fails_as_unknown(rig: Rig) -> None:
    later = Command(tenant="acme", type="sluiceway.message.dance", data=UnknownCommand(raw={"steps": 3}))
    await rig.command(later.encode(), "sms.uk-sms.message.dance._")
    assert (await failure(rig)).error.code == "unknown_type"


async def test_a_command_that_the_channel_cannot_do_fails_as_unsupported(rig: Rig) -> None:
    command = Command(tenant="acme", data=ConversationClose(conversation_id=uuid7()))
    await rig.command(command.encode(), "sms.uk-sms.conversation.close._")
    assert (await failure(rig)).error.code == "unsupported"


async def test_a_command_whose_subject_says_otherwise_fails(rig: Rig) -> None:
    command = Command(tenant="acme", data=ConversationClose(conversation_id=uuid7()))
    await rig.command(command.encode(), "sms.uk-sms.message.send._")
    assert (await failure(rig)).error.code == "wrong_type"


async def test_a_conversation_is_answered_only_from_an_account_that_it_is_on(rig: Rig) -> None:
    where = await conversation(rig, account="uk-sms")
    await rig.send("Hello", account="de-sms", conversation_id=where)
    assert (await failure(rig)).error.code == "wrong_account"


async def test_a_conversation_is_answered_only_at_its_contacts_addresses(rig: Rig) -> None:
    where = await conversation(rig)
    await rig.send("Hello", conversation_id=where, to=("tel:+447700900999",))
    assert (await failure(rig)).error.code == "wrong_address"


async def test_a_command_that_needs_an_account_and_names_none_is_told_so(rig: Rig) -> None:
    command = Command(tenant="acme", data=MessageMarkSeen(target=MessageRef(id=uuid7())))
    await rig.command(command.encode(), "any.any.message.mark_seen._")
    assert (await failure(rig)).error.code == "unsupported"


async def test_a_subject_that_is_none_of_the_contracts_hurts_nobody(rig: Rig) -> None:
    await rig.command(b"{}", "sms.uk-sms.message")
    await rig.send("Hello", conversation_id=await conversation(rig))
    await rig.until_event("message.sent")
    assert await rig.events("command.failed") == []


async def test_after_a_bad_command_the_next_one_is_carried_out(rig: Rig) -> None:
    where = await conversation(rig)
    await rig.command(b"garbage", "sms.uk-sms.message.send._")
    await rig.send("Hello", conversation_id=where)
    await rig.until_event("message.sent")
    assert len(await rig.events("command.failed")) == 1


async def test_a_long_text_goes_out_in_pieces_in_order_and_is_one_message(rig: Rig) -> None:
    words = "\n\n".join(f"Paragraph {number}: " + "word " * 100 for number in range(8))
    command = await rig.send(words, conversation_id=await conversation(rig))
    await rig.until_event("message.sent")
    bodies = [request.form["Body"] for request in rig.provider.requests]
    assert len(bodies) > 1
    assert "".join("".join(bodies).split()) == "".join(words.split())
    (sent,) = await rig.events("message.sent")
    assert isinstance(sent.data, MessageSent)
    assert len(sent.data.message.external_ids) == len(bodies)
    await rig.until_event("message.status", 3 * len(bodies))
    last = (await rig.events("message.status"))[-1]
    assert isinstance(last.data, MessageStatus)
    assert last.data.overall == "delivered"
    assert {piece.status for piece in last.data.pieces} == {"delivered"}
    assert last.causationid == command.id


async def test_a_refused_second_piece_fails_the_message_and_tells_what_arrived(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = rig.provider.answer

    async def answer(request: Any) -> Response:
        if len(rig.provider.requests) == 1:
            return Response.of_json({"code": 21211, "message": "no"}, status=400)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.send("word " * 500, conversation_id=await conversation(rig))

    async def rejected() -> bool:
        return "rejected" in statuses(await rig.events())

    await until(rejected, "a rejected piece")
    status = next(e.data for e in await rig.events("message.status") if getattr(e.data, "status", "") == "rejected")
    assert isinstance(status, MessageStatus)
    assert status.overall == "rejected"
    assert status.pieces[0].external_id is not None
    assert status.pieces[1].external_id is None
    assert len(await rig.events("message.sent")) == 1


async def test_a_message_before_its_time_waits_for_it_at_the_server(rig: Rig) -> None:
    where = await conversation(rig)
    await rig.send("Later.", conversation_id=where, not_before=now() + datetime.timedelta(seconds=2))
    await rig.send("Now.", conversation_id=where)
    await rig.until_event("message.sent", 2)
    assert [request.form["Body"] for request in rig.provider.requests] == ["Now.", "Later."]
    assert len(await rig.stream("COMMANDS")) == 3


async def test_an_answer_is_refused_when_the_customer_has_written_since(rig: Rig) -> None:
    where = await conversation(rig)
    (first,) = await rig.events("message.received")
    assert isinstance(first.data, MessageReceived)
    await rig.text("Never mind!")
    await rig.send("On its way.", conversation_id=where, if_last_inbound=first.data.message.id)
    assert (await failure(rig)).error.code == "answered_past"


async def test_an_answer_to_the_last_message_goes_out(rig: Rig) -> None:
    where = await conversation(rig)
    (first,) = await rig.events("message.received")
    assert isinstance(first.data, MessageReceived)
    await rig.send("On its way.", conversation_id=where, if_last_inbound=first.data.message.id)
    await rig.until_event("message.sent")


async def test_refused_credentials_pause_the_account_and_the_queue_goes_out_when_they_work(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.health.PROBE_S", 0.2)
    original, refusing = rig.provider.answer, True

    async def answer(request: Any) -> Response:
        if refusing:
            return Response.of_json({"code": 20003, "message": "Authenticate"}, status=401)
        return await original(request)

    monkeypatch.setattr(rig.provider, "answer", answer)
    where = await conversation(rig)
    for number in range(5):
        await rig.send(str(number), conversation_id=where)
    (paused,) = await rig.until_event("account.health")
    assert isinstance(paused.data, AccountHealth)
    assert (paused.data.state, paused.data.error and paused.data.error.provider_code) == ("paused", "20003")
    refusing = False
    await rig.until_event("message.sent", 5)
    assert [request.form["Body"] for request in rig.provider.requests] == [str(number) for number in range(5)]
    healthy = (await rig.events("account.health"))[-1].data
    assert isinstance(healthy, AccountHealth)
    assert healthy.state == "healthy"


async def test_a_message_expires_while_its_account_is_paused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: Any) -> Response:
        return Response.of_json({"code": 20003, "message": "Authenticate"}, status=401)

    monkeypatch.setattr(rig.provider, "answer", answer)
    monkeypatch.setattr("sluiceway.health.PROBE_S", 0.2)
    soon = now() + datetime.timedelta(seconds=1)
    await rig.send("Soon.", conversation_id=await conversation(rig), expires_at=soon)
    await rig.until_event("message.status")
    assert statuses(await rig.events()) == ["expired"]
