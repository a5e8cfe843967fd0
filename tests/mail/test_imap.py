"""A mailbox on a real Dovecot: nothing missing and nothing twice, whatever is cut, killed or refused in between."""

from __future__ import annotations

import asyncio
import hashlib
import imaplib
import os
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sluiceway import CredentialsRefused, Secret, Unavailable
from sluiceway_gateways.email._imap import TRIES, Cursor, Fetched, ImapMailbox, Mailbox, Unfetched

from .servers import Dovecot, User

PATIENCE_S = 60


def settings(dovecot: Dovecot, user: User, **fields: Any) -> ImapMailbox:
    """With TLS, unless `port` and `security` say otherwise."""
    if "access_token" not in fields:
        fields.setdefault("password", Secret(user.password))
    fields = {"port": dovecot.imaps_port, "ca_file": str(dovecot.tls.ca), **fields}
    return ImapMailbox(host="127.0.0.1", user=user.name, **fields)


def numbered(number: int, body: str = "It leaks.") -> bytes:
    return f"From: customer@tenant.example\r\nSubject: {number}\r\n\r\n{body}\r\n".encode()


async def deliver(dovecot: Dovecot, user: User, *numbers: int) -> None:
    for number in numbers:
        await asyncio.to_thread(dovecot.deliver, user, numbered(number))


@asynccontextmanager
async def connected(folder: Path, dovecot: Dovecot, user: User, **fields: Any) -> AsyncIterator[Mailbox]:
    mailbox = Mailbox(folder)
    await mailbox.connect(settings(dovecot, user, **fields))
    try:
        yield mailbox
    finally:
        await mailbox.close()


async def read(mailbox: Mailbox, cursor: Cursor | None = None) -> list[Fetched]:
    found = [mail async for mail in mailbox.new_mails(cursor)]
    assert not [mail for mail in found if isinstance(mail, Unfetched)]
    return [mail for mail in found if isinstance(mail, Fetched)]


def number(mail: Fetched) -> int:
    _, _, rest = mail.path.read_bytes().partition(b"Subject: ")
    return int(rest.partition(b"\r\n")[0])


def flags(dovecot: Dovecot, user: User, folder: str = "INBOX") -> list[bytes]:
    """What another client sees of each mail there."""
    with imaplib.IMAP4("127.0.0.1", dovecot.imap_port, timeout=PATIENCE_S) as client:
        client.login(user.name, user.password)
        client.select(folder, readonly=True)
        return [line for line in client.uid("FETCH", "1:*", "(FLAGS)")[1] if isinstance(line, bytes)]


