"""Mails through a relay on loopback: aiosmtpd, a real server, and one that says what it is told where none would."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword, Session
from aiosmtpd.smtp import Envelope as Seen

from sluiceway import (
    Ambiguous,
    ConfigError,
    CredentialsRefused,
    File,
    Outcome,
    Rate,
    Rejected,
    Secret,
    SendError,
    Throttled,
    Unreachable,
)
from sluiceway.errors import MediaError, Unavailable
from sluiceway_gateways.email import _relay, _transaction
from sluiceway_gateways.email._base64 import encoded, encoded_size
from sluiceway_gateways.email._composing import Composed
from sluiceway_gateways.email._domains import Domains
from sluiceway_gateways.email._relay import Relay, RelaySettings
from sluiceway_gateways.email._smtp_errors import ERRORS, Deferred, Reply, Stage, refusal, retry_after_s, status
from sluiceway_gateways.email._transaction import Accepted, Envelope

TEXT = b"Subject: x\r\n\r\nHello\r\n.\r\n..\r\n.dots\r\n"
MAIL = Composed((TEXT,), len(TEXT), False)
ENVELOPE = Envelope(sender="support@acme.example", recipients=("ada@customer.example",), id="019c+bb=2f")
PAPER = bytes(range(256)) * 10


class Store:
    """Files, in chunks of 1,000 bytes; `then` is raised after them."""

    def __init__(self, data: bytes = PAPER, then: Exception | None = None) -> None:
        self._data = data
        self._then = then

    async def open(self, ref: str) -> AsyncIterator[bytes]:
        if ref != "media:acme/paper":
            raise Rejected("the file is there no more", "media_gone")
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 1000):
            yield self._data[start : start + 1000]
        if self._then is not None:
            raise self._then


def with_file(size: int = len(PAPER)) -> Composed:
    file = File(ref="media:acme/paper", mime="application/pdf", size=size, name="a.pdf")
    pieces = (b"Subject: x\r\n\r\n", file, b"\r\n--x--\r\n")
    return Composed(pieces, 23 + encoded_size(size), False)


class Script:
    """A server that answers well, unless told otherwise. `says[verb]` are its next: None hangs up, b"" is silence."""

    def __init__(self) -> None:
        self.offers = ["8BITMIME"]
        self.says: dict[str, list[bytes | None]] = {}
        self.heard: list[str] = []
        self.messages: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.left = asyncio.Event()
        self.within: bytes | None = None
        self.reads = True
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(ConnectionError):
                await self._talk(reader, writer)
        finally:
            self.open -= 1
            self.left.set()
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._say(writer, "CONNECT", b"220 relay.example ready"):
            return
        while line := await reader.readline():
            verb = line.split()[0].decode().upper()
            self.heard.append(line.decode().strip())
            good = {"DATA": b"354 go on", "QUIT": b"221 bye"}.get(verb, b"250 2.0.0 fine")
            if verb == "EHLO":
                good = b"\r\n".join([b"250-relay.example", *(f"250-{o}".encode() for o in self.offers), b"250 HELP"])
            if not self._say(writer, verb, good):
                return
            if verb == "DATA" and self.heard_data_well and not await self._message(reader, writer):
                return

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self.within is not None:
            await reader.readline()
            writer.write(self.within)
            if not self.within:
                return False
        if not self.reads:
            await asyncio.sleep(3600)
        lines = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                return False
            lines.append(line)
        self.messages.append(b"".join(lines))
        return self._say(writer, ".", b"250 2.0.0 queued as 4F2A")

    def _say(self, writer: asyncio.StreamWriter, verb: str, good: bytes) -> bool:
        answers = self.says.get(verb) or [good]
        answer = answers.pop(0)
        self.heard_data_well = answer == b"354 go on"
        if answer:
            writer.write(answer + b"\r\n")
        return answer is not None


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    script = Script()
    async with served(script.serve) as script.port:
        yield script


@asynccontextmanager
async def served(talk: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def relay_to(port: int, domains: Domains | None = None, **settings: Any) -> AsyncIterator[Relay]:
    relay = Relay(RelaySettings(host="127.0.0.1", port=port, hello="gateway.acme.example", **settings), domains)
    try:
        yield relay
    finally:
        await relay.close()


async def send(port: int, mail: Composed = MAIL, envelope: Envelope = ENVELOPE, **settings: Any) -> Accepted:
    async with relay_to(port, **settings) as relay:
        return await relay.send(envelope, mail, Store())


async def failure(port: int, mail: Composed = MAIL, envelope: Envelope = ENVELOPE, **settings: Any) -> SendError:
    with pytest.raises(SendError) as caught:
        await send(port, mail, envelope, **settings)
    return caught.value


class Mailboxes:
    """aiosmtpd's handler: keeps what it is given, and refuses as it is told."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: list[str] = []

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Seen, address: str, options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Seen) -> str:  # noqa: N802  # aiosmtpd's name
        self.seen.append(envelope)
        return "250 2.0.0 queued"


