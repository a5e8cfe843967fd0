"""A mailbox read by IMAP: what is new by UID, and word of it by IDLE. Parses no mail, and keeps no cursor.

    mailbox = Mailbox(folder)
    await mailbox.connect(settings)                    # again, after Unavailable, as often as it takes
    while True:
        async for mail in mailbox.new_mails(cursor):   # Fetched or Unfetched, in order of UID
            ...                                        # store it; then
            cursor = mail.cursor                       # keep the cursor, durably; then
            await mailbox.done(mail.uid)
        await mailbox.wait()

Why no gap: UIDs only grow while UIDVALIDITY stays (RFC 9051, section 2.3.1.1), every round asks for all after the
cursor whatever was announced, and the cursor is moved after storing. Why not imaplib or what is built on it: they hold
a mail in memory, more than once, and a thread that waits for a server can't be cancelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from sluiceway import SluicewayError, Unavailable

from . import _imap_wire as wire
from ._imap_connection import ImapConnection, ImapServer
from ._imap_sink import Sink, Unkept
from ._imap_wire import Refusal, Value

IDLE_S = 25 * 60
"""Servers may end what says nothing for 30 minutes. https://www.rfc-editor.org/rfc/rfc9051#section-5.4"""
TRIES = 5
"""So often a mail is asked for that is refused, or at which the connection ends; then those after it count."""
WINDOW = 1000
"""So many UIDs are listed at once, and four times as many after a stretch where hardly any is in use."""
MAX_UID = 2**32 - 1
GONE = frozenset({"EXPUNGEISSUED", "NONEXISTENT"})
"""https://www.rfc-editor.org/rfc/rfc5530#section-3"""


class ImapMailbox(ImapServer, frozen=True, kw_only=True):
    """A mailbox, and what becomes of a mail there that is stored here."""

    mailbox: str = "INBOX"
    then: Literal["seen", "move", "nothing"] = "seen"
    move_to: str = ""
    max_bytes: Annotated[int, Meta(gt=0)] = 50_000_000
    idle_s: Annotated[float, Meta(gt=0, le=29 * 60)] = IDLE_S
    poll_s: Annotated[float, Meta(gt=0)] = 60
    """How often a server without IDLE is asked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.then == "move") != bool(self.move_to):
            raise ValueError('move_to goes with then = "move": give both or neither')


class Cursor(NamedTuple):
    """The last mail that is stored: nothing up to it is read again while `uidvalidity` stays."""

    uidvalidity: int
    uid: int


class Fetched(NamedTuple):
    """A mail as it is on the server, in a file, which is the caller's from now on."""

    cursor: Cursor
    size: int
    path: Path

    @property
    def uid(self) -> int:
        return self.cursor.uid


class Unfetched(NamedTuple):
    """A mail that can't be had, and stays where it is: too large, or refused time and again."""

    cursor: Cursor
    size: int
    why: str

    @property
    def uid(self) -> int:
        return self.cursor.uid


class Unmarked(SluicewayError):
    """The server does not let a mail be flagged or moved. It is read all the same, and not again."""


class _Throttled(Unavailable):
    """The server wants us to ask less."""


class _Withheld(Unavailable):
    """The server refuses one mail, or says OK and gives nothing of it, on a connection that goes on."""


