"""SMTP and LMTP for mail that comes in: each mail into a file, as it comes, and answered when it is stored.

Relays nothing. A sender's lines may have any length.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import IO, Any

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from sluiceway import Unavailable

from ._dots import Content

log = logging.getLogger(__name__)
IDLE_S, DRAIN_S = 600, 5
ALL = 1 << 30
"""More than a stream of asyncio ever holds."""
MAX_RECIPIENTS = 1000

Take = Callable[[str, str, tuple[str, ...]], Awaitable[None]]
"""Takes a raw mail at a path, with its envelope's sender and recipients. Raises `Unavailable`."""
Knows = Callable[[str], bool]
"""Whether a recipient is one of ours."""

# RFC 5321, 4.2.3 and RFC 3463
STORED, BUSY, BROKEN = "250 2.0.0 stored", "451 4.3.0 it can't be stored now; try again", "451 4.3.0 try again"
FULL = b"421 4.3.2 too many connections; come again\r\n"
TOO_MANY = "452 4.5.3 too many recipients"
UNKNOWN, TOO_LARGE = "550 5.1.1 there is no such mailbox here", "552 5.3.4 the mail is too large"


class Handler:
    """Whom mail may be for."""

    def __init__(self, knows: Knows) -> None:
        self._knows = knows

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not self._knows(address):
            return UNKNOWN
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return TOO_MANY
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 ok"

    async def handle_exception(self, error: Exception) -> str:
        """Whatever goes wrong in here is no reason to send a mail back for good."""
        _tell(error)
        return BROKEN


class Room:
    """What the connections of one listener have in common. `stored` is where mail goes."""

    def __init__(self, take: Take, connections: int) -> None:
        self.take = take
        self.connections = connections
        self.open: set[_Streaming] = set()

    async def empty(self) -> None:
        """Wait a moment for what is being stored, then end all."""
        busy = [one.storing for one in self.open if one.storing is not None]
        if busy:
            await asyncio.wait(busy, timeout=DRAIN_S)
        for one in tuple(self.open):
            assert one.transport is not None  # noqa: S101  # whose connection is lost is not there any more
            one.transport.close()


class _Streaming(SMTP):
    """DATA into a file, instead of into memory; so many connections at once."""

    def __init__(self, room: Room, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.storing: asyncio.Task[str] | None = None
        self._room = room

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self not in self._room.open and len(self._room.open) >= self._room.connections:
            assert isinstance(transport, asyncio.Transport)  # noqa: S101  # TCP's is one
            transport.write(FULL)
            transport.close()
            self._turned_away = True
            return
        self._room.open.add(self)
        super().connection_made(transport)

    _turned_away = False

    def connection_lost(self, error: Exception | None) -> None:
        if not self._turned_away:
            self._room.open.discard(self)
            super().connection_lost(error)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802  # aiosmtpd's name
        if await self.check_helo_needed():
            return
        assert self.envelope is not None  # noqa: S101  # there has been a greeting
        if not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 say RCPT first")
            return
        if arg:
            await self.push("501 5.5.4 DATA takes no parameter")
            return
        try:
            file = tempfile.NamedTemporaryFile(prefix="sluiceway-smtp-")  # noqa: SIM115  # closed below
        except OSError as error:
            _tell(error)
            await self.push(BUSY)
            return
        await self.push("354 go ahead, and end with a dot")
        answer = BUSY
        with suppress(OSError), file:  # a full disk may be told when it is closed
            answer = await self._taken(file, self.envelope)
        count = len(self.envelope.rcpt_tos) if isinstance(self, LMTP) else 1  # RFC 2033: an answer for each
        self.envelope = self._create_envelope()
        for _ in range(count):
            await self.push(answer)

    async def _taken(self, file: IO[bytes], envelope: Envelope) -> str:
        """The answer to a mail, once it has been read to its end."""
        refusal = await self._receive(file)
        if refusal is not None:
            return refusal
        recipients = tuple(dict.fromkeys(map(_text, envelope.rcpt_tos)))
        sender = _text(envelope.mail_from or "").strip("<>")
        self.storing = asyncio.create_task(self._store(file.name, sender, recipients))
        return await self.storing

    async def _receive(self, file: IO[bytes]) -> str | None:
        """Why it can't be taken; it is read to its end all the same, or the rest of it would be taken for commands."""
        size, most, broken, mail = 0, self.data_size_limit or 0, False, Content()
        while mail.rest is None:
            block = await self._reader.read(ALL)
            assert block  # noqa: S101  # aiosmtpd cancels this where the sender hangs up
            content = mail.feed(block)
            size += len(content)
            if content and size <= most and not broken:
                broken = not _write(file, content)
        self._reader.feed_data(mail.rest)  # commands, before any that are still to come
        broken = broken or not _write(file, b"")
        return TOO_LARGE if size > most else BUSY if broken else None

    async def _store(self, path: str, sender: str, recipients: tuple[str, ...]) -> str:
        try:
            await self._room.take(path, sender, recipients)
        except Unavailable:
            return BUSY
        except Exception as error:  # its sender tries again, and others are served
            _tell(error)
            return BROKEN
        return STORED


def _write(file: IO[bytes], content: bytes) -> bool:
    """Whether it was written; nothing more to write means that all of it must be there."""
    try:
        if content:
            file.write(content)
        else:
            file.flush()
    except OSError as error:
        _tell(error)
        return False
    return True


def _text(address: str) -> str:
    """aiosmtpd hands on bytes that are no UTF-8 as surrogates, which nothing can store."""
    return address.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _tell(error: Exception) -> None:
    """Where it happened; what an exception says may quote a mail."""
    log.error("mail.broken: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))


class _StreamingLmtp(_Streaming, LMTP):
    """LMTP (RFC 2033)."""


async def serve(
    listen: str,
    take: Take,
    knows: Knows,
    *,
    tls: ssl.SSLContext | None = None,
    require_tls: bool = False,
    lmtp: bool = False,
    max_bytes: int,
    connections: int,
    name: str = "",
) -> None:
    """Listen until cancelled; then no more is accepted, and what is being stored has a moment. Raises `OSError`."""
    room, kind = Room(take, connections), _StreamingLmtp if lmtp else _Streaming

    def protocol() -> SMTP:
        return kind(
            room,
            Handler(knows),
            hostname=name or None,
            ident="Sluiceway",
            data_size_limit=max_bytes,
            enable_SMTPUTF8=True,
            tls_context=tls,
            require_starttls=require_tls,
            timeout=IDLE_S,
        )

    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's: it tells addresses
    host, _, port = listen.rpartition(":")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, host.strip("[]"), int(port), start_serving=False)
    try:
        await server.start_serving()
        await loop.create_future()  # `serve_forever`, cancelled, waits for idle connections too, from Python 3.12.1 on
    finally:
        server.close()
        await room.empty()
