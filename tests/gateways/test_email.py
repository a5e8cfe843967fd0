"""What a mail says, as facts; what a message of ours is, as a letter; and where either can't be."""

from __future__ import annotations

import datetime
import email
import email.policy
import json
import logging
from collections.abc import AsyncIterator, Sequence
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sluiceway import (
    ConfigError,
    CredentialsRefused,
    Malformed,
    Outbound,
    Receipt,
    Received,
    Rejected,
    Request,
    Secret,
    Unavailable,
    Unreadable,
)
from sluiceway.errors import MediaError
from sluiceway.gateway import AnyFact, Letter
from sluiceway.testing import check_gateway
from sluiceway_contracts import EmailThread, Media, StoredFile, Text
from sluiceway_contracts.parts import complete, plain
from sluiceway_gateways.email import imap, smtp
from sluiceway_gateways.email._gateway import MailAccount
from sluiceway_gateways.email._imap import Cursor, Fetched, Unfetched, Unmarked
from sluiceway_gateways.email._incoming import Arrived, Kept, accept, account, facts, is_proven, named
from sluiceway_gateways.email._mail import Attachment, Authentication, Bounce, Mail, Mailbox
from sluiceway_gateways.email.imap import EmailImap, Imap
from sluiceway_gateways.email.smtp import EmailSmtp, Smtp
from sluiceway_gateways.email.smtp_simulator import EmailSimulator

ANN = Mailbox(address="ann@customer.example", name="Ann")
HELP, SALES = "help@acme.example", "sales@acme.example"
MAILBOX = Imap(host="imap.acme.example", user="help", password=Secret("x"))


def stored(name: str, mime: str = "text/plain") -> StoredFile:
    return StoredFile(ref=f"media:acme/{name * 64}", mime=mime, size=3)


KEPT = Kept(stored("a"), None, {})


class Desk:
    """Core, as far as mail needs it: what was accepted and kept, and what the worker says."""

    def __init__(self, mail: Mail | None) -> None:
        self.mail, self.facts, self.kept, self.logins = mail, [], [], []
        self.at = b""
        self.too_large: set[str] = set()

    facts: list[AnyFact]
    kept: list[tuple[str, str]]
    logins: list[bool]
    asked: tuple[str, ...] = ()
    raises: Exception | None = None

    async def accept(self, *facts: AnyFact) -> None:
        if self.raises is not None and not isinstance(facts[0], Unreadable):
            raise self.raises
        self.facts += facts

    async def keep(self, at: str, path: str, mime: str) -> StoredFile:
        if Path(path).name in self.too_large:
            raise MediaError("media_too_large", "it has more bytes than are kept")
        self.kept.append((at, mime))
        return stored("b", mime)

    async def isolated(self, function: str, *arguments: str) -> bytes:
        self.asked = (function, *arguments)
        if self.mail is None:
            raise Malformed("it could not be read: time")
        return msgspec.json.encode(self.mail)

    async def cursor(self) -> bytes:
        return self.at

    async def move(self, cursor: bytes) -> None:
        self.at = cursor

    def let_in(self, yes: bool) -> None:
        self.logins.append(yes)


async def taken(mail: Mail | None, tmp_path: Path, desk: Desk | None = None, **arrived: Any) -> Desk:
    desk = desk or Desk(mail)
    (tmp_path / "mail").write_bytes(b"From: x\r\n\r\n")
    arrived = arrived or {"recipients": {HELP: HELP}}
    await accept(desk, Arrived(path=str(tmp_path / "mail"), **arrived))  # type: ignore[arg-type]
    return desk


def only(mail: Mail, at: str = HELP) -> AnyFact:
    (fact,) = facts(mail, at, at, "", KEPT)
    return fact


@pytest.mark.parametrize(("gateway", "settings"), [(EmailSmtp, None), (EmailImap, MAILBOX)])
def test_they_pass_the_conformance_checks(gateway: type[Any], settings: Imap | None) -> None:
    check_gateway(gateway, settings)


