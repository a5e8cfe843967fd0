"""SMTP and LMTP in: what a mail server is answered, and that nobody's mail or behaviour harms another's."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from sluiceway import Unavailable
from sluiceway.testing.ports import free_port
from sluiceway_gateways.email import _listener, smtp
from sluiceway_gateways.email._listener import serve
from sluiceway_gateways.email.smtp import Smtp

HELP, SALES = "help@acme.example", "sales@acme.example"


class Mouth:
    """Where the mails go: all of them, or what it was told to raise."""

    def __init__(self) -> None:
        self.mails: list[tuple[bytes, str, tuple[str, ...]]] = []
        self.raises: list[Exception] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def take(self, path: str, sender: str, recipients: tuple[str, ...]) -> None:
        self.begun.set()
        await self.go.wait()
        if self.raises:
            raise self.raises.pop(0)
        self.mails.append((await asyncio.to_thread(Path(path).read_bytes), sender, recipients))


@asynccontextmanager
async def listening(mouth: Mouth, **settings: Any) -> AsyncIterator[int]:
    port = free_port()
    defaults = {"max_bytes": 10_000, "connections": 10}
    knows: Callable[[str], bool] = (HELP, SALES).__contains__
    task = asyncio.create_task(serve(f"127.0.0.1:{port}", mouth.take, knows, **(defaults | settings)))
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)  # so that the probe's connection has gone
        yield port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def send(port: int, *to: str, raw: bytes = b"Subject: hi\r\n\r\nhi\r\n", kind: Any = smtplib.SMTP) -> Any:
    def sending() -> Any:
        with kind("127.0.0.1", port, timeout=20) as client:
            return client.sendmail("ann@customer.example", list(to), raw)

    return await asyncio.to_thread(sending)


async def say(port: int, *words: str) -> list[str]:
    """The answers to a greeting and these words."""

    def saying() -> list[str]:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.ehlo()
            return [f"{code} {text.decode()}" for code, text in (client.docmd(word) for word in words)]

    return await asyncio.to_thread(saying)


async def test_a_mail_is_answered_when_it_is_stored() -> None:
    mouth = Mouth()
    async with listening(mouth) as port:
        await send(port, HELP, SALES, HELP)
    assert mouth.mails == [(b"Subject: hi\r\n\r\nhi\r\n", "ann@customer.example", (HELP, SALES))]


@pytest.mark.parametrize(
    ("error", "answer"),
    [(Unavailable("NATS is away"), b"it can't be stored now"), (ZeroDivisionError("a bug"), b"try again")],
)
async def test_what_is_not_stored_is_to_come_again_whatever_the_reason(error: Exception, answer: bytes) -> None:
    mouth = Mouth()
    mouth.raises = [error]
    async with listening(mouth) as port:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await send(port, HELP)
        assert refused.value.smtp_code == 451
        assert answer in refused.value.smtp_error
        await send(port, HELP)
    assert len(mouth.mails) == 1


class Full:
    """A file on a disk that is full, from so many bytes on; it may be told as late as when it is closed."""

    name = "none"

    def __init__(self, fails_at: str) -> None:
        self._fails_at = fails_at

    def write(self, content: bytes) -> None:
        self._do("write")

    def flush(self) -> None:
        self._do("flush")

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._do("close")

    def _do(self, what: str) -> None:
        if what == self._fails_at:
            raise OSError(28, "No space left on device")


SMUGGLED = b"Subject: hi\r\n\r\nRSET\r\nMAIL FROM:<eve@bank.example>\r\nRCPT TO:<help@acme.example>\r\nDATA\r\nx\r\n"


@pytest.mark.parametrize("fails_at", ["open", "write", "flush", "close"])
async def test_a_full_disk_sends_a_mail_back_and_makes_no_commands_of_it(
    fails_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mouth, opened = Mouth(), 0

    def full(**_: Any) -> Full:
        nonlocal opened
        opened += 1
        if fails_at == "open":
            raise OSError(28, "No space left on device")
        return Full(fails_at)

    async def take(path: str, sender: str, recipients: tuple[str, ...]) -> None:
        return

    if fails_at == "close":
        mouth.take = take  # type: ignore[method-assign]
    async with listening(mouth) as port:
        with monkeypatch.context() as patched:
            patched.setattr(_listener, "tempfile", SimpleNamespace(NamedTemporaryFile=full))
            if fails_at == "close":
                await send(port, HELP, raw=SMUGGLED)
            else:
                with pytest.raises(smtplib.SMTPDataError) as refused:
                    await send(port, HELP, raw=SMUGGLED)
                assert refused.value.smtp_code == 451
        assert opened == 1
    assert mouth.mails == []


async def test_whatever_breaks_is_no_reason_to_refuse_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError("ann@customer.example")

    mouth = Mouth()
    async with listening(mouth) as port:
        monkeypatch.setattr(_listener.Handler, "handle_RCPT", broken)
        assert (await say(port, "MAIL FROM:<a@b.example>", f"RCPT TO:<{HELP}>"))[1].startswith("451")


async def test_one_recipient_too_many_is_refused_for_now() -> None:
    async with listening(Mouth()) as port:
        said = await say(port, "MAIL FROM:<a@b.example>", *[f"RCPT TO:<{HELP}>"] * 1001)
    assert {answer[:3] for answer in said[:-1]} == {"250"}
    assert said[-1].startswith("452")


async def test_an_envelope_in_another_charset_is_text_all_the_same() -> None:
    mouth = Mouth()
    async with listening(mouth) as port:

        def talking() -> int:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.ehlo()
                client.send(b"MAIL FROM:<m\xfcller@b.example> SMTPUTF8\r\n")
                client.getreply()
                client.rcpt(HELP)
                return client.data(b"Subject: hi\r\n\r\nhi")[0]

        assert await asyncio.to_thread(talking) == 250
    assert mouth.mails[0][1] == "m\ufffdller@b.example"


LETTER = b"MAIL FROM:<ann@customer.example>\r\nRCPT TO:<help@acme.example>\r\nDATA\r\n"


async def test_what_follows_a_mail_in_the_same_breath_is_commands() -> None:
    mouth = Mouth()
    async with listening(mouth) as port:

        def talking() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client, client.makefile("rb") as answers:
                client.sendall(b"EHLO x\r\n" + LETTER)
                while not answers.readline().startswith(b"354"):
                    pass
                client.sendall(b"one\r\n.\r\n" + LETTER + b"two\r\n.\r\nQUIT\r\n")
                return answers.read()

        assert (await asyncio.to_thread(talking)).endswith(b"250 2.0.0 stored\r\n221 Bye\r\n")
    assert [mail for mail, _, _ in mouth.mails] == [b"one\r\n", b"two\r\n"]


async def test_who_hangs_up_within_a_mail_has_sent_none() -> None:
    mouth = Mouth()
    async with listening(mouth) as port:

        def talking() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client, client.makefile("rb") as answers:
                client.sendall(b"EHLO x\r\n" + LETTER)
                while not answers.readline().startswith(b"354"):
                    pass
                client.sendall(b"half\r\n")
                client.shutdown(socket.SHUT_WR)
                return answers.read()

        assert b"stored" not in await asyncio.to_thread(talking)
    assert mouth.mails == []


async def test_lmtp_answers_for_each_recipient() -> None:
    mouth = Mouth()
    async with listening(mouth, lmtp=True) as port:

        def talking() -> list[int]:
            with smtplib.LMTP("127.0.0.1", port) as client:
                client.ehlo()
                client.mail("ann@customer.example")
                client.rcpt(HELP)
                client.rcpt(SALES)
                return [client.data(b"Subject: hi\r\n\r\nhi")[0], client.getreply()[0]]

        assert await asyncio.to_thread(talking) == [250, 250]
    assert len(mouth.mails) == 1


async def test_who_speaks_out_of_turn_is_told() -> None:
    async with listening(Mouth()) as port:
        early = await say(port, "DATA", "MAIL FROM:<a@b.example>", f"RCPT TO:<{HELP}>", "DATA now")
        assert [answer[:3] for answer in early] == ["503", "250", "250", "501"]

        def without_greeting() -> tuple[int, bytes]:
            with smtplib.SMTP("127.0.0.1", port) as client:
                return client.docmd("DATA")

        assert (await asyncio.to_thread(without_greeting))[0] == 503


async def test_one_connection_too_many_is_told_to_come_again_and_disturbs_nobody() -> None:
    mouth = Mouth()
    async with listening(mouth, connections=1) as port:

        def crowding() -> bytes:
            with smtplib.SMTP("127.0.0.1", port) as first:
                with socket.create_connection(("127.0.0.1", port)) as second:
                    second.sendall(b"EHLO x\r\n")
                    second.shutdown(socket.SHUT_WR)
                    told = second.recv(100)
                first.sendmail("ann@customer.example", [HELP], b"Subject: hi\r\n\r\nhi")
            return told

        assert (await asyncio.to_thread(crowding)).startswith(b"421 4.3.2")
    assert len(mouth.mails) == 1


async def test_what_is_being_stored_when_it_ends_is_stored_and_who_waits_is_let_go() -> None:
    mouth = Mouth()
    mouth.go.clear()
    async with listening(mouth) as port:
        idle = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
        sending = asyncio.create_task(send(port, HELP))
        await mouth.begun.wait()
        asyncio.get_running_loop().call_later(0.2, mouth.go.set)
    await asyncio.gather(sending, return_exceptions=True)
    assert len(mouth.mails) == 1
    with idle:
        idle.settimeout(10)
        while await asyncio.to_thread(idle.recv, 100):
            pass


async def test_who_is_idle_does_not_hold_up_the_end_of_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Python 3.12.1 and later too, where `Server.wait_closed` is as it is written here."""

    async def wait_closed(server: Any) -> None:
        if server._waiters is not None:
            waiter = asyncio.get_running_loop().create_future()
            server._waiters.append(waiter)
            await waiter

    monkeypatch.setattr(asyncio.base_events.Server, "wait_closed", wait_closed)
    async with asyncio.timeout(20):
        async with listening(Mouth()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.readline()).startswith(b"220")
        assert await reader.read() == b"", "it was hung up on"
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_starttls_is_offered_and_demanded_where_that_is_set(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    certificate.private_key_pem.write_to_path(str(key))
    settings = Smtp(certificate=str(chain), key=str(key), require_tls=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    mouth = Mouth()
    async with listening(mouth, tls=smtp._tls(settings), require_tls=True) as port:
        assert (await say(port, "MAIL FROM:<a@b.example>"))[0].startswith("530")

        def secretly() -> None:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.starttls(context=context)
                client.sendmail("ann@customer.example", [HELP], b"Subject: hi\r\n\r\nhi")

        await asyncio.to_thread(secretly)
    assert len(mouth.mails) == 1
