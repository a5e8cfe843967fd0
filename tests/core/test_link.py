"""The connection to NATS, against a real server that is slowed, stopped, killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from sluiceway import embedded, metrics
from sluiceway.bus import pipeline
from sluiceway.bus.link import Link, Refused
from sluiceway.bus.streams import Layout
from sluiceway.config import Nats
from sluiceway.errors import TooLarge, Unavailable
from sluiceway.gateway import Secret
from sluiceway.testing.nats import NatsServer, nats_server
from sluiceway.testing.ports import free_port

from .conftest import WAIT_S, linked, nats_settings, until
from .credentials import Login


@pytest.fixture
async def own_link(own_nats: NatsServer) -> AsyncIterator[Link]:
    async with linked(nats_settings(own_nats)) as link:
        yield link


@contextmanager
def stopped(server: NatsServer) -> Iterator[None]:
    """The server as a hung one is: it takes bytes and answers nothing."""
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # until all its threads are
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def test_a_publish_ends_with_where_it_is_stored(link: Link, layout: Layout) -> None:
    subject = f"{link.settings.prefix}.v1.acme.events.x"
    first, second = await link.publish(subject, b"1"), await link.publish(subject, b"2")
    assert (first.stream, first.seq, second.seq) == (layout.events, 1, 2)
    assert not first.duplicate


async def test_a_message_id_that_was_stored_is_a_duplicate_and_not_stored_again(link: Link, layout: Layout) -> None:
    subject = f"{link.settings.prefix}.v1.acme.events.x"
    acks = [await link.publish(subject, b"1", {"Nats-Msg-Id": "a"}) for _ in range(3)]
    assert [(ack.seq, ack.duplicate) for ack in acks] == [(1, False), (1, True), (1, True)]


@pytest.mark.usefixtures("layout")
async def test_what_the_stream_refuses_has_the_servers_number(link: Link) -> None:
    subject = f"{link.settings.prefix}.v1.acme.events.x"
    with pytest.raises(Refused, match="wrong last sequence") as caught:
        await link.publish(subject, b"1", {"Nats-Expected-Last-Sequence": "99"})
    assert caught.value.err_code == 10071


async def test_a_subject_that_no_stream_takes_is_unavailable(link: Link) -> None:
    with pytest.raises(Unavailable, match="no stream takes nowhere subjects; run `sluiceway check`"):
        await link.publish("nowhere.at.all", b"1")


async def test_a_payload_that_will_never_be_taken_is_too_large_and_hurts_nobody_else(link: Link) -> None:
    with pytest.raises(TooLarge, match="has 2097152 bytes, this NATS takes 1048576"):
        await link.request(link.api("INFO"), b"x" * (2 << 20))
    assert (await link.request(link.api("INFO"))).data


async def test_a_message_that_is_too_large_to_send_is_unavailable(link: Link) -> None:
    with pytest.raises(Unavailable, match="MaxPayloadError"):
        await link.send("x", b"x" * (2 << 20))


async def test_requests_beyond_the_limit_wait_for_their_turn(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_IN_FLIGHT", 2)
    answers = await asyncio.gather(*(link.request(link.api("INFO")) for _ in range(20)))
    assert all(answer.data for answer in answers)


async def test_a_link_to_a_server_that_hangs_can_be_closed(own_nats: NatsServer, own_link: Link) -> None:
    with stopped(own_nats):
        await own_link.close()
    assert own_link.closed.is_set()


async def test_answers_find_their_requests(link: Link) -> None:
    async def echo(message: object) -> None:
        await link.send(message.reply, message.data)  # type: ignore[attr-defined]  # it is a Msg

    stop = await link.subscribe("echo", echo)
    answers = await asyncio.gather(*(link.request("echo", str(n).encode()) for n in range(500)))
    assert [int(answer.data) for answer in answers] == list(range(500))
    await stop()


async def test_the_domain_is_part_of_the_api(shared_nats: NatsServer) -> None:
    assert Link(Nats(url=shared_nats.url), "test").api("INFO") == "$JS.API.INFO"
    assert Link(Nats(url=shared_nats.url, domain="hub"), "test").api("INFO") == "$JS.hub.API.INFO"


async def test_inboxes_begin_as_configured(shared_nats: NatsServer) -> None:
    async with linked(Nats(url=shared_nats.url, inbox_prefix="_MINE.x")) as link:
        assert link.new_inbox().startswith("_MINE.x.")
        assert link.new_inbox() != link.new_inbox()
        assert (await link.request(link.api("INFO"))).subject.startswith("_MINE.x.")


async def test_the_servers_version_is_known(link: Link) -> None:
    assert link.server_version >= (2, 14)


async def test_a_server_that_does_not_answer_in_time_is_unavailable(own_nats: NatsServer, own_link: Link) -> None:
    with stopped(own_nats), pytest.raises(Unavailable, match="did not answer in time"):
        await own_link.request(own_link.api("INFO"), timeout_s=0.2)


async def test_requests_in_flight_fail_at_once_when_the_server_dies(own_nats: NatsServer, own_link: Link) -> None:
    with stopped(own_nats):
        asked = [asyncio.create_task(own_link.request(own_link.api("INFO"), timeout_s=600)) for _ in range(50)]
        await asyncio.sleep(0)
        own_nats.kill()
    async with asyncio.timeout(WAIT_S):
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert {str(answer) for answer in answers} == {"the connection to NATS was lost before the answer"}


async def test_without_a_connection_everything_is_unavailable_at_once(own_nats: NatsServer, own_link: Link) -> None:
    own_nats.kill()
    await until(lambda: not own_link.connected, "the loss is noticed")
    with pytest.raises(Unavailable, match="the connection to NATS is down"):
        await own_link.request(own_link.api("INFO"), timeout_s=600)
    with pytest.raises(Unavailable, match="the connection to NATS is down"):
        await own_link.send("x", b"")


async def test_after_a_restart_it_works_again_and_says_so(own_nats: NatsServer, own_link: Link) -> None:
    told = asyncio.Event()
    own_link.on_reconnect.append(told.set)
    own_nats.kill()
    await until(lambda: not own_link.connected, "the loss is noticed")
    assert not told.is_set()
    own_nats.restart()
    await until(told.is_set, "word of the new connection")
    assert (await own_link.request(own_link.api("INFO"))).data
    assert not own_link.closed.is_set()


async def test_a_server_that_is_not_there_is_unavailable_with_its_address() -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    link = Link(Nats(url=url), "test")
    with pytest.raises(Unavailable, match=f"NATS at {url} can't be reached: .*"):
        await link.connect(within_s=0.5)
    await link.close()


async def test_a_server_that_starts_later_is_waited_for(own_nats: NatsServer) -> None:
    own_nats.kill()
    link = Link(nats_settings(own_nats), "test")
    connecting = asyncio.create_task(link.connect())
    await asyncio.sleep(0.1)
    own_nats.restart()
    async with asyncio.timeout(WAIT_S):
        await connecting
    assert (await link.request(link.api("INFO"))).data
    await link.close()


async def test_credentials_that_are_not_there_are_unavailable(shared_nats: NatsServer) -> None:
    link = Link(Nats(url=shared_nats.url, ca="/nowhere/ca.pem"), "test")
    with pytest.raises(Unavailable, match="No such file"):
        await link.connect(within_s=1)


async def test_a_link_whose_server_died_can_be_closed_while_something_waits_to_be_sent(
    own_nats: NatsServer, own_link: Link
) -> None:
    own_nats.kill()
    await until(lambda: not own_link.connected, "the loss is noticed")
    own_link._client._pending.append(b"PING\r\n")  # as what nats-py's own tasks leave there now and then
    own_link._client._pending_data_size = 6
    await own_link.close()
    assert own_link.closed.is_set()


async def test_a_closed_link_says_so_and_its_requests_have_ended(own_nats: NatsServer) -> None:
    async with linked(nats_settings(own_nats)) as link:
        with stopped(own_nats):
            asked = asyncio.create_task(link.request(link.api("INFO"), timeout_s=600))
            await asyncio.sleep(0)
        await asked
    assert link.closed.is_set()
    with pytest.raises(Unavailable):
        await link.request(link.api("INFO"))


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def strict_nats(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A server that asks for TLS, a certificate and a password; its port, and the PEM file of all three."""
    port, pem = free_port(), tmp_path / "all.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", str(pem), "-out", f"{pem}.crt")
    pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nauthorization {{ user: desk, password: "open sesame" }}\n'
        f'tls {{ cert_file: "{pem}", key_file: "{pem}", ca_file: "{pem}", verify: true }}\n'
    )
    process = subprocess.Popen([embedded.binary(), "-c", str(config), "-l", str(tmp_path / "log")])
    yield port, pem
    process.kill()
    process.wait()


