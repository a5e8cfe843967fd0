"""Mail through the runtime: in by SMTP, out by a relay, in one conversation; forgeries, machines, bombs."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluiceway import accounts, config
from sluiceway.desk import check_tenants
from sluiceway.errors import ConfigError, Unavailable
from sluiceway.inbound import Inbound
from sluiceway.service import Service
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway_contracts import (
    Command,
    CommandFailed,
    Event,
    FileRef,
    Media,
    MessageReceived,
    MessageSend,
    MessageSent,
    MessageStatus,
    Party,
    Text,
    uuid7,
)

from ..ports import is_open
from .conftest import ENVIRONMENT, Rig, _numbers, load, until
from .relay import Relay

EMAIL = """
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
gateway = "email.smtp"
listen = "127.0.0.1:{listen}"
relay_host = "127.0.0.1"
relay_port = {relay}
authserv_id = "mx.acme.example"
max_bytes = 3000000
[accounts.help]
connection = "mail"
tenant = "acme"
address = "mailto:help@acme.example"
name = "Acme Kettles"
[accounts.sales]
connection = "mail"
tenant = "acme"
address = "mailto:sales@acme.example"
"""
ANN, BOB, EVE = "ann@customer.example", "bob@customer.example", "eve@elsewhere.example"
HELP = "help@acme.example"
PASS = "mx.acme.example; dmarc=pass header.from={domain}"


class Post:
    """The mail gateway, its relay, and customers."""

    def __init__(self, service: Service, relay: Relay, listen: int, rig: Any) -> None:
        self.service, self.relay, self.rig = service, relay, rig
        self.listen = listen

    async def write(
        self, text: str = "It came broken.", sender: str = ANN, to: str = HELP, *, proven: bool = True, **fields: str
    ) -> EmailMessage:
        """A customer's mail, as the MX hands it on."""
        mail = letter(text, sender, to, proven=proven, **fields)
        await self.hand_on(mail.as_bytes(), sender, to)
        return mail

    async def hand_on(self, raw: bytes, sender: str, *to: str) -> None:
        def send() -> None:
            with smtplib.SMTP("127.0.0.1", self.listen, timeout=30) as client:
                client.sendmail(sender, list(to), raw)

        await asyncio.to_thread(send)

    async def received(self, count: int = 1) -> list[Event]:
        events: list[Event] = await self.rig.until_event("message.received", count)
        return events

    async def answer(self, event: Event, text: str = "On its way.", role: str = "agent", **fields: Any) -> MessageSend:
        parts = fields.pop("parts", (Text(text=text),))
        data = MessageSend(
            message_id=uuid7(), author=Party(role=role), parts=parts, conversation_id=event.subject, **fields
        )
        command = Command(tenant="acme", channel="email", account="help", subject=event.subject, data=data)
        await self.rig.link.publish(
            command.nats_subject(self.rig.core.nats.prefix), command.encode(), command.headers()
        )
        return data


def letter(
    text: str, sender: str = ANN, to: str = HELP, *, proven: bool = True, message_id: str | None = None, **fields: str
) -> EmailMessage:
    mail = EmailMessage()
    domain = sender.rpartition("@")[2]
    mail["Authentication-Results"] = PASS.format(domain=domain) if proven else "mx.acme.example; dmarc=none"
    mail["From"] = f"Somebody <{sender}>"
    mail["To"] = to
    mail["Subject"] = fields.pop("subject", "Kettle")
    mail["Message-ID"] = f"<{message_id or uuid7()}@{domain}>"
    for name, value in fields.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail


class Halfrig(Rig):
    """A rig without a simulator."""

    def __init__(self, core: Any, served: Any) -> None:
        self.core, self.accounts = core, served
        self.service = Service(core, served)
        self.link = self.service.link


