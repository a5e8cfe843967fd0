"""Mail that comes by SMTP or LMTP, from an MX or a relay of yours, and letters out by the tenant's relay.

Believes your mail server alone who a mail is from: put it behind one that checks SPF, DKIM and DMARC.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import Annotated

from msgspec import Meta

from sluiceway import ConfigError, Desk, Listener

from ._gateway import MailGateway, MailSettings
from ._incoming import Arrived, accept, account
from ._listener import serve

# A mail of 25 MB, once base64 has made a third more of it
MAX_MAIL = 35_000_000


class Smtp(MailSettings, frozen=True, kw_only=True):
    """`[connections.<name>]`: where mail is listened for, as host:port, and the relay that it goes out by.

    `protocol` is smtp or lmtp. With `certificate` and `key`, PEM files, STARTTLS is offered, and demanded with
    `require_tls`. A mail of more than `max_bytes` is refused. At most so many `connections` at once.
    """

    listen: Annotated[str, Meta(pattern=r"^.+:[0-9]{1,5}$")] = "127.0.0.1:2525"
    protocol: Annotated[str, Meta(pattern="^(smtp|lmtp)$")] = "smtp"
    certificate: str | None = None
    key: str | None = None
    require_tls: bool = False
    max_bytes: Annotated[int, Meta(ge=1000)] = MAX_MAIL
    connections: Annotated[int, Meta(ge=1)] = 100


class EmailSmtp(MailGateway[Smtp], Listener):
    """E-mail, in by SMTP or LMTP."""

    settings_type = Smtp

    async def listen(self, desk: Desk) -> None:
        """Until cancelled; what is being received then is finished."""
        s = self.settings
        await serve(
            s.listen,
            partial(self._take, desk),
            self._knows,
            tls=_tls(s),
            require_tls=s.require_tls,
            lmtp=s.protocol == "lmtp",
            max_bytes=s.max_bytes,
            connections=s.connections,
            name=s.hello,
        )

    async def _take(self, desk: Desk, path: str, sender: str, recipients: tuple[str, ...]) -> None:
        mine = {account(recipient, self.accounts): recipient for recipient in recipients}
        await accept(desk, Arrived(path=path, recipients=mine, sender=sender), self.settings.authserv_id)

    def _knows(self, recipient: str) -> bool:
        return account(recipient, self.accounts) in self.accounts


def _tls(settings: Smtp) -> ssl.SSLContext | None:
    """Raises `ConfigError`."""
    if settings.certificate is None:
        if settings.require_tls:
            raise ConfigError("connection", "require_tls", "needs certificate and key")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("connection", "certificate", f"can't be used: {type(error).__name__}") from error
    return context
