"""Mail by Mailgun's webhooks, through the whole service: its notices, its storage, and what became of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import Answer, Request, Response
from sluiceway.testing.nats import NatsServer
from sluiceway_contracts import (
    AccountUnknown,
    ErrorDeadLetter,
    Event,
    Media,
    MessageReceived,
    MessageSend,
    MessageStatus,
)
from sluiceway_gateways.email.mailgun_simulator import MailgunSimulator

from .conftest import Rig, running, until
from .relay import Relay

MAILGUN = """
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
[connections.mail]
gateway = "email.mailgun"
signing_key = "env:TWILIO_TOKEN"
api_key = "env:LOFT"
api_url = "http://127.0.0.1:{api}"
authserv_id = "mx.mailgun.example"
relay_host = "127.0.0.1"
relay_port = {relay}
[accounts.help]
connection = "mail"
tenant = "acme"
address = "mailto:help@acme.example"
[accounts.sales]
connection = "mail"
tenant = "acme"
address = "mailto:sales@acme.example"
"""
ANN = "ann@customer.example"
PDF = b"%PDF-1.4\n1 0 obj <</Type /Catalog>> endobj\n"
LETTER = f"""\
From: Ann <{ANN}>
To: help@acme.example
Subject: Kettle
Message-ID: <one@customer.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=q

--q

It came broken.
--q
Content-Type: application/pdf; name=bill.pdf
Content-Disposition: attachment; filename=bill.pdf

