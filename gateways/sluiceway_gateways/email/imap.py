"""Mail out of a mailbox by IMAP, as it comes and after any outage, and letters out by the tenant's relay.

One process at a time reads a mailbox. A mail is marked only once it is stored, and deleted never.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sluiceway import CredentialsRefused, Desk, Listener, Secret, Unavailable, Unreadable

from ._gateway import MailGateway, MailSettings
from ._imap import Cursor, Fetched, ImapMailbox, Mailbox, Unfetched, Unmarked
from ._incoming import Arrived, accept

log = logging.getLogger(__name__)

PAUSES_S = (1, 5, 30, 120)
REFUSED_S = 300
TRIES = 5


class Imap(MailSettings, frozen=True, kw_only=True):
    """`[connections.<name>]`: the mailbox that is read, and the relay that letters go out by.

    `password`, or an OAuth 2 `access_token`. A mail that is stored is marked as `then` says: seen, move (to `move_to`),
    or nothing. `since` is now or all: whether mail that was there before the first start is read too.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    security: Literal["tls", "starttls", "none"] = "tls"
    ca_file: str = ""
    user: str
    password: Secret | None = None
    access_token: Secret | None = None
    mailbox: str = "INBOX"
    then: Literal["seen", "move", "nothing"] = "seen"
    move_to: str = ""
    since: Literal["now", "all"] = "now"
    max_bytes: Annotated[int, Meta(gt=0)] = 35_000_000

    def __post_init__(self) -> None:
        _ = self.reading  # it says what is wrong

    @property
    def reading(self) -> ImapMailbox:
        """What the mailbox needs of it. Raises `ValueError`."""
        return ImapMailbox(
            host=self.host,
            port=self.port,
            security=self.security,
            ca_file=self.ca_file,
            user=self.user,
            password=self.password,
            access_token=self.access_token,
            mailbox=self.mailbox,
            then=self.then,
            move_to=self.move_to,
            max_bytes=self.max_bytes,
        )


class EmailImap(MailGateway[Imap], Listener):
    """E-mail, in out of a mailbox by IMAP."""

    settings_type = Imap
    exclusive = True

    _failed: tuple[Cursor | None, int] = (None, 0)
    _failures = 0
    """How often it failed in a row; a mail that was taken, or a round to its end, begins a new one."""

    async def listen(self, desk: Desk) -> None:
        """Until cancelled: what is new, in order, then what comes."""
        wait_s = 0
        while True:
            with tempfile.TemporaryDirectory(prefix="sluiceway-imap-") as folder:
                mailbox = Mailbox(Path(folder))
                try:
                    await mailbox.connect(self.settings.reading)
                    desk.let_in(True)
                    await self._begin(desk, mailbox)
                    while True:
                        await self._round(desk, mailbox)
                        self._failures = 0
                        await mailbox.wait()
                except CredentialsRefused as error:
                    log.error("mailbox.refused: %s", error)
                    desk.let_in(False)
                    wait_s = REFUSED_S
                except Unavailable as error:
                    wait_s = PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
                    self._failures += 1
                    log.warning("mailbox.unavailable: %s; again in %d s", error, wait_s)
                finally:
                    await mailbox.close()
            await asyncio.sleep(wait_s)

    async def _begin(self, desk: Desk, mailbox: Mailbox) -> None:
        """The first time of all, leave out what is there already, if that is wanted."""
        if self.settings.since == "now" and not await desk.cursor():
            await desk.move(msgspec.json.encode(mailbox.end))

    async def _round(self, desk: Desk, mailbox: Mailbox) -> None:
        known = await desk.cursor()
        async for mail in mailbox.new_mails(msgspec.json.decode(known, type=Cursor) if known else None):
            if isinstance(mail, Fetched):
                await self._take(desk, mail)
            else:
                await self._tell(desk, mail)
            await desk.move(msgspec.json.encode(mail.cursor))
            self._failures = 0
            try:
                if isinstance(mail, Fetched):
                    await mailbox.done(mail.uid)
            except Unmarked as error:
                log.warning("mailbox.unmarked: %s", error)

    async def _take(self, desk: Desk, mail: Fetched) -> None:
        """Store a mail; one that fails again and again, as nothing else does, is told: others wait behind it."""
        try:
            arrived = Arrived(path=str(mail.path), ours=tuple(self.accounts))
            await accept(desk, arrived, self.settings.authserv_id)
        except Unavailable:
            raise
        except Exception as error:
            self._failed = mail.cursor, self._failed[1] + 1 if self._failed[0] == mail.cursor else 1
            if self._failed[1] < TRIES:
                raise
            await self._tell(desk, Unfetched(mail.cursor, mail.size, f"{type(error).__name__} in the gateway"))
        mail.path.unlink(missing_ok=True)

    async def _tell(self, desk: Desk, mail: Unfetched) -> None:
        """It stays in the mailbox, and somebody should look at it."""
        where = {"mailbox": self.settings.mailbox, "uidvalidity": mail.cursor.uidvalidity, "uid": mail.uid}
        for at in tuple(self.accounts)[:1]:
            raw = msgspec.json.encode(where | {"size": mail.size})
            await desk.accept(Unreadable(at=at, key=f"{mail.cursor.uidvalidity}:{mail.uid}", raw=raw, why=mail.why))