@asynccontextmanager
async def aiosmtpd(mailboxes: Mailboxes, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailboxes, hostname="relay.example", **options), "127.0.0.1", 0, ssl=tls
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


class TestDelivery:
    async def test_a_real_server_gets_the_mail_octet_for_octet(self) -> None:
        mailboxes = Mailboxes()
        async with aiosmtpd(mailboxes) as port:
            accepted = await send(port, with_file())
        assert accepted == Accepted("2.0.0 queued")
        [seen] = mailboxes.seen
        assert seen.mail_from == "support@acme.example"
        assert seen.rcpt_tos == ["ada@customer.example"]
        assert seen.content == b"Subject: x\r\n\r\n" + encoded(PAPER) + b"\r\n--x--\r\n"

    async def test_dots_at_the_start_of_lines_are_doubled_on_the_wire(self, script: Script) -> None:
        await send(script.port)
        assert script.messages == [b"Subject: x\r\n\r\nHello\r\n..\r\n...\r\n..dots\r\n"]

    async def test_after_451_the_same_relay_takes_it(self) -> None:
        mailboxes = Mailboxes()
        mailboxes.answers = ["451 4.7.1 <ada@customer.example>: Greylisted, try again in 300 seconds"]
        async with aiosmtpd(mailboxes) as port, relay_to(port) as relay:
            with pytest.raises(Deferred) as caught:
                await relay.send(ENVELOPE, MAIL, Store())
            await relay.send(ENVELOPE, MAIL, Store())
        assert (caught.value.retry_after_s, caught.value.provider_code) == (300, "4.7.1")
        assert "ada" not in str(caught.value)
        assert len(mailboxes.seen) == 1

    async def test_550_is_final_and_says_why_without_the_address(self) -> None:
        mailboxes = Mailboxes()
        mailboxes.answers = ["550 5.1.1 <ada@customer.example>: Recipient address rejected"]
        async with aiosmtpd(mailboxes) as port:
            error = await failure(port)
        assert type(error) is Rejected
        assert error.provider_code == "5.1.1"
        assert str(error) == "there is no such mailbox (550 5.1.1)"

    async def test_where_the_first_is_refused_nobody_gets_a_copy(self) -> None:
        mailboxes = Mailboxes()
        mailboxes.answers = ["550 5.1.1 no"]
        envelope = Envelope(sender="support@acme.example", recipients=("ada@customer.example", "bo@customer.example"))
        async with aiosmtpd(mailboxes) as port, relay_to(port) as relay:
            with pytest.raises(Rejected):
                await relay.send(envelope, MAIL, Store())
        assert not mailboxes.seen

    async def test_a_copy_that_is_refused_takes_the_mail_not_along_and_is_told(self, script: Script) -> None:
        script.says["RCPT"] = [b"250 fine", b"550 5.1.1 no"]
        envelope = Envelope(sender="support@acme.example", recipients=("ada@customer.example", "bo@customer.example"))
        accepted = await send(script.port, envelope=envelope)
        [refused] = accepted.refused
        assert refused.recipient == "bo@customer.example"
        assert isinstance(refused.error, Rejected)
        assert len(script.messages) == 1

    async def test_where_the_relay_hangs_up_on_a_copy_nothing_was_sent(self, script: Script) -> None:
        script.says["RCPT"] = [b"250 fine", None]
        envelope = Envelope(sender="support@acme.example", recipients=("ada@customer.example", "bo@customer.example"))
        assert isinstance(await failure(script.port, envelope=envelope), Unreachable)

    async def test_a_large_file_is_never_whole_in_memory(self) -> None:
        size = 20 << 20
        chunk = bytes(1 << 17)

        class Large:
            async def open(self, ref: str) -> AsyncIterator[bytes]:
                return self.chunks()

            async def chunks(self) -> AsyncIterator[bytes]:
                for _ in range(size // len(chunk)):
                    yield chunk

        async with served(discarding) as port, relay_to(port) as relay:
            tracemalloc.start()
            try:
                await relay.send(ENVELOPE, with_file(size), Large())
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert peak < 4 << 20


async def discarding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that keeps nothing."""
    writer.write(b"220 ready\r\n")
    while (line := await reader.readline()) and not line.startswith(b"QUIT"):
        writer.write(b"354 go on\r\n" if line == b"DATA\r\n" else b"250 fine\r\n")
        if line == b"DATA\r\n":
            end = b""
            while end != b"\r\n.\r\n":
                end = (end + await reader.read(1 << 16))[-5:]
            writer.write(b"250 queued\r\n")
    writer.close()


class TestExtensions:
    async def test_bounces_are_asked_for_where_they_are_offered(self, script: Script) -> None:
        script.offers = ["DSN", "SIZE 1000"]
        await send(script.port)
        assert f"MAIL FROM:<support@acme.example> SIZE={MAIL.size} RET=HDRS ENVID=019c+2Bbb+3D2f" in script.heard
        rcpt = "RCPT TO:<ada@customer.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ada@customer.example"
        assert rcpt in script.heard

    async def test_nothing_is_asked_for_that_is_not_offered(self, script: Script) -> None:
        await send(script.port)
        assert script.heard[0] == "EHLO gateway.acme.example"
        assert script.heard[1:4] == ["MAIL FROM:<support@acme.example>", "RCPT TO:<ada@customer.example>", "DATA"]

    async def test_an_automatic_answer_has_no_sender_and_asks_for_nothing(self, script: Script) -> None:
        script.offers = ["DSN"]
        await send(script.port, envelope=Envelope(sender="", recipients=ENVELOPE.recipients, id="é" * 200))
        assert "MAIL FROM:<> RET=HDRS" in script.heard
        assert "RCPT TO:<ada@customer.example> NOTIFY=NEVER" in script.heard

    async def test_a_mail_that_is_larger_than_the_relay_takes_is_not_begun(self) -> None:
        mailboxes = Mailboxes()
        async with aiosmtpd(mailboxes, data_size_limit=20) as port:
            error = await failure(port)
        assert isinstance(error, Rejected)
        assert error.provider_code == "5.3.4"
        assert not mailboxes.seen

    async def test_an_address_beyond_ascii_is_sent_where_it_is_taken(self) -> None:
        mailboxes = Mailboxes()
        envelope = Envelope(sender="support@acme.example", recipients=("dörte@bücher.example",))
        async with aiosmtpd(mailboxes, enable_SMTPUTF8=True) as port:
            await send(port, Composed((TEXT,), len(TEXT), True), envelope)
        [seen] = mailboxes.seen
        assert seen.smtp_utf8
        assert seen.rcpt_tos == ["dörte@xn--bcher-kva.example"]

    @pytest.mark.parametrize("offers", [["SMTPUTF8", "DSN"], ["SMTPUTF8", "8BITMIME", "DSN"]])
    async def test_its_mail_says_smtputf8_and_8bitmime_where_that_is_offered(
        self, script: Script, offers: list[str]
    ) -> None:
        script.offers = offers
        await send(script.port, envelope=Envelope(sender="a@acme.example", recipients=("dörte@customer.example",)))
        body = " BODY=8BITMIME" if "8BITMIME" in offers else ""
        assert f"MAIL FROM:<a@acme.example> SMTPUTF8{body} RET=HDRS" in script.heard
        assert "RCPT TO:<dörte@customer.example> NOTIFY=FAILURE,DELAY" in script.heard

    async def test_an_address_beyond_ascii_is_refused_where_it_is_not_taken(self) -> None:
        async with aiosmtpd(Mailboxes(), enable_SMTPUTF8=False) as port:
            error = await failure(
                port, envelope=Envelope(sender="a@acme.example", recipients=("dörte@customer.example",))
            )
            assert (type(error), getattr(error, "provider_code", "")) == (Rejected, "5.6.7")
            assert "SMTPUTF8" in str(error)
            error = await failure(port, Composed((TEXT,), len(TEXT), True))
            assert type(error) is Rejected

    async def test_what_can_not_be_an_address_is_refused_before_the_relay_is_asked(self, script: Script) -> None:
        error = await failure(
            script.port, envelope=Envelope(sender="a@acme.example", recipients=("a@x.example>\r\nRSET",))
        )
        assert isinstance(error, Rejected)
        assert script.connections == 0


class TestFailures:
    async def test_nobody_there_is_unreachable(self) -> None:
        async with served(discarding) as port:
            pass
        assert isinstance(await failure(port), Unreachable)

    async def test_a_relay_that_does_not_greet_is_unreachable(self, script: Script) -> None:
        script.says["CONNECT"] = [None]
        assert isinstance(await failure(script.port), Unreachable)

    async def test_a_relay_that_does_not_answer_in_time_is_unreachable(
        self, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_relay, "CONNECT_S", 0.05)
        script.says["CONNECT"] = [b""]
        assert isinstance(await failure(script.port), Unreachable)

    async def test_a_relay_that_wants_to_talk_to_nobody_pauses_the_account(self, script: Script) -> None:
        script.says["CONNECT"] = [b"554 5.7.1 your address is listed"]
        assert isinstance(await failure(script.port), CredentialsRefused)

    async def test_a_relay_that_is_busy_when_it_greets_is_asked_later(self, script: Script) -> None:
        script.says["CONNECT"] = [b"421 4.3.2 try again in 2 minutes"]
        error = await failure(script.port)
        assert isinstance(error, Throttled)
        assert error.retry_after_s == 120

    async def test_a_relay_without_ehlo_is_greeted_the_old_way(self, script: Script) -> None:
        script.says["EHLO"] = [b"502 what"]
        await send(script.port)
        assert "HELO gateway.acme.example" in script.heard

    async def test_421_to_the_recipient_means_the_relay_and_not_the_recipient(self, script: Script) -> None:
        script.says["RCPT"] = [b"421 4.3.2 shutting down"]
        error = await failure(script.port)
        assert isinstance(error, Throttled)

    async def test_421_to_a_new_connection_is_told(self, script: Script) -> None:
        script.says["MAIL"] = [b"421 4.7.0 too fast"]
        assert isinstance(await failure(script.port), Throttled)

    async def test_a_sender_that_the_relay_does_not_allow_pauses_the_account(self, script: Script) -> None:
        script.says["MAIL"] = [b"553 5.7.1 not yours"]
        assert isinstance(await failure(script.port), CredentialsRefused)

    async def test_a_message_that_is_refused_is_refused(self, script: Script) -> None:
        script.says["."] = [b"554 5.7.1 spam, says ada@customer.example"]
        error = await failure(script.port)
        assert type(error) is Rejected
        assert "@" not in str(error)

    async def test_data_may_be_refused_and_deferred(self, script: Script) -> None:
        script.says["DATA"] = [b"554 5.5.1 no valid recipients", b"451 4.3.0 later"]
        assert type(await failure(script.port)) is Rejected
        assert isinstance(await failure(script.port), Deferred)

    async def test_data_answered_with_anything_else_is_unreachable(self, script: Script) -> None:
        script.says["DATA"] = [b"250 what"]
        assert isinstance(await failure(script.port), Unreachable)

    async def test_no_answer_to_the_last_dot_is_ambiguous(self, script: Script) -> None:
        script.says["."] = [None]
        assert isinstance(await failure(script.port), Ambiguous)
        assert len(script.messages) == 1

    @pytest.mark.parametrize("answer", [b"what", b"354 again", b"999 no"])
    async def test_an_answer_to_the_last_dot_that_nobody_can_read_is_ambiguous(
        self, script: Script, answer: bytes
    ) -> None:
        script.says["."] = [answer]
        assert isinstance(await failure(script.port), Ambiguous)

    async def test_an_answer_to_the_last_dot_that_is_too_late_is_ambiguous(
        self, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_transaction, "FINAL_S", 0.05)
        script.says["."] = [b""]
        assert isinstance(await failure(script.port), Ambiguous)

    async def test_a_connection_that_breaks_within_the_message_sent_nothing(self, script: Script) -> None:
        script.within = b""
        async with relay_to(script.port) as relay:
            with pytest.raises(Unreachable):
                await relay.send(ENVELOPE, with_file(1 << 20), Slow())
        assert script.messages == []

    async def test_421_within_the_message_sent_nothing(self, script: Script) -> None:
        script.within = b"421 4.3.2 shutting down\r\n"
        async with relay_to(script.port) as relay:
            with pytest.raises(Throttled):
                await relay.send(ENVELOPE, with_file(1 << 20), Slow())
        assert script.messages == []

    async def test_552_within_the_message_is_final(self, script: Script) -> None:
        script.within = b"552 5.3.4 too large\r\n"
        async with relay_to(script.port) as relay:
            with pytest.raises(Rejected, match="larger"):
                await relay.send(ENVELOPE, with_file(1 << 20), Slow())

    async def test_250_within_the_message_is_no_answer(self, script: Script) -> None:
        script.within = b"250 fine\r\n"
        async with relay_to(script.port) as relay:
            with pytest.raises(Unreachable):
                await relay.send(ENVELOPE, with_file(1 << 20), Slow())

    async def test_a_relay_that_stops_reading_is_left(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_transaction, "BLOCK_S", 0.1)
        monkeypatch.setattr(_transaction, "LAST_WORDS_S", 0.1)
        script.reads = False
        big = Composed((bytes(16 << 20),), 16 << 20, False)
        async with relay_to(script.port) as relay:
            with pytest.raises(Unreachable):
                await relay.send(ENVELOPE, big, Store())

    async def test_a_connection_that_is_gone_before_the_message_sent_nothing(self) -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1")
        with pytest.raises(Unreachable):
            await _transaction._content(client, ())

    async def test_a_send_that_is_cancelled_keeps_no_connection(self, script: Script) -> None:
        script.says["RCPT"] = [b""]
        async with relay_to(script.port) as relay:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await relay.send(ENVELOPE, MAIL, Store())
            assert not relay._idle

    async def test_a_greeting_that_is_cancelled_keeps_no_connection(self, script: Script) -> None:
        script.says["EHLO"] = [b""]
        async with relay_to(script.port) as relay:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await relay.send(ENVELOPE, MAIL, Store())
            assert not relay._idle


class Slow(Store):
    """Files that come slowly, so that a word of the relay's comes between."""

    async def _chunks(self) -> AsyncIterator[bytes]:
        for _ in range(1 << 10):
            await asyncio.sleep(0.001)
            yield bytes(1 << 10)


class TestFiles:
    @pytest.mark.parametrize(
        ("then", "expected"),
        [
            (MediaError("media_gone", "a part of the file is gone"), Rejected),
            (Unavailable("NATS is away"), Unreachable),
            (Rejected("gone", "media_gone"), Rejected),
        ],
    )
    async def test_a_file_that_ends_early_ends_the_mail(
        self, script: Script, then: Exception, expected: type[SendError]
    ) -> None:
        async with relay_to(script.port) as relay:
            with pytest.raises(expected):
                await relay.send(ENVELOPE, with_file(), Store(PAPER[:1500], then))
            assert not relay._idle
            await relay.send(ENVELOPE, MAIL, Store())
        assert len(script.messages) == 1

    @pytest.mark.parametrize("data", [PAPER[:-1], PAPER + b"x"])
    async def test_a_file_of_another_length_is_not_sent(self, script: Script, data: bytes) -> None:
        async with relay_to(script.port) as relay:
            with pytest.raises(Rejected, match="as long"):
                await relay.send(ENVELOPE, with_file(), Store(data))
        assert script.messages == []

    async def test_a_file_that_is_gone_is_found_out_before_the_relay_is_asked(self, script: Script) -> None:
        file = File(ref="media:acme/gone", mime="application/pdf", size=1, name="a.pdf")
        assert isinstance(await failure(script.port, Composed((file,), 6, False)), Rejected)
        assert script.connections == 0


class TestConnections:
    async def test_a_connection_is_used_again_and_reset_before(self, script: Script) -> None:
        async with relay_to(script.port) as relay:
            for _ in range(3):
                await relay.send(ENVELOPE, MAIL, Store())
        assert script.connections == 1
        assert script.heard.count("RSET") == 2
        assert script.heard[-1] == "DATA" or script.heard[-1] == "QUIT"

    async def test_a_refusal_leaves_the_connection_for_the_next_mail(self, script: Script) -> None:
        script.says = {"RCPT": [b"550 5.1.1 no"], "MAIL": [b"250 fine", b"451 4.3.0 later", b"452 4.3.1 full"]}
        async with relay_to(script.port) as relay:
            for expected in (Rejected, Throttled, Throttled):
                with pytest.raises(expected):
                    await relay.send(ENVELOPE, MAIL, Store())
            await relay.send(ENVELOPE, MAIL, Store())
        assert script.connections == 1

    @pytest.mark.parametrize(
        "says",
        [
            {"RSET": [None]},
            {"RSET": [b"421 4.4.2 idle"]},
            {"RSET": [b"500 what"]},
            {"MAIL": [b"250 fine", b"421 enough"]},
        ],
    )
    async def test_a_connection_that_the_relay_had_enough_of_is_replaced(
        self, script: Script, says: dict[str, list[bytes | None]]
    ) -> None:
        script.says = says
        async with relay_to(script.port) as relay:
            await relay.send(ENVELOPE, MAIL, Store())
            await relay.send(ENVELOPE, MAIL, Store())
        assert script.connections == 2
        assert len(script.messages) == 2

    async def test_no_more_connections_than_allowed(self, script: Script) -> None:
        most = 0

        class Watching(Store):
            async def open(self, ref: str) -> AsyncIterator[bytes]:
                nonlocal most
                most = max(most, script.open)
                return await super().open(ref)

        async with relay_to(script.port, connections=2) as relay:
            await asyncio.gather(*(relay.send(ENVELOPE, with_file(), Watching()) for _ in range(10)))
        assert script.connections == most == 2
        assert len(script.messages) == 10

    async def test_an_idle_connection_is_closed_after_a_while(self, script: Script) -> None:
        async with relay_to(script.port, idle_s=0.01) as relay:
            await relay.send(ENVELOPE, MAIL, Store())
            await script.left.wait()
            assert script.heard[-1] == "QUIT"
            await relay.send(ENVELOPE, MAIL, Store())
        assert script.connections == 2

    async def test_an_idle_connection_that_the_relay_closed_is_left(self, script: Script) -> None:
        script.says["."] = [b"250 fine\r\n421 bye"]
        async with relay_to(script.port) as relay:
            await relay.send(ENVELOPE, MAIL, Store())
            [client] = relay._idle
            client.close()


class TestSecurity:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            (RelaySettings(host="smtp.acme.example"), "starttls"),
            (RelaySettings(host="smtp.acme.example", port=25), "starttls"),
            (RelaySettings(host="smtp.acme.example", port=465), "tls"),
            (RelaySettings(host="192.0.2.1", security="none"), "none"),
            (RelaySettings(host="localhost"), "none"),
            (RelaySettings(host="::1"), "none"),
            (RelaySettings(host="127.0.0.1", security="starttls"), "starttls"),
        ],
    )
    def test_nothing_goes_out_unencrypted_unless_somebody_says_so(self, settings: RelaySettings, expected: str) -> None:
        assert settings.secured == expected

    def test_a_password_never_goes_out_unencrypted(self) -> None:
        with pytest.raises(ConfigError, match="unencrypted"):
            Relay(RelaySettings(host="smtp.acme.example", security="none", user="a", password=Secret("b")))

    def test_a_name_of_ours_is_ascii(self) -> None:
        with pytest.raises(ConfigError, match="hello"):
            Relay(RelaySettings(host="localhost", hello="bücher.example"))

    def test_a_ca_file_that_can_not_be_read_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("no")
        for path in ("ca.pem", "absent.pem"):
            with pytest.raises(ConfigError, match="ca_file"):
                Relay(RelaySettings(host="smtp.acme.example", ca_file=str(tmp_path / path)))

    @pytest.mark.parametrize("security", ["tls", "starttls"])
    async def test_a_relay_is_trusted_by_its_own_authority(
        self, certified: ssl.SSLContext, trusted: str, security: str
    ) -> None:
        mailboxes = Mailboxes()
        how: dict[str, Any] = (
            {"tls": certified} if security == "tls" else {"tls_context": certified, "require_starttls": True}
        )
        async with aiosmtpd(mailboxes, **how) as port:
            await send(port, security=security, ca_file=trusted)
        assert len(mailboxes.seen) == 1

    @pytest.mark.parametrize("security", ["tls", "starttls"])
    async def test_a_relay_that_nobody_vouches_for_gets_nothing(self, certified: ssl.SSLContext, security: str) -> None:
        mailboxes = Mailboxes()
        how: dict[str, Any] = {"tls": certified} if security == "tls" else {"tls_context": certified}
        async with aiosmtpd(mailboxes, **how) as port:
            error = await failure(port, security=security)
        assert isinstance(error, CredentialsRefused)
        assert "certificate" in str(error)
        assert not mailboxes.seen

    async def test_without_starttls_nothing_is_sent(self) -> None:
        mailboxes = Mailboxes()
        async with aiosmtpd(mailboxes) as port:
            error = await failure(port, security="starttls")
        assert isinstance(error, CredentialsRefused)
        assert "STARTTLS" in str(error)

    async def test_starttls_that_is_out_of_order_is_asked_again_later(self, script: Script) -> None:
        script.offers, script.says["STARTTLS"] = ["STARTTLS"], [b"454 4.7.0 not now"]
        assert isinstance(await failure(script.port, security="starttls"), Throttled)

    async def test_a_login_is_taken_or_refused(self, certified: ssl.SSLContext, trusted: str) -> None:
        tried = list[LoginPassword]()

        def authenticator(
            server: SMTP, session: Session, envelope: Seen, mechanism: str, data: LoginPassword
        ) -> AuthResult:
            tried.append(data)
            return AuthResult(success=data == LoginPassword(b"acme", "Schlüssel".encode()), handled=False)

        mailboxes = Mailboxes()
        options: dict[str, Any] = {"authenticator": authenticator, "auth_required": True, "tls_context": certified}
        login: dict[str, Any] = {"security": "starttls", "ca_file": trusted, "user": "acme"}
        async with aiosmtpd(mailboxes, **options) as port:
            await send(port, **login, password=Secret("Schlüssel"))
            error = await failure(port, **login, password=Secret("other"))
            assert isinstance(error, CredentialsRefused)
            assert error.provider_code == "5.7.8"
            assert "other" not in repr(error)
            error = await failure(port, security="starttls", ca_file=trusted)
            assert isinstance(error, CredentialsRefused)  # 530
        assert len(mailboxes.seen) == 1

    async def test_a_login_that_the_relay_does_not_offer_pauses_the_account(self, script: Script) -> None:
        for offer in ("HELP", "AUTH GSSAPI"):
            script.offers = [offer]
            error = await failure(script.port, user="acme", password=Secret("x"))
            assert isinstance(error, CredentialsRefused)
            assert "login" in str(error)

    async def test_a_login_that_can_not_be_checked_now_is_tried_again(self, script: Script) -> None:
        script.offers, script.says["AUTH"] = ["AUTH PLAIN"], [b"454 4.7.0 later"]
        assert isinstance(await failure(script.port, user="acme", password=Secret("x")), Throttled)