async def test_tls_with_certificates_and_a_password_connects(strict_nats: tuple[int, Path]) -> None:
    port, pem = strict_nats
    login = {"user": "desk", "password": Secret("open sesame")}
    tls = {"ca": str(pem), "certificate": str(pem), "key": str(pem)}
    async with linked(Nats(url=f"tls://localhost:{port}", **login, **tls)) as link:  # type: ignore[arg-type]  # they fit
        assert link.connected


@pytest.mark.parametrize("wrong", ["password", "certificate"])
async def test_a_refused_login_says_so_and_never_the_password(strict_nats: tuple[int, Path], wrong: str) -> None:
    port, pem = strict_nats
    login = {"user": "desk", "password": Secret("canary" if wrong == "password" else "open sesame")}
    tls = {"ca": str(pem)} | ({} if wrong == "certificate" else {"certificate": str(pem), "key": str(pem)})
    link = Link(Nats(url=f"tls://localhost:{port}", **login, **tls), "test")  # type: ignore[arg-type]  # they fit
    with pytest.raises(Unavailable) as caught:
        await link.connect(within_s=1)
    assert "canary" not in str(caught.value)
    await link.close()


class Eavesdropper:
    """Speaks as a nats-server without TLS does, and keeps what it is told."""

    def __init__(self, info: str = "") -> None:
        self.url, self.heard, self.met = "", b"", 0
        self._info = info

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"X","version":"2.15.1","proto":1,"auth_required":true%b}\r\n' % self._info.encode()
        )
        while heard := await reader.read(4096):
            self.heard += heard
            writer.write(b"PONG\r\n" * heard.count(b"PING\r\n"))
        self.met += 1
        writer.close()


