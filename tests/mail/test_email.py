"""Mail on real servers: by an MX that verifies, out by a relay that bounces, out of a mailbox whose server dies."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluiceway.service import Service
from sluiceway.testing.nats import NatsServer, nats_server
from sluiceway.testing.ports import free_port
from sluiceway_contracts import (
    Command,
    Event,
    MessageReceived,
    MessageSend,
    MessageStatus,
    Party,
    Text,
    uuid7,
)

from ..core.conftest import Rig, _numbers, load, until
from ..ports import is_open
from .conftest import Relay
from .servers import Dovecot, Route
from .test_servers import mails

CORE = """
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
"""
SMTP = """
[connections.mail]
gateway = "email.smtp"
listen = "127.0.0.1:{listen}"
relay_host = "127.0.0.1"
relay_port = {relay}
authserv_id = "mx.acme.example"
[accounts.help]
connection = "mail"
tenant = "acme"
address = "mailto:help@acme.example"
"""
IMAP = """
[connections.mail]
gateway = "email.imap"
host = "127.0.0.1"
port = {imap}
ca_file = "{ca}"
user = "{user}"
password = "file:password"
since = "all"
[accounts.help]
connection = "mail"
tenant = "acme"
address = "mailto:{user}"
"""
VERIFIED = "Authentication-Results: mx.acme.example; dmarc=pass header.from=customer.example"


class Desk(Rig):
    """A mail gateway, and an agent who answers."""

    def __init__(self, core: Any, served: Any) -> None:
        self.core, self.accounts = core, served
        self.service = Service(core, served)
        self.link = self.service.link

    async def received(self, count: int = 1) -> list[Event]:
        return await self.until_event("message.received", count)

    async def write(self, text: str, **fields: Any) -> MessageSend:
        data = MessageSend(message_id=uuid7(), author=Party(role="agent"), parts=(Text(text=text),), **fields)
        conversation = fields.get("conversation_id")
        command = Command(tenant="acme", channel="email", account="help", subject=conversation, data=data)
        await self.link.publish(command.nats_subject(self.core.nats.prefix), command.encode(), command.headers())
        return data


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@asynccontextmanager
async def running(folder: Path, nats: NatsServer, text: str, **values: Any) -> AsyncIterator[Desk]:
    number = next(_numbers) + 9000
    core, served = load(
        folder, CORE + text, url=nats.url, number=number, hooks=free_port(), probes=free_port(), **values
    )
    desk = Desk(core, served)
    await desk.service.start()
    await until(lambda: desk.service.ready or desk.service.fatal, "the service is ready")
    if "listen" in values:
        await until(lambda: is_open(values["listen"]), "it listens for mail")
    try:
        yield desk
    finally:
        await desk.service.stop()


def hand_in(port: int, sender: str, recipient: str, text: str, *lines: str) -> None:
    """As a customer's own mail system does."""
    head = (f"From: {sender}", f"To: {recipient}", "Subject: Kettle", f"Message-ID: <{uuid7()}@x.example>", *lines)
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.sendmail(sender, [recipient], "\r\n".join((*head, "", text)).encode())


async def test_a_mail_its_answer_and_the_answer_to_that_are_one_conversation_over_real_servers(
    tmp_path: Path, nats: NatsServer, relay: Relay, dovecot: Dovecot
) -> None:
    """The MX says who it is from, the relay brings ours into the customer's mailbox, the Reply-To leads back."""
    customer, listen = dovecot.user(), free_port()
    mx = relay({"acme.example": Route(listen)}, name="mx.acme.example", adds=(VERIFIED,))
    out = relay({"customer.example": dovecot.route}, name="out.acme.example")
    async with running(tmp_path, nats, SMTP, listen=listen, relay=out.port) as desk:
        await asyncio.to_thread(hand_in, mx.port, customer.name, "help@acme.example", "It came broken.")
        (first,) = await desk.received()
        await desk.write("On its way.", conversation_id=first.subject)
        await until(lambda: mails(dovecot, customer), "the answer is in the mailbox")
        (answer,) = mails(dovecot, customer)
        assert answer.get_content().strip() == "On its way."
        to = answer["Reply-To"].addresses[0].addr_spec
        line = f"In-Reply-To: {answer['Message-ID']}"
        await asyncio.to_thread(hand_in, mx.port, customer.name, to, "Thanks!", line)
        events = await desk.received(2)
        assert events[0].subject == events[1].subject
        assert isinstance(events[0].data, MessageReceived)
        assert events[0].data.message.author.assurance == "channel"