class TestPace:
    async def test_a_mail_waits_a_little_for_its_domain_and_goes_back_for_longer(self, script: Script) -> None:
        domains = Domains(Rate(per_second=50), {"slow.example": Rate(per_second=0.01)})
        slow = Envelope(sender="a@acme.example", recipients=("a@SLOW.example",))
        async with relay_to(script.port, domains) as relay:
            for _ in range(3):
                await relay.send(ENVELOPE, MAIL, Store())
            await relay.send(slow, MAIL, Store())
            with pytest.raises(Deferred) as caught:
                await relay.send(slow, MAIL, Store())
        assert caught.value.retry_after_s == pytest.approx(100, abs=5)
        assert len(script.messages) == 4


class TestReplies:
    @pytest.mark.parametrize(
        ("code", "text", "stage", "expected", "provider_code"),
        [
            (550, "5.1.1 unknown", Stage.RECIPIENT, Rejected, "5.1.1"),
            (552, "5.2.2 full", Stage.RECIPIENT, Rejected, "5.2.2"),
            (550, "5.7.26 unauthenticated", Stage.MESSAGE, Rejected, "5.7.26"),
            (550, "no", Stage.RECIPIENT, Rejected, "550"),
            (559, "no", Stage.RECIPIENT, Rejected, "559"),
            (550, "4.2.2 contradicts itself", Stage.RECIPIENT, Rejected, "550"),
            (550, "5.7.9999 odd", Stage.RECIPIENT, Rejected, "550"),
            (554, "5.99.99 odd", Stage.RECIPIENT, Rejected, "5.99.99"),
            (530, "5.7.0 log in", Stage.SENDER, CredentialsRefused, "5.7.0"),
            (535, "5.7.8 no", Stage.LOGIN, CredentialsRefused, "5.7.8"),
            (501, "what", Stage.LOGIN, CredentialsRefused, "501"),
            (550, "5.7.13 switched off", Stage.SENDER, CredentialsRefused, "5.7.13"),
            (554, "5.3.4 too large", Stage.SENDER, Rejected, "5.3.4"),
            (550, "refused", Stage.SENDER, CredentialsRefused, "550"),
            (450, "4.2.0 greylisted", Stage.RECIPIENT, Deferred, None),
            (452, "4.3.1 disk full", Stage.RECIPIENT, Throttled, None),
            (450, "4.7.28 flood", Stage.MESSAGE, Throttled, None),
            (451, "later", Stage.SENDER, Throttled, None),
            (499, "odd", Stage.MESSAGE, Deferred, None),
            (354, "what", Stage.RECIPIENT, Unreachable, None),
            (-1, "what", Stage.CONNECT, Unreachable, None),
        ],
    )
    def test_a_reply_means(
        self, code: int, text: str, stage: Stage, expected: type[SendError], provider_code: str | None
    ) -> None:
        error = refusal(Reply(code, text), stage)
        assert type(error) is expected
        assert provider_code is None or getattr(error, "provider_code", None) == provider_code

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("4.7.1 Try again in 300 seconds", 300),
            ("Greylisted for 5 minutes, see https://greylist.example/", 300),
            ("Greylisting in action, please come back in 00:04:59", 299),
            ("please wait 1 hour", None),
            ("retry after 1 hour", 3600),
            ("come again in 10m", 600),
            ("try again within 30 sec.", 30),
            ("try again later", None),
            ("in 3 days", None),
            ("in 999999 hours", None),
            ("Deferred in 2006", None),
        ],
    )
    def test_how_long_to_wait_is_read_where_it_is_said(self, text: str, expected: float | None) -> None:
        assert retry_after_s(text) == (3600 if text == "please wait 1 hour" else expected)

    def test_a_status_is_one_of_its_code(self) -> None:
        assert status(Reply(550, " 5.1.1 x")) == "5.1.1"
        assert status(Reply(550, "x 5.1.1")) is None

    def test_every_fault_says_in_its_table_what_its_code_says(self) -> None:
        for code, fault in ERRORS.items():
            assert (fault.outcome is Outcome.RETRY) == code.startswith("4")