@pytest.fixture
async def post(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Post]:
    relay, listen = Relay(), free_port()
    values = {"url": shared_nats.url, "number": next(_numbers), "hooks": free_port(), "probes": free_port()}
    core, served = load(tmp_path, EMAIL, listen=listen, relay=relay.port, **values)
    rig = Halfrig(core, served)
    await rig.service.start()
    await until(lambda: rig.service.ready and is_open(listen), "the service is ready, and listens for mail")
    try:
        yield Post(rig.service, relay, listen, rig)
    finally:
        await rig.service.stop()
        relay.stop()


def received(event: Event) -> MessageReceived:
    assert isinstance(event.data, MessageReceived)
    return event.data


async def test_a_mail_is_a_message_and_the_answer_to_it_a_mail_in_its_thread(post: Post) -> None:
    mail = await post.write()
    (event,) = await post.received()
    message = received(event).message
    assert (message.text, message.subject) == ("It came broken.", "Kettle")
    assert (message.author.address, message.author.assurance) == (f"mailto:{ANN}", "channel")
    assert message.thread is not None
    assert f"<{message.thread.message_id}>" == mail["Message-ID"]
    send = await post.answer(event)
    (sent,) = await post.rig.until_event("message.sent")
    assert isinstance(sent.data, MessageSent)
    (answer,) = post.relay.mails()
    assert answer["Message-ID"] == f"<{send.message_id}@acme.example>"
    assert answer["In-Reply-To"] == mail["Message-ID"]
    assert answer["References"] == mail["Message-ID"]
    assert answer["Subject"] == "Re: Kettle"
    assert answer["From"] == "Acme Kettles <help@acme.example>"
    assert answer["Reply-To"].addresses[0].addr_spec.startswith("help+")
    assert answer.get_content().strip() == "On its way."
    assert sent.data.message.external_ids == (f"{send.message_id}@acme.example",)


async def test_the_customers_answer_by_the_reply_address_goes_on_in_the_conversation(post: Post) -> None:
    await post.write()
    (first,) = await post.received()
    await post.answer(first)
    await post.rig.until_event("message.sent")
    (answer,) = post.relay.mails()
    token = answer["Reply-To"].addresses[0].addr_spec
    await post.write("Thanks!", to=token, In_Reply_To=answer["Message-ID"], subject="Re: Kettle")
    events = await post.received(2)
    assert events[1].subject == first.subject
    assert received(events[1]).resolved_by == "open"


async def test_who_was_copied_in_by_the_customer_takes_part_and_a_stranger_does_not(post: Post) -> None:
    await post.write(Cc=f"Bob <{BOB}>", message_id="first")
    (first,) = await post.received()
    reference = "<first@customer.example>"
    await post.write("I have the same.", BOB, In_Reply_To=reference)
    await post.write("Send me the refund instead.", EVE, In_Reply_To=reference, subject="Re: Kettle")
    await post.write("Me too.", BOB, proven=False, In_Reply_To=reference)
    _, bob, eve, forged = await post.received(4)
    assert (bob.subject, received(bob).resolved_by) == (first.subject, "message_id")
    assert eve.subject != first.subject
    assert received(eve).message.ext["email"]["suggested_conversation"] == first.subject
    assert forged.subject != first.subject


async def test_a_forged_sender_joins_nobody(post: Post) -> None:
    await post.write()
    await post.write("Change my address, please.", proven=False)
    first, forged = await post.received(2)
    assert forged.contactid != first.contactid
    assert forged.subject != first.subject
    assert received(forged).message.author.assurance == "asserted"


async def test_a_forged_from_cc_or_in_reply_to_joins_no_conversation(post: Post) -> None:
    """Nor does anything else that a mail says of who wrote it, or whom it is about."""
    await post.write(message_id="first")
    (first,) = await post.received()
    ours = "<first@customer.example>"
    await post.write("From", ANN, proven=False)
    await post.write("From, In-Reply-To, Cc", ANN, proven=False, message_id="forged", Cc=EVE, In_Reply_To=ours)
    await post.write("In-Reply-To and References", EVE, In_Reply_To=ours, References=ours)
    await post.write("Cc and Reply-To", EVE, Cc=f"Ann <{ANN}>", Reply_To=ANN, In_Reply_To=ours)
    await post.write("Copied in by what was forged", EVE, In_Reply_To="<forged@customer.example>")
    await post.write("Sender and Resent-From", EVE, Sender=ANN, Resent_From=ANN)
    await post.write(f"---- Forwarded message ----\nFrom: Ann <{ANN}>\nSubject: Kettle\n\nIt leaks.", EVE)
    _, *others = await post.received(8)
    assert [e for e in others if first.subject == e.subject or first.contactid == e.contactid] == []
    resent, forwarded = (received(event).message.ext["email"] for event in others[-2:])
    assert resent["resent_from"] == [ANN]
    assert forwarded["forwarded_from"] == {"address": ANN, "name": "Ann"}