class TestWhoseItIs:
    @pytest.mark.parametrize("recipient", [HELP, "HELP@Acme.example", "help+abc@acme.example", " help@acme.example "])
    def test_case_and_what_follows_a_plus_make_no_other_address(self, recipient: str) -> None:
        assert account(recipient, (HELP, SALES)) == HELP

    def test_an_account_with_a_plus_is_itself(self) -> None:
        assert account("help+uk@acme.example", (HELP, "help+uk@acme.example")) == "help+uk@acme.example"

    def test_without_an_envelope_the_header_says_whom_it_is_for(self) -> None:
        mail = Mail(to=(Mailbox(address=SALES),), cc=(Mailbox(address="else@where.example"),))
        assert named(mail, (HELP, SALES)) == {SALES: SALES}

    def test_what_names_none_of_ours_is_the_first_ones(self) -> None:
        assert named(Mail(), (HELP, SALES)) == {HELP: HELP}


class TestAMail:
    def test_that_passes_dmarc_is_proven_and_else_its_sender_only_says_so(self) -> None:
        proven = only(Mail(author=ANN, authentication=Authentication(dmarc="pass")))
        assert isinstance(proven, Received)
        assert (proven.sender, proven.name, proven.assurance) == ("mailto:ann@customer.example", "Ann", "channel")
        for dmarc in ("fail", "none", None):
            said = only(Mail(author=ANN, authentication=Authentication(dmarc=dmarc)))
            assert isinstance(said, Received)
            assert said.assurance == "asserted"

    @pytest.mark.parametrize(
        ("author", "header_from", "defects"),
        [
            (None, None, ()),
            (ANN, "elsewhere.example", ()),
            (ANN, "customer.example", ("from_ambiguous",)),
        ],
    )
    def test_whose_author_is_not_whom_dmarc_was_about_is_not_proven(
        self, author: Mailbox | None, header_from: str | None, defects: tuple[str, ...]
    ) -> None:
        verdict = Authentication(dmarc="pass", header_from=header_from)
        mail = Mail(
            author=author, authentication=verdict, defects=defects, reply_to=(Mailbox(address="bob@x.example"),)
        )
        (fact,) = facts(mail, HELP, HELP, "ann@customer.example", KEPT)
        assert isinstance(fact, Received)
        assert (fact.assurance, fact.asserted) == ("asserted", ())

    @pytest.mark.parametrize("domain", ["bücher.example", "xn--bcher-kva.example"])
    def test_of_a_domain_in_its_own_script_is_proven_in_either_spelling(self, domain: str) -> None:
        author = Mailbox(address=f"ann@{domain}")
        for header_from in ("bücher.example", "xn--bcher-kva.example"):
            assert is_proven(Mail(author=author, authentication=Authentication(dmarc="pass", header_from=header_from)))

    def test_of_what_is_no_domain_is_compared_as_it_is(self) -> None:
        author = Mailbox(address="ann@_x.example")
        assert is_proven(Mail(author=author, authentication=Authentication(dmarc="pass", header_from="_X.example")))

    @pytest.mark.parametrize("character", ["a", "漢", "🙂", "\x01"])
    def test_of_any_length_fits_into_an_event(self, character: str) -> None:
        text = character * 400_000
        ids = tuple(f"{'r' * 990}{number}@x" for number in range(90))
        boxes = tuple(Mailbox(address=f"a{number}@{'d' * 60}.example", name=text) for number in range(90))
        files = tuple(Attachment(file=str(number), name=text, description=text) for number in range(120))
        mail = Mail(
            author=ANN, text=text, quoted=text, signature=text, subject=text, references=ids, in_reply_to=ids,
            to=boxes, cc=boxes, attachments=files, message_id="i" * 5000,
        )  # fmt: skip
        fact = only(mail)
        assert isinstance(fact, Received)
        assert fact.ext["cut"]
        assert fact.external_ids == ()
        size = len(msgspec.json.encode(fact)) + len(msgspec.json.encode(plain(complete(fact.parts))))
        assert size < 1_000_000

    def test_that_passes_something_on_names_who_wrote_that_and_is_its_forwarders(self) -> None:
        boss = Mailbox(address="boss@customer.example", name="The boss")
        verdict = Authentication(dmarc="pass")
        mail = Mail(author=ANN, authentication=verdict, forwarded=boss, resent_from=(Mailbox(address=SALES),))
        fact = only(mail)
        assert isinstance(fact, Received)
        assert fact.ext["forwarded_from"] == {"address": "boss@customer.example", "name": "The boss"}
        assert fact.ext["resent_from"] == [SALES]
        plain = only(msgspec.structs.replace(mail, forwarded=None, resent_from=()))
        assert isinstance(plain, Received)
        assert "forwarded_from" not in plain.ext
        assert msgspec.structs.replace(plain, ext={}, key="") == msgspec.structs.replace(fact, ext={}, key="")

    def test_that_passes_on_what_nobody_put_a_name_to_names_the_address(self) -> None:
        fact = only(Mail(author=ANN, forwarded=Mailbox(address="boss@customer.example")))
        assert isinstance(fact, Received)
        assert fact.ext["forwarded_from"] == {"address": "boss@customer.example"}

    def test_without_a_from_is_its_envelopes_senders(self) -> None:
        (fact,) = facts(Mail(text="hi"), HELP, HELP, "bob@customer.example", KEPT)
        assert isinstance(fact, Received)
        assert fact.sender == "mailto:bob@customer.example"

    @pytest.mark.parametrize("author", [None, Mailbox(address="", name="MAILER DAEMON")])
    def test_of_nobody_is_put_aside_with_its_bytes(self, author: Mailbox | None) -> None:
        fact = only(Mail(author=author))
        assert isinstance(fact, Unreadable)
        assert json.loads(fact.raw) == {"raw": stored("a").ref}

    def test_names_whom_it_is_to_and_leaves_out_what_is_no_address(self) -> None:
        mail = Mail(
            author=ANN, to=(Mailbox(address=HELP, name="Help"), Mailbox(address="", name="list")), reply_to=(ANN,)
        )
        fact = only(mail)
        assert isinstance(fact, Received)
        assert [(one.address, one.name) for one in fact.to] == [(f"mailto:{HELP}", "Help")]
        assert fact.asserted == ()

    def test_has_its_text_and_its_files_as_parts(self) -> None:
        files = (
            Attachment(file="1", name="cat.jpg", mime="image/jpeg", size=9, kind="image", content_id="c", inline=True),
            Attachment(file="2", name="x.bin", mime="application/octet-stream", size=9),
        )
        kept = Kept(stored("a"), stored("c", "text/html"), {"1": stored("b", "image/png"), "2": None})
        (fact,) = facts(Mail(author=ANN, text="look", attachments=files, html="<b>"), HELP, HELP, "", kept)
        assert isinstance(fact, Received)
        text, image, failed = fact.parts
        assert isinstance(text, Text)
        assert isinstance(image, Media)
        assert isinstance(failed, Media)
        assert (image.kind, image.mime, image.state, image.content_id, image.inline) == (
            "image", "image/png", "stored", "c", True)  # fmt: skip
        assert (failed.kind, failed.state, failed.ref, failed.size) == ("file", "failed", None, 9)
        assert fact.ext["html"] == stored("c").ref

    def test_with_a_file_alone_has_no_empty_text(self) -> None:
        fact = only(Mail(author=ANN, attachments=(Attachment(file="1"),)))
        assert isinstance(fact, Received)
        assert [type(part) for part in fact.parts] == [Media]

    def test_that_is_another_has_another_key_though_it_borrows_the_message_id(self) -> None:
        one, same, other = (only(Mail(author=ANN, message_id="a@b", text=text)) for text in ("x", "x", "y"))
        assert one.key == same.key != other.key