class Mailbox:
    """One mailbox, over as many connections as it takes. `folder` is where mails are written while they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection: ImapConnection | None = None
        self._settings: ImapMailbox | None = None
        self._uidvalidity = 0
        self._failures: Counter[int] = Counter()

    async def connect(self, settings: ImapMailbox) -> None:
        """Log in and open the mailbox; an earlier connection is dropped. Raises `Unavailable`, `CredentialsRefused`."""
        self._drop()
        connection = await ImapConnection.open(settings)
        try:
            verb = b"EXAMINE" if settings.then == "nothing" else b"SELECT"
            await connection.command(verb, wire.folder(settings.mailbox))
            uidvalidity = _code(connection, "UIDVALIDITY")
        except Refusal as refusal:
            await connection.close()
            raise Unavailable(f"{settings.host} does not open the mailbox: {refusal}") from None
        except BaseException:
            connection.abort()
            raise
        if uidvalidity != self._uidvalidity:
            self._uidvalidity, self._failures = uidvalidity, Counter()
        self._connection, self._settings = connection, settings

    @property
    def end(self) -> Cursor:
        """After all that was there when we connected: for who wants to begin with what comes."""
        connection, _ = self._connected()
        return Cursor(self._uidvalidity, max(_code(connection, "UIDNEXT") - 1, 0))

    async def new_mails(self, cursor: Cursor | None) -> AsyncIterator[Fetched | Unfetched]:
        """All after the cursor, in order of UID; all that there are where it is None or of another UIDVALIDITY.

        Raises `Unavailable`: connect again, after a while, then go on. A mail that somebody deletes meanwhile is passed
        over. One that fails time and again is given up once a later one can be had, so that an outage costs none.
        """
        connection, _ = self._connected()
        await connection.ask(b"NOOP")  # what it has not announced, it does not list
        connection.news = False
        after = cursor.uid if cursor is not None and cursor.uidvalidity == self._uidvalidity else 0
        doubtful: list[tuple[int, int]] = []
        async for uid, size in self._listed(connection, after):
            if self._failures[uid] == TRIES:
                doubtful.append((uid, size))
                continue
            mail = await self._fetch(uid, size)
            if doubtful and not isinstance(mail, Fetched):
                doubtful.append((uid, size))  # it proves nothing, and its cursor would leave out those before it
                continue
            for earlier in doubtful:
                if (found := await self._fetch_or_give_up(*earlier)) is not None:
                    yield found
            doubtful.clear()
            if mail is not None:
                yield mail
        for uid, _ in doubtful:
            self._failures[uid] = min(self._failures[uid], TRIES - 1)

    async def done(self, uid: int) -> None:
        """It is stored: flag or move it, as configured. Raises `Unmarked`, `Unavailable`."""
        connection, settings = self._connected()
        try:
            if settings.then == "move":
                await self._move(connection, uid, wire.folder(settings.move_to))
            elif settings.then == "seen":
                await connection.command(b"UID STORE %d +FLAGS.SILENT (\\Seen)" % uid)
        except Refusal as refusal:
            raise Unmarked(f"{settings.host} does not let a mail be marked: {refusal}") from None

    async def wait(self) -> None:
        """Until something is new, or `idle_s` are over (`poll_s` without IDLE). Raises `Unavailable`.

        At once where `new_mails` was not asked since there was word of a mail, as after `connect`. Nothing else can be
        asked meanwhile. To cancel it ends the connection.
        """
        connection, settings = self._connected()
        if connection.news:
            return
        if "IDLE" in connection.capabilities:
            try:
                await connection.idle(settings.idle_s)
            except Refusal:
                connection.capabilities -= {"IDLE"}
            return
        await asyncio.sleep(settings.poll_s)
        await connection.ask(b"NOOP")

    async def close(self) -> None:
        """Say goodbye."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _connected(self) -> tuple[ImapConnection, ImapMailbox]:
        if self._connection is None or self._settings is None:
            raise Unavailable("no connection to the mailbox")
        return self._connection, self._settings

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _listed(self, connection: ImapConnection, after: int) -> AsyncIterator[tuple[int, int]]:
        """UIDs and sizes after a UID, in order; so many at once that a mailbox of any size takes little memory."""
        width, known = WINDOW, _code(connection, "UIDNEXT", 0)
        while after + width < known:
            found = await self._sizes(connection, after + 1, after + width)
            for pair in found:
                yield pair
            after += width
            width = WINDOW if len(found) > WINDOW // 4 else width * 4
        for pair in await self._sizes(connection, after + 1, MAX_UID):
            yield pair

    async def _sizes(self, connection: ImapConnection, first: int, last: int) -> list[tuple[int, int]]:
        sizes: dict[int, int] = {}

        def keep(found: dict[str, Value]) -> None:
            uid, size = wire.number(found.get("UID")), wire.number(found.get("RFC822.SIZE"))
            if (
                uid is not None and size is not None and first <= uid <= last
            ):  # `*` is the last one, even before the first
                sizes[uid] = size

        until = b"*" if last == MAX_UID else b"%d" % last
        try:
            await connection.command(b"UID FETCH %d:%s (UID RFC822.SIZE)" % (first, until), each=keep)
        except Refusal as refusal:
            raise Unavailable(f"the server does not list the mailbox: {refusal}") from None
        return sorted(sizes.items())

    async def _fetch_or_give_up(self, uid: int, size: int) -> Fetched | Unfetched | None:
        """The last try, whatever comes of it."""
        self._failures[uid] = max(self._failures[uid], TRIES)
        try:
            return await self._fetch(uid, size)
        except _Withheld as withheld:
            return Unfetched(Cursor(self._uidvalidity, uid), size, str(withheld))

    async def _fetch(self, uid: int, size: int) -> Fetched | Unfetched | None:
        """None where it is gone. What fails is counted, and raises `Unavailable`, until it has failed too often."""
        connection, settings = self._connected()
        cursor = Cursor(self._uidvalidity, uid)
        if size > settings.max_bytes:
            return Unfetched(cursor, size, f"larger than {settings.max_bytes} bytes")
        if self._failures[uid] > TRIES:
            return Unfetched(cursor, size, f"refused {self._failures[uid]} times")
        sink = Sink(self._folder / f"{self._uidvalidity}-{uid}.eml", settings.max_bytes)
        try:
            there = await self._body(connection, uid, sink)
            sink.close()
        except BaseException as error:
            sink.discard()
            if isinstance(error, Unavailable) and not isinstance(error, Unkept | _Throttled):
                self._failures[uid] += 1
            raise
        del self._failures[uid]
        if there and not sink.too_large:
            return Fetched(cursor, sink.size, sink.path)
        sink.discard()
        return Unfetched(cursor, sink.size, f"larger than {settings.max_bytes} bytes") if there else None

    async def _body(self, connection: ImapConnection, uid: int, sink: Sink) -> bool:
        """Whether there is such a mail; all of it is in the sink then. No answer does not mean that there is none."""
        bodies: list[bytes] = []

        def keep(found: dict[str, Value]) -> None:
            body = found.get("BODY[]")
            if wire.number(found.get("UID")) == uid and isinstance(body, bytes):
                bodies.append(body)

        try:
            await connection.command(b"UID FETCH %d (UID BODY.PEEK[])" % uid, sink=sink, each=keep)
        except Refusal as refusal:
            if refusal.code in GONE:
                return False
            kind = _Throttled if refusal.throttles else _Withheld
            raise kind(f"the server does not give mail {uid}: {refusal}") from None
        if bodies and not sink.size:
            sink.write(bodies[0])
        if not bodies and await self._sizes(connection, uid, uid):
            raise _Withheld(f"the server lists mail {uid} and gives nothing of it")
        return bool(bodies)

    async def _move(self, connection: ImapConnection, uid: int, folder: bytes) -> None:
        """https://www.rfc-editor.org/rfc/rfc6851, or what it replaces."""
        verb = b"MOVE" if "MOVE" in connection.capabilities else b"COPY"
        try:
            await connection.command(b"UID %s %d %s" % (verb, uid, folder))
        except Refusal as refusal:
            if refusal.code != "TRYCREATE":
                raise
            await connection.command(b"CREATE", folder)
            await connection.command(b"UID %s %d %s" % (verb, uid, folder))
        if verb == b"COPY":
            await connection.command(b"UID STORE %d +FLAGS.SILENT (\\Seen \\Deleted)" % uid)
            if "UIDPLUS" in connection.capabilities:
                await connection.command(b"UID EXPUNGE %d" % uid)


def _code(connection: ImapConnection, name: str, otherwise: int | None = None) -> int:
    """A number that the server gave when the mailbox was opened, or `otherwise`. Raises `Unavailable` without both."""
    found = wire.number(connection.codes.get(name, "").encode())
    if found is None and otherwise is None:
        raise Unavailable(f"the server gives no {name}: what is new can't be told")
    return found if found is not None else otherwise or 0