@asynccontextmanager
async def eavesdropper(info: str = "", port: int = 0) -> AsyncIterator[Eavesdropper]:
    ear = Eavesdropper(info)
    server = await asyncio.start_server(ear.talk, "127.0.0.1", port)
    ear.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield ear
    finally:
        server.close()


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    return ca


LOGIN: dict[str, Any] = {"user": "desk", "password": Secret("canary")}
USERS = 'authorization { user: desk, password: "canary" }\n'


def tls(tmp_path: Path, more: str = "") -> str:
    pem = tmp_path / "server.pem"
    return f'tls {{ cert_file: "{pem}", key_file: "{pem}" }}\n{more}'


@pytest.mark.usefixtures("ca")
@pytest.mark.parametrize("scheme", ["tls", "nats"])
@pytest.mark.parametrize("info", ["", ',"tls_required":false', ',"connect_urls":["127.0.0.1:9"]'])
async def test_where_tls_is_wanted_a_server_without_it_is_told_nothing(tmp_path: Path, scheme: str, info: str) -> None:
    async with eavesdropper(info) as ear:
        link = Link(Nats(url=f"{scheme}://{ear.url}", ca=str(tmp_path / "ca.pem"), **LOGIN), "test")
        with pytest.raises(Unavailable) as caught:
            await link.connect(within_s=1)
        await link.close()
        assert "the server offers no TLS" in str(caught.value)
        assert ear.heard == b""
        assert ear.met, "it was hung up on"


async def test_a_url_that_says_tls_wants_it_without_a_ca_too() -> None:
    async with eavesdropper() as ear:
        link = Link(Nats(url=f"nats://127.0.0.1:9,tls://{ear.url}", **LOGIN), "test")
        with pytest.raises(Unavailable):
            await link.connect(within_s=1)
        await link.close()
        assert ear.heard == b""


async def test_where_no_tls_is_wanted_a_server_without_it_is_told_the_login() -> None:
    """What the tests before this one rest on: the listener hears what it is told."""
    async with eavesdropper() as ear, linked(Nats(url=f"nats://{ear.url}", **LOGIN)):
        assert b"canary" in ear.heard


@pytest.mark.usefixtures("ca")
async def test_a_real_server_without_tls_is_refused_where_tls_is_wanted(tmp_path: Path) -> None:
    with nats_server(tmp_path, USERS) as server:
        async with linked(Nats(url=server.url, **LOGIN)):
            pass
        link = Link(Nats(url=server.url.replace("nats:", "tls:"), ca=str(tmp_path / "ca.pem"), **LOGIN), "test")
        with pytest.raises(Unavailable, match=r"no login was sent\. Give nats-server a tls \{\} block"):
            await link.connect(within_s=1)
        await link.close()


@pytest.mark.usefixtures("ca")
@pytest.mark.parametrize("more", ["", "allow_non_tls: true\n"])
async def test_a_server_with_tls_is_connected_to_by_tls_and_again_after_a_loss(tmp_path: Path, more: str) -> None:
    with nats_server(tmp_path, USERS + tls(tmp_path, more)) as server:
        url = f"tls://localhost:{server.port}"
        async with linked(Nats(url=url, ca=str(tmp_path / "ca.pem"), **LOGIN)) as link:
            for _ in range(2):
                assert link.connected
                transport: Any = link._client._transport
                assert transport._io_writer.get_extra_info("ssl_object") is not None
                back = asyncio.Event()
                link.on_reconnect.append(back.set)
                await asyncio.to_thread(server.restart)
                await asyncio.wait_for(back.wait(), WAIT_S)