async def test_a_strangers_authentication_results_are_not_believed(post: Post) -> None:
    mail = letter("Hello", proven=False)
    del mail["Authentication-Results"]
    mail["Authentication-Results"] = "mx.elsewhere.example; dmarc=pass header.from=customer.example"
    await post.hand_on(mail.as_bytes(), ANN, HELP)
    (event,) = await post.received()
    assert received(event).message.author.assurance == "asserted"


async def test_the_same_mail_ten_times_is_one_event(post: Post) -> None:
    raw = letter("Once").as_bytes()
    for number in range(10):
        await post.hand_on(b"Received: by hop %d\r\n" % number + raw, ANN, HELP)
    await asyncio.sleep(0.2)
    assert len(await post.received()) == 1


async def test_a_mail_to_two_of_ours_is_credited_to_each(post: Post) -> None:
    await post.hand_on(letter("To both").as_bytes(), ANN, HELP, "Sales@acme.example")
    events = await post.received(2)
    assert [event.account for event in events] == ["help", "sales"]


async def test_who_is_nobody_here_is_refused_at_once(post: Post) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as error:
        await post.hand_on(letter("Hello").as_bytes(), ANN, "nobody@acme.example")
    assert error.value.recipients["nobody@acme.example"][0] == 550


async def test_attachments_are_stored_and_named(post: Post) -> None:
    mail = letter("See the photo")
    mail.add_attachment(b"\x89PNG\r\n\x1a\n" + bytes(1000), maintype="image", subtype="png", filename="lid.png")
    await post.hand_on(mail.as_bytes(), ANN, HELP)
    (event,) = await post.received()
    message = received(event).message
    (part,) = [part for part in message.parts if isinstance(part, Media)]
    assert (part.state, part.mime, part.name, part.size) == ("stored", "image/png", "lid.png", 1008)
    raw = FileRef.parse(message.ext["email"]["raw"])
    stored = await post.service._files.find(raw)
    assert stored is not None
    assert stored.size >= len(mail.as_bytes())


async def test_what_is_larger_than_is_taken_is_refused_and_the_next_is_taken(post: Post) -> None:
    large = letter("Look").as_bytes() + b"x" * 3_000_000
    with pytest.raises(smtplib.SMTPSenderRefused) as error:  # it says how large it is
        await post.hand_on(large, ANN, HELP)
    assert error.value.smtp_code == 552

    def unannounced() -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", post.listen, timeout=30) as client:
            client.helo()
            client.mail(ANN)
            client.rcpt(HELP)
            return client.data(large)

    assert (await asyncio.to_thread(unannounced))[0] == 552
    await post.write()
    await post.received()


async def test_long_lines_and_dots_arrive_as_they_were_sent(post: Post) -> None:
    text = "y" * 5000 + "\r\n.\r\n..two\r\n" + "z" * 2000
    raw = b"From: ann@customer.example\r\nSubject: dots\r\n\r\n" + text.encode()
    await post.hand_on(raw, ANN, HELP)
    (event,) = await post.received()
    assert received(event).message.text.split() == text.split()


