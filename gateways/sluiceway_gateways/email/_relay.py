"""The tenant's relay: connections to it, kept for a while, and mails sent over them. Composes none and retries none.

How the message is written is `_transaction`'s; what a reply means, `_smtp_errors`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import Literal

import aiosmtplib
from msgspec import Struct

from sluiceway import ConfigError, CredentialsRefused, File, Files, Secret, SendError, Unreachable

from ._composing import Composed
from ._domains import Domains
from ._header_writing import address
from ._smtp_errors import Deferred, Reply, Stage, refusal
from ._transaction import Accepted, Envelope, Opened, begin, cut, deliver, reset

CONNECT_S = 15
ANSWER_S = 60
"""How long the relay may take to greet and to answer a command. Nothing has been sent then, so that it need not be
RFC 5321's five minutes."""
PATIENCE_S = 5.0
"""A mail waits here for so long where its domain has had enough; for longer it goes back."""

Security = Literal["tls", "starttls", "none"]


class RelaySettings(Struct, frozen=True, kw_only=True):
    """Where the relay is and how to talk to it.

    `security` is tls from the first byte on (port 465), starttls, without which nothing is sent, or none; left out, it
    follows from port and host: none on this machine alone. `ca_file` has the certificates to trust instead of the
    system's. `hello` is our own name (RFC 5321, 4.1.1.1), this machine's if left out. At most so many `connections` at
    once; each is kept for `idle_s` after a mail.
    """

    host: str
    port: int = 587
    security: Security | None = None
    user: str = ""
    password: Secret = Secret("")
    ca_file: str = ""
    hello: str = ""
    connections: int = 4
    idle_s: float = 30.0

    @property
    def secured(self) -> Security:
        """`security`, or what it is where it was left out."""
        if self.security is not None:
            return self.security
        return "tls" if self.port == 465 else "none" if self.is_here else "starttls"

    @property
    def is_here(self) -> bool:
        """Whether the relay is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


class Relay:
    """One relay and one login."""

    def __init__(self, settings: RelaySettings, domains: Domains | None = None) -> None:
        """Opens no connection. Raises `ConfigError`."""
        if settings.user and settings.secured == "none" and not settings.is_here:
            raise ConfigError("relay", "security", "is none, and a password never goes out unencrypted: use starttls")
        if not settings.hello.isascii():
            raise ConfigError("relay", "hello", "is a host name in ASCII, such as gateway.acme.example")
        self._settings = settings
        self._domains = domains or Domains()
        self._tls = _trust(settings) if settings.secured != "none" else None
        self._slots = asyncio.Semaphore(settings.connections)
        self._idle: dict[aiosmtplib.SMTP, asyncio.TimerHandle] = {}

    async def send(self, envelope: Envelope, mail: Composed, files: Files) -> Accepted:
        """Send a mail. Raises a `SendError`.

        `Ambiguous` may be sent again by who would rather have it there twice: see `_transaction`.
        """
        await self._paced(address(envelope.recipients[0]).rpartition("@")[2])
        async with self._slots:
            opened = await _opened(mail, files)
            client = await self._begun(envelope, mail)
            try:
                return await deliver(client, envelope, opened)
            finally:
                self._keep(client)

    async def close(self) -> None:
        """End the connections that are kept."""
        for client in [*self._idle]:
            self._leave(client)
        await asyncio.sleep(0)

    async def _paced(self, domain: str) -> None:
        while wait_s := self._domains.wait_s(domain, asyncio.get_running_loop().time()):
            if wait_s > PATIENCE_S:
                raise Deferred("the domain's own limit is reached", "", wait_s)
            await asyncio.sleep(wait_s)

    async def _begun(self, envelope: Envelope, mail: Composed) -> aiosmtplib.SMTP:
        """A connection that took the sender: a kept one, unless the relay has had enough of it, else a new one."""
        while self._idle:
            client, timer = self._idle.popitem()
            timer.cancel()
            if not await reset(client):
                cut(client)
                continue
            try:
                await begin(client, envelope, mail)
            except SendError:
                if client.is_connected:
                    self._keep(client)
                    raise
                continue
            return client
        client = await _connected(self._settings, self._tls)
        try:
            await begin(client, envelope, mail)
        except SendError:
            self._keep(client)
            raise
        return client

    def _keep(self, client: aiosmtplib.SMTP) -> None:
        """For the next mail, for a while; what is not connected any more is nothing to keep."""
        if client.is_connected:
            loop = asyncio.get_running_loop()
            self._idle[client] = loop.call_later(self._settings.idle_s, self._leave, client)

    def _leave(self, client: aiosmtplib.SMTP) -> None:
        """Say QUIT and wait for no answer."""
        self._idle.pop(client).cancel()
        if client.protocol is not None and client.protocol.is_connected:
            client.protocol.write(b"QUIT\r\n")
        client.close()


async def _opened(mail: Composed, files: Files) -> Opened:
    return tuple([(p, await files.open(p.ref)) if isinstance(p, File) else p for p in mail.pieces])


async def _connected(settings: RelaySettings, context: ssl.SSLContext | None) -> aiosmtplib.SMTP:
    """A new connection, greeted, encrypted and logged in. Raises a `SendError`."""
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        local_hostname=settings.hello or None,
        timeout=ANSWER_S,
        use_tls=settings.secured == "tls",
        start_tls=settings.secured == "starttls",
        tls_context=context,
    )
    stage = Stage.CONNECT
    try:
        await client.connect(timeout=CONNECT_S)
        await client._ehlo_or_helo_if_needed()
        if settings.user:
            stage = Stage.LOGIN
            await client.login(settings.user.encode(), settings.password.reveal().encode())
    except (aiosmtplib.SMTPException, OSError) as error:
        cut(client)
        raise _why(error, stage) from error
    except BaseException:
        cut(client)
        raise
    return client


def _why(error: Exception, stage: Stage) -> SendError:
    """What must be set right by somebody pauses the account, so that no message is lost meanwhile."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return refusal(Reply(error.code, error.message), stage)
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in (error, error.__cause__)):
        return CredentialsRefused("the relay's certificate can't be trusted: set ca_file, or the host's right name")
    if isinstance(error, OSError):
        return Unreachable(f"the relay can't be reached: {type(error).__name__}")
    if stage is Stage.LOGIN:
        return CredentialsRefused("the relay offers no login that we know: leave user out, or use another port")
    return CredentialsRefused("the relay offers no STARTTLS, and nothing is sent without: set security")


def _trust(settings: RelaySettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise ConfigError("relay", "ca_file", "can't be read as certificates in PEM") from error