class Cable:
    """Between the mailbox and its server; `cut` ends all connections without a word."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, other_writer]
        for pair in ((reader, other_writer), (other_reader, writer)):
            self._tasks.append(asyncio.create_task(self._copy(*pair)))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def cable(own_dovecot: Dovecot) -> AsyncIterator[Cable]:
    cable = Cable(own_dovecot.imaps_port)
    await cable.start()
    yield cable
    await cable.stop()


async def follow(mailbox: Mailbox, wanted: ImapMailbox, stored: list[Fetched], count: int) -> None:
    """As a gateway does: read, store, mark; connect again where that ends."""
    cursor: Cursor | None = None
    while len(stored) < count:
        try:
            await mailbox.connect(wanted)
            while len(stored) < count:
                async for mail in mailbox.new_mails(cursor):
                    assert isinstance(mail, Fetched)
                    stored.append(mail)
                    cursor = mail.cursor
                    await mailbox.done(mail.uid)
                if len(stored) < count:
                    await mailbox.wait()
        except Unavailable:
            await asyncio.sleep(0.02)


async def regularly(what: Callable[[], Awaitable[object]], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await what()


async def test_two_hundred_mails_are_read_once_each_though_connections_are_cut_and_dovecot_killed(
    own_dovecot: Dovecot, cable: Cable, tmp_path: Path
) -> None:
    desk = own_dovecot.user()
    await deliver(own_dovecot, desk, *range(100))
    stored: list[Fetched] = []
    cuts = list[int]()

    async def cut() -> None:
        if len(stored) not in cuts:  # one mail can be cut so often that it is given up
            cuts.append(len(stored))
            cable.cut()

    async def more() -> None:
        for one in range(100, 200):
            if one % 50 == 20:
                await asyncio.to_thread(own_dovecot.kill)
                await asyncio.sleep(0.1)
                await asyncio.to_thread(own_dovecot.restart)
            await deliver(own_dovecot, desk, one)

    mailbox = Mailbox(tmp_path)
    async with asyncio.timeout(PATIENCE_S):
        disturbance = asyncio.create_task(regularly(cut, 0.15))
        delivery = asyncio.create_task(more())
        await follow(mailbox, settings(own_dovecot, desk, port=cable.port), stored, 200)
        await delivery
        disturbance.cancel()
    await mailbox.close()
    assert len(cuts) > 3
    assert sorted(number(mail) for mail in stored) == list(range(200))
    assert len({mail.cursor for mail in stored}) == 200
    assert [mail.uid for mail in stored] == sorted(mail.uid for mail in stored)
    assert all(mail.size == mail.path.stat().st_size for mail in stored)


@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
async def test_a_mail_is_read_and_flagged_however_the_connection_is_made(
    dovecot: Dovecot, tmp_path: Path, security: str
) -> None:
    desk = dovecot.user()
    await deliver(dovecot, desk, 1, 2)
    port = dovecot.imaps_port if security == "tls" else dovecot.imap_port
    async with connected(tmp_path, dovecot, desk, port=port, security=security) as mailbox:
        first, second = await read(mailbox)
        assert b"\\Seen" not in b"".join(await asyncio.to_thread(flags, dovecot, desk))
        await mailbox.done(first.uid)
        assert await read(mailbox, second.cursor) == []
    assert [b"\\Seen" in line for line in await asyncio.to_thread(flags, dovecot, desk)] == [True, False]


async def test_a_new_mail_ends_the_wait(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    async with connected(tmp_path, dovecot, desk) as mailbox, asyncio.timeout(PATIENCE_S):
        begin = mailbox.end
        assert await read(mailbox) == []
        for one in (1, 2):
            waiting = asyncio.create_task(mailbox.wait())
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await deliver(dovecot, desk, one)
            await waiting
            assert [number(mail) for mail in await read(mailbox, begin)] == list(range(1, one + 1))


async def test_a_mail_that_comes_while_others_are_read_is_not_waited_for(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    await deliver(dovecot, desk, 1)
    async with connected(tmp_path, dovecot, desk) as mailbox, asyncio.timeout(PATIENCE_S):
        async for mail in mailbox.new_mails(None):
            await deliver(dovecot, desk, 2)
            await mailbox.done(mail.uid)
        await mailbox.wait()
        assert [number(mail) for mail in await read(mailbox, mail.cursor)] == [2]


async def test_a_wait_is_over_after_its_time(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    async with connected(tmp_path, dovecot, desk, idle_s=0.05) as mailbox, asyncio.timeout(PATIENCE_S):
        assert await read(mailbox) == []
        await mailbox.wait()
        await mailbox.wait()
        await deliver(dovecot, desk, 1)
        assert len(await read(mailbox)) == 1


async def test_a_server_that_dies_while_we_wait_is_noticed(own_dovecot: Dovecot, tmp_path: Path) -> None:
    desk = own_dovecot.user()
    async with connected(tmp_path, own_dovecot, desk) as mailbox, asyncio.timeout(PATIENCE_S):
        assert await read(mailbox) == []
        waiting = asyncio.create_task(mailbox.wait())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own_dovecot.kill)
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable):
            await read(mailbox)


async def test_a_mail_of_25_mb_goes_to_its_file_without_being_in_memory(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    content = os.urandom(20).hex().encode() * 2 + b"\r\n"
    body = content * (25_000_000 // len(content))
    await asyncio.to_thread(dovecot.deliver, desk, b"Subject: 1\r\n\r\n" + body)
    async with connected(tmp_path, dovecot, desk) as mailbox:
        tracemalloc.start()
        [mail] = await read(mailbox)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3_000_000
    assert mail.size == mail.path.stat().st_size > 25_000_000
    received = mail.path.read_bytes().partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(received).digest() == hashlib.sha256(body).digest()


async def test_a_mail_that_is_larger_than_it_may_be_is_left_and_told(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    await deliver(dovecot, desk, 1)
    await asyncio.to_thread(dovecot.deliver, desk, numbered(2, "x" * 900))
    await deliver(dovecot, desk, 3)
    async with connected(tmp_path, dovecot, desk, max_bytes=1000) as mailbox:
        found = [mail async for mail in mailbox.new_mails(None)]
    assert [isinstance(mail, Fetched) for mail in found] == [True, False, True]
    assert isinstance(found[1], Unfetched)
    assert found[1].why == "larger than 1000 bytes"


async def test_everything_is_read_again_when_the_uids_are_no_longer_those(own_dovecot: Dovecot, tmp_path: Path) -> None:
    desk = own_dovecot.user()
    await deliver(own_dovecot, desk, 1, 2)
    async with connected(tmp_path, own_dovecot, desk) as mailbox:
        before = await read(mailbox)
    await asyncio.to_thread(own_dovecot.stop)
    own_dovecot.change_uidvalidity(desk)
    await asyncio.sleep(1)  # UIDVALIDITY is the second in which Dovecot made it
    await asyncio.to_thread(own_dovecot.restart)
    await deliver(own_dovecot, desk, 3)
    await mailbox.connect(settings(own_dovecot, desk))
    after = await read(mailbox, before[-1].cursor)
    await mailbox.close()
    assert sorted(number(mail) for mail in after) == [1, 2, 3]
    assert before[0].cursor.uidvalidity != after[0].cursor.uidvalidity


async def test_a_mail_that_the_server_can_not_read_does_not_stop_those_after_it(
    own_dovecot: Dovecot, tmp_path: Path
) -> None:
    desk = own_dovecot.user()
    await deliver(own_dovecot, desk, 1, 2, 3)
    [broken] = [file for file in own_dovecot.maildir(desk).glob("*/*") if b"Subject: 2\r\n" in _content(file)]
    broken.chmod(0)
    mailbox, found, refusals = Mailbox(tmp_path), list[Fetched | Unfetched](), 0
    cursor = None
    while len(found) < 3:
        try:
            await mailbox.connect(settings(own_dovecot, desk))
            async for mail in mailbox.new_mails(cursor):
                found.append(mail)
                cursor = mail.cursor
        except Unavailable:
            refusals += 1
    await mailbox.close()
    assert [isinstance(mail, Fetched) for mail in found] == [True, False, True]
    assert refusals >= TRIES
    assert f"{found[1].cursor.uidvalidity}-{found[1].uid}.eml" not in os.listdir(tmp_path)


def _content(file: Path) -> bytes:
    return file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if file.is_file() else b""


async def test_a_mail_that_somebody_deletes_meanwhile_is_passed_over(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    await deliver(dovecot, desk, 1, 2, 3)

    def delete() -> None:
        with imaplib.IMAP4("127.0.0.1", dovecot.imap_port, timeout=PATIENCE_S) as client:
            client.login(desk.name, desk.password)
            client.select("INBOX")
            client.store("2", "+FLAGS", r"(\Deleted)")
            client.expunge()

    found = []
    async with connected(tmp_path, dovecot, desk) as mailbox:
        async for mail in mailbox.new_mails(None):
            assert isinstance(mail, Fetched)
            found.append(number(mail))
            if len(found) == 1:
                await asyncio.to_thread(delete)
    assert found == [1, 3]


async def test_a_stored_mail_is_moved_to_a_folder_which_is_made(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    await deliver(dovecot, desk, 1, 2)
    async with connected(tmp_path, dovecot, desk, then="move", move_to="Gelöscht & erledigt") as mailbox:
        first, _ = await read(mailbox)
        await mailbox.done(first.uid)
    assert len(await asyncio.to_thread(flags, dovecot, desk)) == 1
    assert len(await asyncio.to_thread(flags, dovecot, desk, '"Gel&APY-scht &- erledigt"')) == 1


async def test_a_mailbox_that_is_only_looked_at_stays_as_it_is(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    await deliver(dovecot, desk, 1)
    async with connected(tmp_path, dovecot, desk, then="nothing") as mailbox:
        [mail] = await read(mailbox)
        await mailbox.done(mail.uid)
    assert b"\\Seen" not in b"".join(await asyncio.to_thread(flags, dovecot, desk))


async def test_a_mailbox_that_is_not_there_is_told(dovecot: Dovecot, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not open the mailbox: Mailbox doesn't exist"):
        await Mailbox(tmp_path).connect(settings(dovecot, dovecot.user(), mailbox="Elsewhere"))


async def test_an_access_token_opens_the_mailbox(dovecot: Dovecot, tmp_path: Path) -> None:
    desk = dovecot.user()
    await deliver(dovecot, desk, 1)
    async with connected(tmp_path, dovecot, desk, access_token=Secret(dovecot.token(desk))) as mailbox:
        assert len(await read(mailbox)) == 1


@pytest.mark.parametrize("login", ["password", "access_token"])
async def test_a_wrong_password_or_token_is_refused_as_such(dovecot: Dovecot, tmp_path: Path, login: str) -> None:
    desk = dovecot.user()
    wrong = "open barley" if login == "password" else dovecot.token(desk, -30)
    with pytest.raises(CredentialsRefused) as caught:
        await Mailbox(tmp_path).connect(settings(dovecot, desk, **{login: Secret(wrong)}))
    assert caught.value.provider_code == "AUTHENTICATIONFAILED"
    assert desk.name not in str(caught.value)
    assert wrong not in str(caught.value)


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_a_server_that_the_authority_did_not_sign_is_told_no_password(
    own_dovecot: Dovecot, tmp_path: Path, security: str
) -> None:
    desk = own_dovecot.user()
    port = own_dovecot.imaps_port if security == "tls" else own_dovecot.imap_port
    stranger = settings(own_dovecot, desk, port=port, security=security, ca_file=str(own_dovecot.tls.other_ca))
    with pytest.raises(Unavailable, match="its certificate is not trusted"):
        await Mailbox(tmp_path).connect(stranger)
    await asyncio.to_thread(own_dovecot.stop)
    assert "no auth attempts" in own_dovecot.log()
    assert desk.name not in own_dovecot.log()


async def test_a_port_where_nobody_listens_is_unavailable(own_dovecot: Dovecot, tmp_path: Path) -> None:
    desk = own_dovecot.user()
    await asyncio.to_thread(own_dovecot.stop)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 can't be reached"):
        await Mailbox(tmp_path).connect(settings(own_dovecot, desk))
