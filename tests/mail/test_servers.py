"""The mail servers that other tests rely on do by themselves what is expected of them."""

from __future__ import annotations

import email
import email.policy
import imaplib
import smtplib
import ssl
import time
from collections.abc import Callable
from email.message import EmailMessage
from typing import TypeVar

import pytest

from . import servers
from .conftest import Relay
from .servers import BOUNCES, BUSY, DELAYED, GREYLISTED, REFUSED, SPAM, Certificates, Dovecot, User

PATIENCE_S = 20
CUSTOMER = "customer@tenant.example"


def mail(recipient: str, subject: str = "My kettle", sender: str = CUSTOMER) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, recipient, subject
    message["Message-ID"] = f"<{time.time_ns()}@tenant.example>"
    message.set_content("It leaks.\n")
    return message


T = TypeVar("T")


def until(ask: Callable[[], T], what: str) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.05)
    pytest.fail(f"never happened: {what}")


def mails(dovecot: Dovecot, user: User) -> list[EmailMessage]:
    """What an IMAP client finds in the mailbox."""
    with imaplib.IMAP4("127.0.0.1", dovecot.imap_port, timeout=PATIENCE_S) as client:
        client.login(user.name, user.password)
        client.select("INBOX", readonly=True)
        _, found = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
        bodies = [part[1] for part in found if isinstance(part, tuple)]
        return [email.message_from_bytes(body, policy=email.policy.default) for body in bodies]


def report(found: EmailMessage) -> dict[str, str]:
    """The fields of a delivery status notification's last recipient (RFC 3464)."""
    assert found.get_content_type() == "multipart/report"
    status = next(part for part in found.walk() if part.get_content_type() == "message/delivery-status")
    fields: dict[str, str] = {}
    for block in status.get_payload():
        assert isinstance(block, EmailMessage)
        fields |= {name.lower(): str(value) for name, value in block.items()}
    return fields


def send(port: int, message: EmailMessage, *options: str, notify: str = "FAILURE,DELAY") -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S) as client:
        client.send_message(message, mail_options=options, rcpt_options=[f"NOTIFY={notify}"])


def test_a_mail_to_a_relay_is_read_by_imap(dovecot: Dovecot, relay: Relay) -> None:
    desk = dovecot.user()
    exim = relay({dovecot.domain: dovecot.route}, adds=("Authentication-Results: mx.example; dmarc=pass",))
    send(exim.port, mail(desk.name))
    [found] = until(lambda: mails(dovecot, desk), "the mail is in the mailbox")
    assert (found["Subject"], found["Return-Path"]) == ("My kettle", f"<{CUSTOMER}>")
    assert found["Authentication-Results"] == "mx.example; dmarc=pass"


def test_a_mail_to_somebody_unknown_comes_back_as_a_dsn(dovecot: Dovecot, relay: Relay) -> None:
    desk = dovecot.user()
    exim = relay({dovecot.domain: dovecot.route})
    send(exim.port, mail(f"unknown@{dovecot.domain}", sender=desk.name), "RET=HDRS", "ENVID=message-7")
    [found] = until(lambda: mails(dovecot, desk), "the bounce arrives")
    fields = report(found)
    assert (fields["action"], fields["original-envelope-id"]) == ("failed", "message-7")
    assert fields["final-recipient"] == f"rfc822;unknown@{dovecot.domain}"
    assert "5.1.1" in fields["diagnostic-code"]
    assert found["Return-Path"] == "<>"


def test_a_mail_that_waits_is_announced_late_and_then_bounces(dovecot: Dovecot, relay: Relay) -> None:
    desk = dovecot.user()
    exim = relay({dovecot.domain: dovecot.route})
    send(exim.port, mail(f"{DELAYED}@elsewhere.example", sender=desk.name), "ENVID=message-8")
    until(lambda: "failed" in [report(one)["action"] for one in mails(dovecot, desk)], "it fails")
    reports = [report(one) for one in mails(dovecot, desk)]
    assert [one["action"] for one in reports] == [*["delayed"] * (len(reports) - 1), "failed"]
    assert len(reports) > 1
    assert {one["original-envelope-id"] for one in reports} == {"message-8"}


def test_a_delivery_is_confirmed_where_that_was_asked_for(dovecot: Dovecot, relay: Relay) -> None:
    desk, customer = dovecot.user(), dovecot.user()
    exim = relay({dovecot.domain: dovecot.route})
    send(exim.port, mail(customer.name, sender=desk.name), notify="SUCCESS")
    [found] = until(lambda: mails(dovecot, desk), "the confirmation arrives")
    assert report(found)["action"] == "delivered"