class TestAReport:
    @pytest.mark.parametrize(
        ("action", "status"),
        [("failed", "bounced"), ("delayed", "queued"), ("relayed", "sent"), ("delivered", "delivered")],
    )
    def test_says_what_became_of_ours(self, action: str, status: str) -> None:
        bounce = Bounce(action=action, recipient="ann@customer.example", status="5.1.1", message_id="m@acme.example")
        fact = only(Mail(author=ANN, automatic="bounce", bounces=(bounce,)))
        assert isinstance(fact, Receipt)
        assert (fact.external_id, fact.status) == ("m@acme.example", status)
        assert (fact.error is not None) == (status == "bounced")

    def test_that_somebody_called_it_spam_is_a_complaint(self) -> None:
        bounce = Bounce(action="failed", message_id="m@acme.example")
        fact = only(Mail(author=ANN, automatic="complaint", bounces=(bounce,)))
        assert isinstance(fact, Receipt)
        assert (fact.status, fact.error) == ("complained", None)

    def test_that_a_person_attached_takes_nothing_from_what_they_wrote(self) -> None:
        bounce = Bounce(action="failed", message_id="m@acme.example")
        fact = only(Mail(author=ANN, text="Please cancel it.", bounces=(bounce,)))
        assert isinstance(fact, Received)
        assert not fact.automatic

    @pytest.mark.parametrize("bounce", [Bounce(action="failed"), Bounce(action="odd", message_id="m@acme.example")])
    def test_that_is_about_nothing_known_is_told_as_a_mail(self, bounce: Bounce) -> None:
        fact = only(Mail(author=ANN, automatic="bounce", bounces=(bounce,)))
        assert isinstance(fact, Received)
        assert fact.ext["automatic"] == "bounce"