async def test_a_genuine_bounce_is_told_of_the_message_that_it_is_about(
    tmp_path: Path, nats: NatsServer, relay: Relay, dovecot: Dovecot
) -> None:
    listen = free_port()
    out = relay({"customer.example": dovecot.route, "acme.example": Route(listen)}, name="out.acme.example")
    async with running(tmp_path, nats, SMTP, listen=listen, relay=out.port) as desk:
        sent = await desk.write("Hello?", to=(f"mailto:nobody@{dovecot.domain}",))
        statuses = await desk.until_event("message.status")
        bounced = [event.data for event in statuses if isinstance(event.data, MessageStatus)][-1]
        assert bounced.message_id == sent.message_id
        assert bounced.overall in ("bounced", "rejected")
        error = bounced.pieces[0].error
        assert error is not None
        assert (error.provider_code or "").startswith("5.")


async def test_an_outage_of_the_mailbox_leaves_no_gap_and_nothing_is_there_twice(
    tmp_path: Path, nats: NatsServer, own_dovecot: Dovecot
) -> None:
    user = own_dovecot.user("help")
    (tmp_path / "password").write_text(user.password)
    values = {"imap": own_dovecot.imaps_port, "ca": own_dovecot.tls.ca, "user": user.name}

    def deliver(numbers: range) -> None:
        for number in numbers:
            head = f"From: c{number}@customer.example\r\nSubject: {number}\r\nMessage-ID: <{number}@c.example>\r\n"
            own_dovecot.deliver(user, f"{head}\r\nNumber {number}\r\n".encode())

    await asyncio.to_thread(deliver, range(40))
    async with running(tmp_path, nats, IMAP, **values) as desk:
        await desk.received(10)
        await asyncio.to_thread(own_dovecot.restart)
        await asyncio.to_thread(deliver, range(40, 60))
        events = await desk.received(60)
        texts = [event.data.message.text for event in events if isinstance(event.data, MessageReceived)]
        assert sorted(texts, key=lambda text: int(text.split()[1])) == [f"Number {number}" for number in range(60)]
        assert texts == sorted(texts, key=lambda text: int(text.split()[1]))


async def test_of_two_processes_one_reads_the_mailbox(
    tmp_path: Path, nats: NatsServer, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluiceway.lease.BEAT_S", 0.2)
    monkeypatch.setattr("sluiceway.lease.LOST_S", 1.5)
    user = dovecot.user()
    (tmp_path / "password").write_text(user.password)
    values = {"imap": dovecot.imaps_port, "ca": dovecot.tls.ca, "user": user.name}
    mail = b"From: ann@customer.example\r\nMessage-ID: <one@c.example>\r\nSubject: 1\r\n\r\nNumber 1\r\n"
    async with running(tmp_path, nats, IMAP, **values) as desk:
        second = Service(desk.core, desk.accounts)
        second.server, second.probes = _elsewhere(second)
        await second.start()
        await until(lambda: second.ready, "the second is ready")
        await asyncio.to_thread(dovecot.deliver, user, mail)
        await desk.received()
        await asyncio.sleep(1)
        assert len(await desk.received()) == 1
        await second.stop()


def _elsewhere(service: Service) -> Any:
    """Servers on other ports."""
    from sluiceway.http.server import Server, paths

    return [Server(f"127.0.0.1:{free_port()}", paths({})) for _ in range(2)]