@pytest.mark.parametrize(
    ("local_part", "code", "status"),
    [(REFUSED, 550, b"5.1.1"), (BUSY, 451, b"4.3.2"), (GREYLISTED, 451, b"4.7.1"), (SPAM, 554, b"5.7.1")],
)
def test_some_recipients_are_refused(relay: Relay, local_part: str, code: int, status: bytes) -> None:
    exim = relay()
    with smtplib.SMTP("127.0.0.1", exim.port, timeout=PATIENCE_S) as client:
        client.ehlo()
        client.mail(CUSTOMER)
        answer = client.rcpt(f"{local_part}-7@elsewhere.example")
        if answer[0] == 250:
            answer = client.data(b"Subject: Cheap kettles\r\n\r\nBuy!\r\n")
    assert answer[0] == code
    assert answer[1].startswith(status)


def test_who_is_greylisted_gets_through_a_little_later(relay: Relay) -> None:
    exim = relay()

    def accepted() -> bool:
        with smtplib.SMTP("127.0.0.1", exim.port, timeout=PATIENCE_S) as client:
            client.ehlo()
            client.mail(CUSTOMER)
            return client.rcpt(f"{GREYLISTED}@elsewhere.example")[0] == 250

    assert not accepted()
    until(accepted, "it is accepted")


def test_a_451_of_the_next_server_is_tried_again(dovecot: Dovecot, relay: Relay) -> None:
    desk = dovecot.user(GREYLISTED)
    second = relay({dovecot.domain: dovecot.route}, name="mx.example")
    first = relay(
        {dovecot.domain: servers.Route(second.port)}, strict=False, warn_after_s=PATIENCE_S, give_up_after_s=PATIENCE_S
    )
    send(first.port, mail(desk.name))
    [found] = until(lambda: mails(dovecot, desk), "the mail arrives")
    assert found["Subject"] == "My kettle"
    assert "451 4.7.1" in first.log()


def test_a_mail_that_bounces_of_nobody_leaves_nothing_behind(relay: Relay) -> None:
    exim = relay()
    send(exim.port, mail(f"{BOUNCES}@elsewhere.example"))
    until(lambda: "Mail delivery failed" in exim.log() or " ** " in exim.log(), "it bounces")
    assert "elsewhere.example" in exim.log()


def test_a_relay_wants_a_login_and_takes_it_with_tls(relay: Relay, mail_tls: Certificates) -> None:
    exim = relay(login=("acme", "open sesame"))
    context = ssl.create_default_context(cafile=str(mail_tls.ca))
    with smtplib.SMTP("127.0.0.1", exim.port, timeout=PATIENCE_S) as client:
        client.starttls(context=context)
        client.ehlo()
        assert client.mail(CUSTOMER)[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("acme", "open barley")
    with smtplib.SMTP_SSL("127.0.0.1", exim.tls_port, timeout=PATIENCE_S, context=context) as client:
        client.login("acme", "open sesame")
        assert client.mail(CUSTOMER)[0] == 250


def test_dovecot_speaks_tls_with_a_certificate_of_the_tests_authority(dovecot: Dovecot) -> None:
    desk = dovecot.user()
    context = ssl.create_default_context(cafile=str(dovecot.tls.ca))
    with imaplib.IMAP4_SSL("127.0.0.1", dovecot.imaps_port, ssl_context=context, timeout=PATIENCE_S) as client:
        client.login(desk.name, desk.password)
        offered = client.capability()[1][0].decode().split()
    assert {"IDLE", "UIDPLUS", "MOVE", "CONDSTORE", "QRESYNC"} <= set(offered)


def test_dovecot_takes_its_own_tokens(dovecot: Dovecot) -> None:
    desk = dovecot.user()
    words = f"user={desk.name}\x01auth=Bearer {dovecot.token(desk)}\x01\x01"
    with imaplib.IMAP4("127.0.0.1", dovecot.imap_port, timeout=PATIENCE_S) as client:
        assert client.authenticate("XOAUTH2", lambda _: words.encode())[0] == "OK"


def test_mails_outlive_a_dovecot_that_is_killed(own_dovecot: Dovecot) -> None:
    desk = own_dovecot.user()
    own_dovecot.deliver(desk, mail(desk.name).as_bytes())
    own_dovecot.kill()
    with pytest.raises(ConnectionRefusedError):
        mails(own_dovecot, desk)
    own_dovecot.restart()
    assert len(mails(own_dovecot, desk)) == 1


def test_a_server_leaves_no_process_and_no_file(mail_tls: Certificates) -> None:
    with servers.dovecot(mail_tls) as dovecot, servers.exim(mail_tls, {dovecot.domain: dovecot.route}) as exim:
        folders = [dovecot.folder, exim.folder]
    assert [folder for folder in folders if folder.exists()] == []
    for port in (*dovecot.ports.values(), *exim.ports.values()):
        with pytest.raises(ConnectionRefusedError):
            smtplib.SMTP("127.0.0.1", port, timeout=1)