class TestTakingIn:
    async def test_a_file_that_cannot_be_kept_is_told_and_the_mail_is_not_lost(self, tmp_path: Path) -> None:
        mail = Mail(author=ANN, html="<b>hi</b>", attachments=(Attachment(file="big"), Attachment(file="small")))
        desk = Desk(mail)
        desk.too_large = {"big"}
        await taken(mail, tmp_path, desk)
        (fact,) = desk.facts
        assert isinstance(fact, Received)
        assert [part.state for part in fact.parts if isinstance(part, Media)] == ["failed", "stored"]
        assert [mime for _, mime in desk.kept] == ["message/rfc822", "text/html", "application/octet-stream"]

    async def test_a_mail_that_is_larger_than_files_may_be_is_told_all_the_same(self, tmp_path: Path) -> None:
        mail = Mail(author=ANN, html="<b>hi</b>", text="hi")
        for read in (mail, None):
            desk = Desk(read)
            desk.too_large = {"mail", "message.html"}
            await taken(read, tmp_path, desk)
            (fact,) = desk.facts
            assert isinstance(fact, Received if read else Unreadable)
            if isinstance(fact, Unreadable):
                assert json.loads(fact.raw) == {"sha256": fact.key}
            elif isinstance(fact, Received):
                assert not {"raw", "html"} & set(fact.ext)

    @pytest.mark.parametrize("sender", ["", "bob@customer.example", None])
    async def test_the_reader_knows_of_the_null_sender(self, tmp_path: Path, sender: str | None) -> None:
        desk = await taken(Mail(author=ANN), tmp_path, recipients={HELP: HELP}, sender=sender)
        assert desk.asked[4:] == (() if sender is None else (sender,))

    @pytest.mark.parametrize("arrived", [{"recipients": {HELP: HELP, SALES: SALES}}, {"ours": (HELP, SALES)}])
    async def test_what_cannot_be_read_is_kept_and_told(self, tmp_path: Path, arrived: dict[str, Any]) -> None:
        desk = await taken(None, tmp_path, **arrived)
        assert all(isinstance(fact, Unreadable) for fact in desk.facts)
        assert [fact.at for fact in desk.facts] == ([HELP, SALES] if "recipients" in arrived else [HELP])


def outbound(**letter: Any) -> Outbound[MailAccount]:
    about: dict[str, Any] = {"subject": "Kettle", "reply_token": "t" * 48, "thread": EmailThread(), "automatic": False}
    about["written_at"] = datetime.datetime.now(datetime.UTC)
    return Outbound(
        message_id="01a2-0001",
        piece=1,
        account=MailAccount(connection="mail", tenant="acme", address=f"mailto:{HELP}", name="Acme"),
        recipient="mailto:ann@customer.example",
        parts=(Text(text="On its way."),),
        letter=Letter(**(about | letter)),
    )