{PDF.decode()}
--q--
""".encode()


@pytest.fixture
async def mailgun(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    relay = Relay()
    try:
        async with running(tmp_path, shared_nats, MAILGUN.replace("{relay}", str(relay.port))) as rig:
            yield rig
    finally:
        relay.stop()


def simulator(rig: Rig) -> MailgunSimulator:
    assert isinstance(rig.simulator, MailgunSimulator)
    return rig.simulator


def received(event: Event) -> MessageReceived:
    assert isinstance(event.data, MessageReceived)
    return event.data


def statuses(events: list[Event]) -> list[tuple[str, str | None]]:
    found = [event.data for event in events if isinstance(event.data, MessageStatus)]
    errors = [data.pieces[0].error for data in found]
    return [(data.overall, error.provider_code if error else None) for data, error in zip(found, errors, strict=True)]


async def reasons(rig: Rig) -> list[str]:
    """Why what was parked was parked."""
    events = [event.data for event in await rig.events("error.dead_letter")]
    return [data.error.message for data in events if isinstance(data, ErrorDeadLetter)]


async def test_a_stored_mail_is_fetched_and_is_on_the_stream_with_its_files_before_the_answer(mailgun: Rig) -> None:
    notice = simulator(mailgun).notice(ANN, "help@acme.example", MailgunSimulator.key(LETTER))
    assert (await mailgun.deliver(notice)).status == 200
    (event,) = await mailgun.events("message.received")
    message = received(event).message
    assert (message.text.split("\n")[0], message.subject) == ("It came broken.", "Kettle")
    assert message.author.address == f"mailto:{ANN}"
    assert message.ext["email"]["envelope_sender"] == ANN
    (file,) = [part for part in message.parts if isinstance(part, Media)]
    assert (file.state, file.name, file.mime) == ("stored", "bill.pdf", "application/pdf")
    assert event.account == "help"


async def test_a_mail_that_is_told_of_twice_is_there_once(mailgun: Rig) -> None:
    for _ in range(2):
        notice = simulator(mailgun).notice(ANN, "help@acme.example", MailgunSimulator.key(LETTER))
        assert (await mailgun.deliver(notice)).status == 200
    assert len(await mailgun.events("message.received")) == 1


async def test_who_is_proven_is_what_the_trusted_server_says(mailgun: Rig) -> None:
    for fields, assurance in (({}, "channel"), ({"unproven": "1"}, "asserted")):
        mailgun.simulator.fields = fields
        assert (await mailgun.text(f"It is {assurance}.", ANN, "help")).status == 200
        event = (await mailgun.events("message.received"))[-1]
        assert received(event).message.author.assurance == assurance


async def test_a_mail_for_several_of_ours_is_each_ones(mailgun: Rig) -> None:
    both = "help+abc@acme.example, Sales@acme.example"
    notice = simulator(mailgun).notice(ANN, both, MailgunSimulator.key(LETTER))
    assert (await mailgun.deliver(notice)).status == 200
    events = await mailgun.events("message.received")
    assert {event.account for event in events} == {"help", "sales"}


async def test_a_mail_for_nobody_here_is_parked_and_announced(mailgun: Rig) -> None:
    notice = simulator(mailgun).notice(ANN, "nobody@acme.example", MailgunSimulator.key(LETTER))
    assert (await mailgun.deliver(notice)).status == 200
    (unknown,) = await mailgun.events("account.unknown")
    assert isinstance(unknown.data, AccountUnknown)
    assert unknown.data.identity == "nobody@acme.example"
    assert not mailgun.provider.requests


async def test_what_mailgun_has_no_more_is_parked_with_what_it_told(mailgun: Rig) -> None:
    mailgun.simulator.fields = {"gone": "1"}
    assert (await mailgun.text("It came broken.", ANN, "help")).status == 200
    (letter,) = await mailgun.stream("DEAD")
    told = msgspec.json.decode(letter[1])
    assert (told["sender"], told["body-plain"]) == (ANN, "It came broken.")
    assert await mailgun.events("error.dead_letter")


async def test_a_notice_of_nothing_stored_is_parked(mailgun: Rig) -> None:
    signed = simulator(mailgun)._signed()
    fields = [("recipient", "help@acme.example"), ("sender", ANN), ("body-plain", "Hi"), *signed.items()]
    assert (await mailgun.deliver(Request.post_form(mailgun.hook_url, fields))).status == 200
    (reason,) = await reasons(mailgun)
    assert "must store()" in reason


async def test_one_that_does_not_say_whom_it_is_for_is_parked_whole(mailgun: Rig) -> None:
    signed = simulator(mailgun)._signed()
    assert (await mailgun.deliver(Request.post_form(mailgun.hook_url, signed.items()))).status == 200
    assert await mailgun.events("error.dead_letter")


async def test_while_mailgun_can_not_be_asked_it_is_to_tell_again(mailgun: Rig) -> None:
    notice = simulator(mailgun).notice(ANN, "help@acme.example", MailgunSimulator.key(LETTER))
    await mailgun.provider.stop()
    assert (await mailgun.deliver(notice)).status == 503
    await mailgun.provider.start()
    assert (await mailgun.deliver(notice)).status == 200
    assert len(await mailgun.events("message.received")) == 1


async def test_a_key_that_mailgun_refuses_loses_nothing(mailgun: Rig) -> None:
    right = mailgun.simulator.settings
    notice = simulator(mailgun).notice(ANN, "help@acme.example", MailgunSimulator.key(LETTER))
    mailgun.simulator.settings = msgspec.structs.replace(right, api_key=right.signing_key)
    assert (await mailgun.deliver(notice)).status == 503
    assert not await mailgun.events("error.dead_letter")
    mailgun.simulator.settings = right
    assert (await mailgun.deliver(notice)).status == 200


async def test_a_notice_that_leads_elsewhere_is_not_followed(mailgun: Rig) -> None:
    sim = simulator(mailgun)
    for url in ("http://169.254.169.254/latest", "https://mailgun.net.evil.example/v3/x"):
        notice = sim.notice(ANN, "help@acme.example", "x", {"message-url": url})
        assert (await mailgun.deliver(notice)).status == 200
    told = await reasons(mailgun)
    assert len(told) == 2
    assert all("https alone" in reason or "no place" in reason for reason in told)


async def test_an_answer_that_is_no_stored_mail_is_parked(mailgun: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailgun.simulator, "answer", lambda request: Answer(Response.of_json({"body-plain": "Hi"})))
    notice = simulator(mailgun).notice(ANN, "help@acme.example", "x")
    assert (await mailgun.deliver(notice)).status == 200
    assert await mailgun.events("error.dead_letter")


@pytest.mark.parametrize(
    ("event", "more", "status", "code"),
    [
        ("delivered", {}, "delivered", None),
        ("failed", {"severity": "permanent", "delivery-status": {"code": 550, "message": "no"}}, "bounced", "550"),
        ("failed", {"severity": "permanent", "delivery-status": {"enhanced-code": "5.1.1"}}, "bounced", "5.1.1"),
        ("failed", {"severity": "permanent", "reason": "old"}, "bounced", None),
    ],
)
async def test_what_became_of_ours_is_a_status(
    mailgun: Rig, event: str, more: dict[str, Any], status: str, code: str | None
) -> None:
    message_id = await _sent(mailgun)
    told = simulator(mailgun).told(message_id, "help@acme.example", event, **more)
    assert (await mailgun.deliver(told)).status == 200

    async def has() -> bool:
        return (status, code) in statuses(await mailgun.events("message.status"))

    await until(has, f"{status} is told")


async def test_a_complaint_is_told_after_the_delivery(mailgun: Rig) -> None:
    message_id = await _sent(mailgun)
    for event in ("delivered", "complained", "opened"):
        told = simulator(mailgun).told(f"<{message_id}>", "", event, message=_headers(message_id))
        assert (await mailgun.deliver(told)).status == 200
    assert [status for status, _ in statuses(await mailgun.events("message.status"))][-2:] == [
        "delivered",
        "complained",
    ]


def _headers(message_id: str) -> dict[str, Any]:
    return {"headers": {"message-id": f"<{message_id}>", "from": "Help <help@acme.example>"}}


async def _sent(rig: Rig) -> str:
    """The Message-ID of a mail of ours that the relay took."""
    command = await rig.send(account="help", to=(f"mailto:{ANN}",))
    await rig.until_event("message.sent")
    assert isinstance(command.data, MessageSend)
    return f"{command.data.message_id}@acme.example"


async def test_what_is_not_about_a_mail_of_ours_is_no_status(mailgun: Rig) -> None:
    told = simulator(mailgun).told("", "help@acme.example", "delivered", message={})
    assert (await mailgun.deliver(told)).status == 200
    assert not await mailgun.events("message.status")


async def test_the_storage_gives_the_mail_itself_to_whoever_asks_for_it(mailgun: Rig) -> None:
    sim = simulator(mailgun)
    url = f"{sim.settings.api_url}/v3/domains/simulated/messages/{MailgunSimulator.key(LETTER)}"
    parsed = await mailgun.deliver(Request.get(url, basic=("api", sim.settings.api_key.reveal())))
    assert "body-mime" not in parsed.json(dict[str, str])