@pytest.mark.usefixtures("ca")
@pytest.mark.filterwarnings("ignore:parameter 'timeout':DeprecationWarning")  # nats-py's, to aiohttp
async def test_a_websocket_has_tls_from_its_beginning_or_is_refused(tmp_path: Path) -> None:
    port, ca = free_port(), str(tmp_path / "ca.pem")
    with nats_server(tmp_path / "bare", USERS + f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n'):
        link = Link(Nats(url=f"ws://127.0.0.1:{port}", ca=ca, **LOGIN), "test")
        with pytest.raises(Unavailable, match="the server offers no TLS"):
            await link.connect(within_s=1)
        await link.close()
    port = free_port()
    websocket = f'websocket {{ listen: "127.0.0.1:{port}", {tls(tmp_path).strip()} }}\n'
    with nats_server(tmp_path / "safe", USERS + websocket):
        async with linked(Nats(url=f"wss://localhost:{port}", ca=ca, **LOGIN)) as link:
            assert link.connected


@pytest.mark.usefixtures("ca")
async def test_a_server_that_has_lost_its_tls_is_told_nothing_at_the_reconnect(tmp_path: Path) -> None:
    with nats_server(tmp_path, USERS + tls(tmp_path)) as server:
        url = f"tls://localhost:{server.port}"
        async with linked(Nats(url=url, ca=str(tmp_path / "ca.pem"), **LOGIN)) as link:
            server.kill()
            async with eavesdropper(port=server.port) as ear:
                await until(lambda: ear.met > 1, "it came back, and went")
                assert not link.connected
                assert ear.heard == b""
            server.restart()
            await until(lambda: link.connected, "it is back")


@pytest.mark.parametrize("kind", ["password", "token", "credentials"])
async def test_a_login_that_changed_in_its_file_is_the_one_of_the_next_connect(tmp_path: Path, kind: str) -> None:
    login = Login(kind, tmp_path)
    login.write("old")
    with nats_server(tmp_path, login.of_server("old")) as server:
        async with linked(login.settings(server.url)) as link:
            server.config = login.of_server("new")
            with structlog.testing.capture_logs() as logs:
                await asyncio.to_thread(server.restart)
                await until(lambda: "Authorization Violation" in link.failure, "the old one is refused")
                before = metrics.nats_errors.labels("other")._value.get()
                await until(lambda: metrics.nats_errors.labels("other")._value.get() > before + 3, "and again")
            told = [line for line in logs if "Authorization Violation" in line.get("error", "")]
            assert len(told) == 1, "and not each time"
            assert not link.connected
            login.write("new")
            await until(lambda: link.connected, "the new one is taken")
            assert not link.closed.is_set()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda text: text.partition("-----BEGIN USER")[0], "has no user's seed; a .creds file has both"),
        (lambda text: "-----BEGIN USER" + text.partition("-----BEGIN USER")[2], "has no user's JWT"),
        (lambda text: re.sub(r"\nSU\w+", "\nSUAAAA", text), "has a user's seed that is none; make the file anew"),
        (lambda text: text.replace("\nSU", "\nSA"), "has a user's seed that is none"),
        (lambda text: re.sub(r"(\nSU\w+)\w", r"\1!", text), "has a user's seed that is none"),
    ],
)
async def test_credentials_that_are_none_are_told_without_what_they_have(
    tmp_path: Path, broken: Callable[[str], str], told: str
) -> None:
    login = Login("credentials", tmp_path)
    login.write("old")
    whole = login.file.read_text()
    login.file.write_text(broken(whole))
    with nats_server(tmp_path, login.of_server("old")) as server:
        link = Link(login.settings(server.url), "test")
        with pytest.raises(Unavailable) as caught:
            await link.connect(within_s=1)
        await link.close()
    assert told in str(caught.value)
    assert "SUA" not in str(caught.value)


async def test_a_password_whose_file_has_gone_is_the_one_that_was_read(tmp_path: Path) -> None:
    login = Login("password", tmp_path)
    login.write("old")
    with nats_server(tmp_path, login.of_server("old")) as server:
        async with linked(login.settings(server.url)) as link:
            login.file.unlink()
            back = asyncio.Event()
            link.on_reconnect.append(back.set)
            await asyncio.to_thread(server.restart)
            await asyncio.wait_for(back.wait(), WAIT_S)


@pytest.mark.parametrize("kind", ["password", "token", "credentials"])
async def test_a_login_that_the_server_takes_away_while_it_is_in_use_is_exchanged_for_the_new_one(
    tmp_path: Path, kind: str
) -> None:
    login = Login(kind, tmp_path)
    login.write("old")
    with nats_server(tmp_path, login.of_server("old")) as server:
        async with linked(login.settings(server.url)) as link:
            lost = asyncio.Event()
            link.on_reconnect.append(lost.set)
            login.write("new")
            server.config = login.of_server("new")
            server.reload()
            await asyncio.wait_for(lost.wait(), WAIT_S)
            assert link.connected
            assert not link.closed.is_set()


async def test_a_link_that_never_connected_can_be_closed() -> None:
    await Link(Nats(), "test").close()