class TestSending:
    async def test_without_a_relay_the_account_pauses(self) -> None:
        with pytest.raises(CredentialsRefused, match="relay_host is not set"):
            await EmailSmtp(Smtp()).deliver(outbound(), None)  # type: ignore[arg-type]

    async def test_a_relay_that_cannot_be_used_so_pauses_it_as_well(self) -> None:
        settings = Smtp(relay_host="relay.example", relay_user="acme", relay_security="none")
        with pytest.raises(CredentialsRefused, match="never goes out unencrypted"):
            await EmailSmtp(settings).deliver(outbound(), None)  # type: ignore[arg-type]

    async def test_what_no_mail_can_be_made_of_is_refused(self) -> None:
        message = outbound()
        ours = msgspec.structs.replace(message.account, unsubscribe=("ftp://acme.example",))
        gateway = EmailSmtp(Smtp(relay_host="127.0.0.1", relay_port=9, domain_per_minute=60))
        with pytest.raises(Rejected, match="no mail can be made of it"):
            await gateway.deliver(msgspec.structs.replace(message, account=ours), None)  # type: ignore[arg-type]
        await gateway.close()

    async def test_closing_what_never_sent_does_nothing(self) -> None:
        await EmailSmtp(Smtp()).close()


class TestListening:
    def test_a_certificate_that_cannot_be_read_ends_the_listener_with_a_word(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="certificate"):
            smtp._tls(Smtp(certificate=str(tmp_path / "none.pem")))

    def test_tls_that_is_demanded_needs_a_certificate(self) -> None:
        with pytest.raises(ConfigError, match="needs certificate and key"):
            smtp._tls(Smtp(require_tls=True))


class Box:
    """A mailbox that says what it is told to."""

    def __init__(self, folder: Path, mails: list[Any], fails: Sequence[BaseException]) -> None:
        self.folder, self.mails, self.fails = folder, mails, list(fails)
        self.end, self.asked, self.unmarked = Cursor(7, 100), [], False

    asked: list[Cursor | None]

    async def connect(self, settings: Any) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def new_mails(self, known: Cursor | None) -> AsyncIterator[Any]:
        self.asked.append(known)
        while self.mails:
            if isinstance(mail := self.mails.pop(0), Exception):
                raise mail
            yield mail

    async def done(self, uid: int) -> None:
        if self.unmarked:
            raise Unmarked("the flag was refused")

    async def wait(self) -> None:
        raise Stop

    async def close(self) -> None:
        return


class Stop(BaseException):
    """The test has seen enough."""