async def test_a_bomb_is_put_aside_with_its_bytes_and_the_next_mail_is_read(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = post.service._workers.call

    async def crash(function: str, *arguments: Any) -> bytes:
        return await call("time:sleep", 60)

    monkeypatch.setattr(post.service._workers, "call", crash)
    await post.write("Bomb")
    monkeypatch.setattr(post.service._workers, "call", call)
    await post.write("After it")
    (event,) = await post.received()
    assert received(event).message.text == "After it"
    await post.rig.until_event("error.dead_letter")
    ((_, letter_),) = await post.rig.stream("DEAD")
    ref = FileRef.parse(msgspec.json.decode(letter_)["raw"])
    assert await post.service._files.find(ref) is not None


async def test_a_machine_is_not_answered_by_a_machine_and_a_loop_ends_after_two(post: Post) -> None:
    """Two systems that answer everything: ours by a bot, theirs without a word that it is one."""
    await post.write()
    (event,) = await post.received()
    for number in range(3):
        await post.answer(event, f"We got it ({number}).", role="bot")
        await post.write(f"Automatic reply ({number})")
        event = (await post.received(number + 2))[-1]
    assert len(post.relay.got) == 1
    failed = [e.data for e in await post.rig.until_event("command.failed", 2)]
    assert {data.error.code for data in failed if isinstance(data, CommandFailed)} == {"too_many_automatic"}
    sender, _, _ = post.relay.got[0]
    (sent,) = post.relay.mails()
    assert (sender, sent["Auto-Submitted"]) == ("<>", "auto-replied")


async def test_a_long_mail_in_any_script_is_a_message_and_says_that_it_was_cut(post: Post) -> None:
    await post.write("🙂漢" * 120_000)
    (event,) = await post.received()
    assert received(event).message.ext["email"]["cut"]


async def test_who_wrote_with_the_null_sender_is_a_machine(post: Post) -> None:
    await post.hand_on(letter("I am away").as_bytes(), "", HELP)
    (event,) = await post.received()
    assert received(event).message.ext["email"]["automatic"] == "auto_generated"


async def test_an_out_of_office_is_marked_and_not_answered_by_a_bot(post: Post) -> None:
    await post.write("I am away", Auto_Submitted="auto-replied", subject="Out of office")
    (event,) = await post.received()
    assert received(event).message.ext["email"]["automatic"]
    await post.answer(event, role="bot")
    (failed,) = await post.rig.until_event("command.failed")
    assert isinstance(failed.data, CommandFailed)
    assert failed.data.error.code == "automatic_sender"


async def test_what_is_greylisted_is_tried_again_under_the_same_message_id(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.sending.RETRIES_S", (0.05, 0.05, 0.05))
    post.relay.answers = ["451 4.7.1 greylisted", "421 4.3.2 busy"]
    await post.write()
    (event,) = await post.received()
    send = await post.answer(event)
    await post.rig.until_event("message.sent")
    (mail,) = post.relay.mails()
    assert mail["Message-ID"] == f"<{send.message_id}@acme.example>"


async def test_a_mail_whose_answer_was_lost_is_tried_again_under_the_same_message_id_and_told_once(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.sending.RETRIES_S", (0.05, 0.05, 0.05))
    await post.write()
    (event,) = await post.received()
    post.relay.hangs_up = True
    send = await post.answer(event)
    (sent,) = await post.rig.until_event("message.sent")
    assert [mail["Message-ID"] for mail in post.relay.mails()] == [f"<{send.message_id}@acme.example>"] * 2
    assert isinstance(sent.data, MessageSent)


async def test_what_is_refused_is_rejected_with_its_code(post: Post) -> None:
    post.relay.answers = ["550 5.1.1 no such user"]
    await post.write()
    (event,) = await post.received()
    await post.answer(event)
    (status,) = await post.rig.until_event("message.status")
    assert isinstance(status.data, MessageStatus)
    error = status.data.pieces[0].error
    assert error is not None
    assert (status.data.status, error.provider_code) == ("rejected", "5.1.1")


async def test_a_bounce_is_told_of_the_message_that_it_is_about(post: Post) -> None:
    await post.write()
    (event,) = await post.received()
    send = await post.answer(event)
    await post.rig.until_event("message.sent")
    await post.hand_on(bounce(f"{send.message_id}@acme.example").encode(), "", HELP)
    (status,) = await post.rig.until_event("message.status")
    assert isinstance(status.data, MessageStatus)
    error = status.data.pieces[0].error
    assert error is not None
    assert (status.data.status, status.data.overall, error.provider_code) == ("bounced", "bounced", "5.1.1")
    assert len(await post.received()) == 1, "it is nobody's message"


def bounce(message_id: str) -> str:
    return f"""From: MAILER-DAEMON@relay.example
To: {HELP}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example

Final-Recipient: rfc822; {ANN}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 unknown user

--b
Content-Type: message/rfc822

From: {HELP}
To: {ANN}
Message-ID: <{message_id}>
Subject: Re: Kettle

On its way.
--b--
""".replace("\n", "\r\n")


async def test_while_nothing_can_be_stored_mail_is_sent_back_and_is_there_when_it_comes_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, raw = Inbound.accept, letter("Later").as_bytes()

    async def away(*_: Any) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(Inbound, "accept", away)
    with pytest.raises(smtplib.SMTPDataError) as error:
        await post.hand_on(raw, ANN, HELP)
    assert error.value.smtp_code == 451
    monkeypatch.setattr(Inbound, "accept", accept)
    await post.hand_on(raw, ANN, HELP)
    assert len(await post.received()) == 1


async def test_a_file_goes_out_as_an_attachment(post: Post) -> None:
    await post.write()
    (event,) = await post.received()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"%PDF-1.7\n" + bytes(range(256)) * 1000

    file = await post.service._files.keep("acme", chunks(), "application/pdf")
    media = Media(kind="file", ref=file.ref, name="Rechnung für Sie.pdf")
    await post.answer(event, parts=(Text(text="Here it is."), media))
    await post.rig.until_event("message.sent")
    (mail,) = post.relay.mails()
    (attached,) = list(mail.iter_attachments())
    assert attached.get_filename() == "Rechnung für Sie.pdf"
    assert len(attached.get_content()) == file.size


async def test_a_mailbox_is_one_tenants(tmp_path: Path, shared_nats: NatsServer) -> None:
    text = EMAIL.replace("email.smtp", "email.imap").replace('listen = "127.0.0.1:{listen}"', 'host = "127.0.0.1"')
    text = text.replace("max_bytes = 3000000", 'user = "help"\npassword = "env:IDENTITY_KEY"')
    several, same = text.replace('tenant = "acme"', 'tenant = "globex"', 1), text
    values = {"url": shared_nats.url, "hooks": free_port(), "probes": free_port(), "relay": 9, "listen": 9}
    check_tenants(load(tmp_path, same, number=next(_numbers), **values)[1])
    service = Service(*load(tmp_path, several, number=next(_numbers), **values))
    with pytest.raises(ConfigError, match="its accounts belong to one tenant"):
        await service.start()


async def test_twelve_mailboxes_come_and_go_while_it_listens(post: Post, tmp_path: Path) -> None:
    await post.write()
    (first,) = await post.received()
    text = (tmp_path / "sluiceway.toml").read_text()
    more = "".join(
        f'[accounts.box{n}]\nconnection = "mail"\ntenant = "acme"\naddress = "mailto:box{n}@acme.example"\n'
        for n in range(12)
    )
    (tmp_path / "sluiceway.toml").write_text(text + more)
    loaded = config.load(str(tmp_path / "sluiceway.toml"), ENVIRONMENT)
    await post.service.renew(accounts.of(loaded))
    await until(lambda: is_open(post.listen), "it listens again")
    await post.write(to="box11@acme.example")
    assert (await post.received(2))[1].account == "box11"
    await post.answer(first)
    await post.rig.until_event("message.sent")
    assert len(post.relay.mails()) == 1, "the account that stayed sends as before"
    (tmp_path / "sluiceway.toml").write_text(text)
    await post.service.renew(accounts.of(config.load(str(tmp_path / "sluiceway.toml"), ENVIRONMENT)))
    await until(lambda: is_open(post.listen), "it listens again")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        await post.write(to="box11@acme.example")
