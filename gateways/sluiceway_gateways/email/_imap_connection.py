"""One connection to an IMAP server: TLS, login, and commands one after another. Knows nothing of mails or cursors.

Whatever interrupts a command, a cancellation too, ends the connection: nobody can say what was answered. A literal of a
mail goes to a file as it comes; everything else that a server sends is bounded.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Literal

from msgspec import Meta

from sluiceway import CredentialsRefused, Secret, Settings, Unavailable

from . import _imap_wire as wire
from ._imap_sink import Sink
from ._imap_wire import Nonsense, Refusal, Value

PORTS = {"tls": 993, "starttls": 143, "none": 143}
"""https://www.rfc-editor.org/rfc/rfc8314#section-3.2"""
MAX_LITERAL_BYTES = 65_536
CHUNK_BYTES = 65_536
CLOSE_S = 2
RESPONSES_AT_ONCE = 100
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}
"""A connection whose other end is gone without a word is noticed in two minutes, even while nothing is to be said."""
_BODY = re.compile(rb"BODY\[\] ~?\{\d+\+?\}$", re.IGNORECASE)
_STATUS = re.compile(rb"\* (OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)


class ImapServer(Settings, frozen=True, kw_only=True):
    """Where a mailbox is and how to get in: `password`, or an OAuth 2 `access_token`, which whoever connects renews."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    security: Literal["tls", "starttls", "none"] = "tls"
    ca_file: str = ""
    """Certificates to trust instead of the system's."""
    user: str
    password: Secret | None = None
    access_token: Secret | None = None
    timeout_s: Annotated[float, Meta(gt=0)] = 60
    """How long the server may keep silent when it is asked something."""

    def __post_init__(self) -> None:
        if (self.password is None) == (self.access_token is None):
            raise ValueError("give either password or access_token")
        for secret in (self.password, self.access_token):
            wire.quoted(self.user + (secret.reveal() if secret else ""))


class ImapConnection:
    """Logged in, from `open` on; `news` becomes true when the server says that there is another mail."""

    def __init__(self, server: ImapServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self.codes: dict[str, str] = {}
        """What the server said in brackets, such as UIDVALIDITY."""
        self.news = False
        self._server = server
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()
        self._number = 0
        self._lost = ""

    @classmethod
    async def open(cls, server: ImapServer) -> ImapConnection:
        """Raises `Unavailable` or `CredentialsRefused`."""
        try:
            async with asyncio.timeout(server.timeout_s):
                context = await asyncio.to_thread(_context, server) if server.security != "none" else None
                reader, writer = await asyncio.open_connection(
                    server.host,
                    server.port or PORTS[server.security],
                    ssl=context if server.security == "tls" else None,
                    limit=CHUNK_BYTES,
                )
        except OSError as error:
            raise Unavailable(f"{server.host} can't be reached: {_what(error)}") from error
        self = cls(server, reader, writer)
        try:
            _keep_alive(writer.get_extra_info("socket"))
            await self._greet(context)
            await self._login()
        except BaseException:
            self.abort()
            raise
        return self

    async def command(
        self,
        *words: bytes,
        answers: Iterable[bytes] = (),
        sink: Sink | None = None,
        each: Callable[[dict[str, Value]], None] = lambda _: None,
    ) -> None:
        """Send one and wait for its end; `each` is called with what every FETCH response tells.

        `answers` are what the server is told where it asks for more; then nothing, which ends a refused login.
        Raises `Refusal`, after which the next command may be sent, or `Unavailable`, after which none may.
        """
        async with self._exchange():
            await self._answered(await self._send(*words), iter(answers), sink, each)

    async def ask(self, *words: bytes) -> None:
        """A command that no server refuses. Raises `Unavailable`."""
        try:
            await self.command(*words)
        except Refusal as refusal:
            raise Unavailable(f"{self._server.host} refuses {words[0].decode()}: {refusal}") from None

    async def idle(self, seconds: float) -> None:
        """Until there is news, or for so long. Raises `Refusal` where the server offers IDLE and does not do it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with self._exchange():
            tag = await self._send(b"IDLE")
            line = await self._line()
            while not line.startswith(b"+"):
                if (end := self._read(tag, [line])) is not None:
                    raise end.refusal()
                line = await self._line()
            while not self.news and (left := until - loop.time()) > 0:
                try:
                    async with asyncio.timeout(left):
                        line = await self._next_line()
                except TimeoutError:
                    break
                if self._read(tag, [line]) is not None:
                    return
            await self._write(b"DONE\r\n")
            while self._read(tag, [await self._line()]) is None:
                pass

    async def close(self) -> None:
        """Say goodbye, where there is still somebody."""
        try:
            with suppress(TimeoutError, Unavailable, Refusal):
                async with asyncio.timeout(CLOSE_S):
                    await self.command(b"LOGOUT")
        finally:
            self.abort()

    def abort(self, why: str = "the connection is closed") -> None:
        """End it without a word."""
        self._lost = self._lost or why
        self._writer.transport.abort()

    async def _greet(self, context: ssl.SSLContext | None) -> None:
        """Until TLS is there nothing is believed. https://www.rfc-editor.org/rfc/rfc9051#section-11.1"""
        async with self._exchange():
            self._expect_welcome(await self._line())
        if context is not None and self._server.security == "starttls":
            await self.ask(b"STARTTLS")
            async with self._exchange(), asyncio.timeout(self._server.timeout_s):
                await self._expect_silence()
                await self._writer.start_tls(context, server_hostname=self._server.host)
            self.capabilities = frozenset()
        if not self.capabilities:
            await self.ask(b"CAPABILITY")

    def _expect_welcome(self, greeting: bytes) -> None:
        word = self._note(wire.status(greeting.removeprefix(b"* "))).word
        if word != "OK":
            raise EOFError if word == "BYE" else Nonsense("it does not let us log in")

    async def _expect_silence(self) -> None:
        """What came in the clear must not be read as if it had come by TLS (CVE-2011-0411)."""
        try:
            async with asyncio.timeout(0):
                await self._reader.read(1)
        except TimeoutError:
            return
        raise Nonsense("it speaks before TLS is there")

    async def _login(self) -> None:
        server, offered = self._server, self.capabilities
        secret = (server.access_token or server.password or Secret("")).reveal()
        self.capabilities = frozenset()
        try:
            if server.access_token is not None:
                await self._authenticate(b"XOAUTH2", wire.xoauth2(server.user, secret), offered)
            elif "AUTH=PLAIN" in offered:
                await self._authenticate(b"PLAIN", wire.plain(server.user, secret), offered)
            elif "LOGINDISABLED" in offered:
                raise CredentialsRefused(f"{server.host} takes no password here: set security to tls or starttls")
            else:
                await self.command(b"LOGIN", wire.quoted(server.user), wire.quoted(secret))
        except Refusal as refusal:
            if refusal.passes:
                raise Unavailable(f"{server.host} lets nobody in now: {refusal}") from None
            raise CredentialsRefused(f"{server.host} refuses the login: {refusal}", refusal.code or None) from None
        if not self.capabilities:
            await self.ask(b"CAPABILITY")

    async def _authenticate(self, mechanism: bytes, response: bytes, offered: frozenset[str]) -> None:
        """In one line where it can be had. https://www.rfc-editor.org/rfc/rfc4959"""
        if "SASL-IR" in offered:
            await self.command(b"AUTHENTICATE", mechanism, response)
        else:
            await self.command(b"AUTHENTICATE", mechanism, answers=[response])

    async def _answered(
        self, tag: bytes, answers: Iterator[bytes], sink: Sink | None, each: Callable[[dict[str, Value]], None]
    ) -> None:
        end, responses = None, 0
        while end is None:
            pieces = await self._response(sink)
            responses += 1
            if responses % RESPONSES_AT_ONCE == 0:
                await asyncio.sleep(0)  # to read what is there already lets nobody else run
            if pieces[0].startswith(b"+"):
                await self._write(next(answers, b"") + b"\r\n")
            else:
                end = self._read(tag, pieces, each)
        if end.word != "OK":
            raise end.refusal()

    def _read(
        self, tag: bytes, pieces: list[bytes], each: Callable[[dict[str, Value]], None] = lambda _: None
    ) -> wire.Status | None:
        """Take note of a response; the status of the command that has this tag, if it is that."""
        mark, _, text = pieces[0].partition(b" ")
        if mark == tag:
            return self._note(wire.status(text))
        if mark != b"*":
            raise Nonsense("an answer to what was not asked")
        words = text.split(b" ", 2)
        if _STATUS.match(pieces[0]):
            self._note(wire.status(text))
        elif words[0].upper() == b"CAPABILITY":
            self.capabilities = _capabilities(text.decode("ascii", "replace"))
        elif [word.upper() for word in words[1:2]] == [b"EXISTS"]:
            self.news = True
        elif [word.upper() for word in words[1:2]] == [b"FETCH"]:
            each(wire.attributes(wire.values([text, *pieces[1:]])))
        return None

    def _note(self, status: wire.Status) -> wire.Status:
        if status.word == "BYE":
            self._lost = f"it says goodbye: {status.refusal()}"
        if status.code == "CAPABILITY":
            self.capabilities = _capabilities(status.about)
        elif status.code and status.word in ("OK", "PREAUTH"):
            self.codes[status.code] = status.about
        return status

    async def _response(self, sink: Sink | None) -> list[bytes]:
        """A line, and where it ends in a literal, that and the line that goes on, and so forth."""
        pieces = [await self._line()]
        if _STATUS.match(pieces[0]) or not pieces[0].startswith(b"*"):
            return pieces
        while found := wire.LITERAL.search(pieces[-1]):
            size = int(found[1])
            if sink is not None and _BODY.search(pieces[-1]):
                pieces.append(await self._stream(size, sink))
            elif size <= MAX_LITERAL_BYTES:
                async with asyncio.timeout(self._server.timeout_s):
                    pieces.append(await self._reader.readexactly(size))
            else:
                raise Nonsense("a literal that nobody asked for")
            pieces.append(await self._line())
        return pieces

    async def _stream(self, size: int, sink: Sink) -> bytes:
        if sink.size:
            raise Nonsense("two mails where one was asked for")
        while sink.size < size:
            async with asyncio.timeout(self._server.timeout_s):
                data = await self._reader.read(min(CHUNK_BYTES, size - sink.size))
            if not data:
                raise EOFError
            sink.write(data)
        return b""

    async def _line(self) -> bytes:
        """The next one, without its end; the server takes no longer than it may."""
        async with asyncio.timeout(self._server.timeout_s):
            return await self._next_line()

    async def _next_line(self) -> bytes:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line.rstrip(b"\r\n")

    async def _send(self, *words: bytes) -> bytes:
        self._number += 1
        tag = b"S%d" % self._number
        await self._write(b" ".join((tag, *words)) + b"\r\n")
        return tag

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(self._server.timeout_s):
            await self._writer.drain()

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"{self._server.host}: {self._lost}")

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[None]:
        """The only one for its time; who fails in it leaves no connection behind, unless it was refused."""
        async with self._lock:
            if self._lost:
                raise self._unavailable()
            try:
                yield
            except Refusal:
                raise
            except (OSError, EOFError, ValueError, Nonsense) as error:
                self.abort(_what(error))
                raise self._unavailable() from error
            except BaseException:
                self.abort("a command was interrupted")
                raise


def _context(server: ImapServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ca_file or None)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in [(getattr(socket, name), value) for name, value in KEEPALIVE.items() if hasattr(socket, name)]:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _capabilities(text: str) -> frozenset[str]:
    return frozenset(text.upper().split()) - {"CAPABILITY"}


def _what(error: Exception) -> str:
    """What went wrong, without what was sent or read."""
    match error:
        case ssl.SSLCertVerificationError(verify_message=why):
            return f"its certificate is not trusted: {why}"
        case TimeoutError():
            return "it does not answer"
        case EOFError():
            return "it ended the connection"
        case Nonsense():
            return f"it does not speak IMAP: {error}"
        case OSError(strerror=why):
            return f"{why or 'no connection can be made'}"
        case _:
            return "it sends longer lines than any IMAP server should"