async def listened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, box: Box, desk: Desk, settings: Imap = MAILBOX
) -> list[float]:
    """For how long it waited between connections."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(imap, "Mailbox", lambda folder: box)
    monkeypatch.setattr(imap, "asyncio", SimpleNamespace(sleep=sleep))
    ours = MailAccount(connection="mail", tenant="acme", address=f"mailto:{HELP}")
    with pytest.raises(Stop):
        await EmailImap(settings, accounts=[ours]).listen(desk)  # type: ignore[arg-type]
    return waits


class TestAMailbox:
    async def test_begins_after_what_was_there_or_with_all_of_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for since, known in (("now", Cursor(7, 100)), ("all", None)):
            box = Box(tmp_path, [], [])
            await listened(monkeypatch, tmp_path, box, Desk(None), msgspec.structs.replace(MAILBOX, since=since))
            assert box.asked == [known]

    async def test_goes_on_after_outages_ever_more_slowly_and_after_a_refusal_later(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        fails = [*(Unavailable("the mailbox can't be reached") for _ in range(5)), CredentialsRefused("refused", "no")]
        desk = Desk(None)
        waits = await listened(monkeypatch, tmp_path, Box(tmp_path, [], fails), desk)
        assert waits == [1, 5, 30, 120, 120, 300]
        assert desk.logins == [False, True], "its metric says that it was refused, and then let in"
        assert caplog.records[-1].levelno == logging.ERROR

    async def test_a_mail_that_is_taken_makes_the_next_outage_the_first(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        gone = Unavailable("it ended the connection")
        mails = [gone, gone, *(Unfetched(Cursor(7, uid), 1, "too large") for uid in (101, 102)), gone, gone]
        waits = await listened(monkeypatch, tmp_path, Box(tmp_path, mails, []), Desk(None))
        assert waits == [1, 5, 1, 5]

    async def test_a_mail_that_cannot_be_fetched_is_told_and_the_next_is_read_though_marking_fails(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "102").write_bytes(b"From: x\r\n\r\n")
        mails = [Unfetched(Cursor(7, 101), 90_000_000, "too large"), Fetched(Cursor(7, 102), 11, tmp_path / "102")]
        box, desk = Box(tmp_path, mails, []), Desk(Mail(author=ANN, to=(Mailbox(address=HELP),), text="hi"))
        box.unmarked = True
        await listened(monkeypatch, tmp_path, box, desk)
        told, received = desk.facts
        assert isinstance(told, Unreadable)
        assert isinstance(received, Received)
        assert json.loads(told.raw) == {"mailbox": "INBOX", "uidvalidity": 7, "uid": 101, "size": 90_000_000}
        assert msgspec.json.decode(desk.at, type=Cursor) == Cursor(7, 102)
        assert "mailbox.unmarked" in caplog.text
        assert not (tmp_path / "102").exists()

    async def test_a_mail_that_breaks_what_stores_it_is_told_after_some_tries_and_holds_up_no_other(
        self, tmp_path: Path
    ) -> None:
        gateway = EmailImap(MAILBOX, accounts=[MailAccount(connection="m", tenant="acme", address=f"mailto:{HELP}")])
        desk = Desk(Mail(author=ANN, to=(Mailbox(address=HELP),)))
        for error in (*(ZeroDivisionError() for _ in range(imap.TRIES - 1)), Unavailable("not now")):
            (tmp_path / "101").write_bytes(b"x")
            box, desk.raises = Box(tmp_path, [Fetched(Cursor(7, 101), 1, tmp_path / "101")], []), error
            with pytest.raises(type(error)):
                await gateway._round(desk, box)  # type: ignore[arg-type]
        box, desk.raises = Box(tmp_path, [Fetched(Cursor(7, 101), 1, tmp_path / "101")], []), ZeroDivisionError()
        await gateway._round(desk, box)  # type: ignore[arg-type]
        (told,) = desk.facts
        assert isinstance(told, Unreadable)
        assert told.why == "ZeroDivisionError in the gateway"
        assert msgspec.json.decode(desk.at, type=Cursor) == Cursor(7, 101)


class TestTheSimulator:
    def mail(self, **fields: str) -> EmailMessage:
        ours = MailAccount(connection="mail", tenant="acme", address=f"mailto:{HELP}")
        simulator = EmailSimulator(Smtp(authserv_id="mx.acme.example"), "")
        simulator.fields = fields
        posted = simulator.post(ours, ANN.address, "hi")
        return email.message_from_bytes(posted.raw, _class=EmailMessage, policy=email.policy.default)

    def test_a_mail_answers_and_is_to_whom_it_is_told(self) -> None:
        mail = self.mail(to="help+t@acme.example", in_reply_to="<a@acme.example>")
        assert (mail["to"], mail["in-reply-to"]) == ("help+t@acme.example", "<a@acme.example>")
        assert "dmarc=pass" in mail["authentication-results"]

    def test_a_mail_may_be_unproven(self) -> None:
        assert "dmarc=none" in self.mail(unproven="1")["authentication-results"]

    def test_mail_comes_by_smtp_alone(self) -> None:
        simulator = EmailSimulator(Smtp(), "")
        ours = MailAccount(connection="mail", tenant="acme", address=f"mailto:{HELP}")
        with pytest.raises(ValueError, match="SMTP"):
            simulator.deliver(ours, ANN.address, "hi")
        request = Request(method="POST", url="http://127.0.0.1/", headers={}, body=b"")
        assert simulator.answer(request).response.status == 404
