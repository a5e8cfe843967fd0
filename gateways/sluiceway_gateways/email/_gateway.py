"""What all mail gateways share: accounts, and letters out by the tenant's relay. How mail comes in is their own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Generic, TypeVar

from msgspec import Meta

from sluiceway import (
    Account,
    Capabilities,
    Chars,
    ConfigError,
    CredentialsRefused,
    Deliverer,
    Files,
    Gateway,
    Outbound,
    Rate,
    Rejected,
    Retries,
    Secret,
    Sent,
    Settings,
)

from ._composing import Letter, compose
from ._domains import Domains
from ._mail import Mailbox
from ._relay import Relay, RelaySettings, Security
from ._smtp_errors import ERRORS
from ._transaction import Envelope

# What most relays take, once base64 has made a third more of it
LARGEST_FILE = 18_000_000
MAX_TEXT = 1_000_000


class MailSettings(Settings, frozen=True, kw_only=True):
    """The relay that letters go out by: host, port and login; without `relay_host` nothing can be sent.

    `authserv_id` is the name by which your own mail server writes Authentication-Results (RFC 8601): no other's word is
    believed, and without it no sender is proven. `relay_security` is tls, starttls or none; else port and host say.
    At most `domain_per_minute` mails go to one domain of recipients, by each process.
    """

    relay_host: str = ""
    relay_port: Annotated[int, Meta(ge=1, le=65535)] = 587
    relay_security: Security | None = None
    relay_user: str = ""
    relay_password: Secret = Secret("")
    relay_ca_file: str = ""
    hello: str = ""
    domain_per_minute: Annotated[int, Meta(ge=1)] | None = None
    authserv_id: str = ""


class MailAccount(Account, frozen=True, kw_only=True):
    """A mail address of ours, and the name that stands before it."""

    name: str | None = None
    unsubscribe: tuple[str, ...] = ()


S = TypeVar("S", bound=MailSettings)


class MailGateway(Gateway[S, MailAccount], Deliverer, Generic[S]):
    """E-mail out."""

    channel = "email"
    schemes = ("mailto",)
    account_type = MailAccount
    capabilities = Capabilities(
        text=Chars(MAX_TEXT),
        media={"*/*": LARGEST_FILE},
        media_count=50,
        rate=Rate(20, 20),
        retries=Retries.LONG,
        letters=True,
        idempotent=True,
    )
    errors = ERRORS

    def __init__(self, settings: S, hook_url: str = "", accounts: Iterable[MailAccount] = ()) -> None:
        super().__init__(settings, hook_url, accounts)

    def identity(self, account: MailAccount) -> str:
        """The address in lower case: nobody has two mailboxes that differ in that alone."""
        return account.address.partition(":")[2].lower()

    async def deliver(self, message: Outbound[MailAccount], files: Files) -> Sent:
        """https://www.rfc-editor.org/rfc/rfc5321, by the relay."""
        letter = _letter(message)
        ours = letter.sender.address
        automatic = letter.auto_submitted is not None
        envelope = Envelope(sender="" if automatic else ours, recipients=(letter.to[0].address,), id=message.message_id)
        try:
            composed = compose(letter)
        except ValueError as error:
            raise Rejected(f"no mail can be made of it: {error}") from error
        await self._relay.send(envelope, composed, files)
        return Sent(external_id=letter.message_id)

    async def close(self) -> None:
        """Let the relay's connections go."""
        if "_relay" in self.__dict__:
            await self._relay.close()

    @cached_property
    def _relay(self) -> Relay:
        s = self.settings
        if not s.relay_host:
            raise CredentialsRefused("relay_host is not set: there is no relay to send by", "no_relay")
        settings = RelaySettings(
            host=s.relay_host,
            port=s.relay_port,
            security=s.relay_security,
            user=s.relay_user,
            password=s.relay_password,
            ca_file=s.relay_ca_file,
            hello=s.hello,
        )
        each = Rate(s.domain_per_minute / 60, 1) if s.domain_per_minute is not None else None
        try:
            return Relay(settings, Domains(each))
        except ConfigError as error:
            raise CredentialsRefused(str(error), "relay") from error


def _letter(message: Outbound[MailAccount]) -> Letter:
    """The mail of a message. The same message has the same Message-ID at every try."""
    about = message.letter
    assert about is not None  # noqa: S101  # core gives it to every channel with letters
    local, _, domain = message.account.address.partition(":")[2].rpartition("@")
    return Letter(
        message_id=f"{message.message_id}@{domain}",
        date=about.written_at,
        sender=Mailbox(address=f"{local}@{domain}", name=message.account.name),
        to=(Mailbox(address=message.recipient.partition(":")[2]),),
        parts=message.parts,
        subject=about.subject or "",
        reply_to=Mailbox(address=f"{local}+{about.reply_token}@{domain}", name=message.account.name),
        in_reply_to=about.thread.in_reply_to[0] if about.thread.in_reply_to else None,
        references=about.thread.references,
        auto_submitted=("auto-replied" if about.thread.in_reply_to else "auto-generated") if about.automatic else None,
        unsubscribe=message.account.unsubscribe,
        one_click=any(uri.startswith("https:") for uri in message.account.unsubscribe),
    )
