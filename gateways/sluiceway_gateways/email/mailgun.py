"""Mail that Mailgun stores and tells of, collected whole before the answer, and letters out by the tenant's relay.

https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/storing-and-recieveing-messages
Reads nothing of what Mailgun parsed: the stored mail is fetched, and read as mail from anywhere is.
"""

from __future__ import annotations

import datetime
import email.utils
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sluiceway import (
    Collector,
    Desk,
    Form,
    Malformed,
    Receipt,
    Rejected,
    Request,
    Secret,
    Unavailable,
    Unreadable,
    signing,
)
from sluiceway.wire import JSON
from sluiceway_contracts import Error

from ._gateway import MailGateway, MailSettings
from ._incoming import Arrived, accept, account

UNWRAP = "sluiceway_gateways.email._mailgun_storage:unwrap"
STORAGE = "*.mailgun.net"
# Mailgun tells again for 8 hours, and does not say whether it signs anew; what is told twice is stored once
SIGNED_FOR_S = 9 * 3600
# What was told of a mail that is gone, as much as a dead letter has room for
MAX_TOLD = 200_000
TOLD = frozenset({"recipient", "sender", "from", "subject", "Message-Id", "message-url", "body-plain"})
# https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure
STATUS = {"delivered": "delivered", "complained": "complained"}


class Mailgun(MailSettings, frozen=True, kw_only=True):
    """`[connections.<name>]`: the signing key of webhooks, the API key that reads stored mail, and the relay.

    `api_url` is only for a stand-in: stored mail is fetched from wherever below mailgun.net Mailgun says, or from here.
    """

    signing_key: Secret
    api_key: Secret
    api_url: str = "https://api.mailgun.net"


class Signature(Struct, frozen=True):
    """https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks"""

    timestamp: str
    token: str
    signature: str


class Delivery(Struct, frozen=True, rename="kebab"):
    """How the last try ended. Codes are SMTP's, or Mailgun's own."""

    code: int | str | None = None
    message: str | None = None
    description: str | None = None
    enhanced_code: str | None = None


class Event(Struct, frozen=True, rename="kebab"):
    """What became of a mail of ours. `timestamp` is in seconds."""

    event: str
    id: str
    timestamp: float
    message: Mapping[str, Any] = {}
    envelope: Mapping[str, Any] = {}
    severity: str = ""
    reason: str = ""
    delivery_status: Delivery = Delivery()


class Told(Struct, frozen=True, rename="kebab"):
    """A webhook's body."""

    signature: Signature
    event_data: Event


class EmailMailgun(MailGateway[Mailgun], Collector):
    """E-mail, in by Mailgun's routes."""

    settings_type = Mailgun
    max_body_bytes = 16 << 20
    """What Mailgun parsed comes with what it tells, the text several times."""

    def verify(self, request: Request) -> None:
        """The time and the token are signed, and nothing else is: nothing else is believed, but stored mail."""
        signed = _told(request).signature if request.content_type == JSON else _signature(request.form)
        key = self.settings.signing_key.reveal().encode()
        expected = signing.hmac_hex(key, f"{signed.timestamp}{signed.token}".encode("utf-8", "replace"))
        signing.check(signed.signature, expected, "signature")
        signing.check_recent(signed.timestamp, "timestamp", SIGNED_FOR_S)

    async def collect(self, request: Request, desk: Desk) -> None:
        """A stored mail, or what became of one of ours. Raises `Unavailable`."""
        if request.content_type == JSON:
            await desk.accept(*_receipts(tuple(self.accounts), _told(request).event_data))
            return
        form = request.form
        recipients = {account(one, self.accounts): one for one in _addresses(form.get("recipient", ""))}
        if not recipients:
            raise Malformed("nobody says whom it is for")
        ours = {at: recipient for at, recipient in recipients.items() if at in self.accounts}
        if not ours:
            await desk.accept(*(_lost(at, form, "no account has this address") for at in recipients))
            return
        with tempfile.TemporaryDirectory(prefix="sluiceway-mailgun-") as folder:
            answer, mail = Path(folder) / "answer.json", Path(folder) / "mail"
            try:
                await self._fetch(form.get("message-url", ""), desk, answer)
                await desk.isolated(UNWRAP, str(answer), str(mail))
            except (Malformed, Rejected) as error:
                await desk.accept(*(_lost(at, form, str(error)) for at in ours))
                return
            answer.unlink()
            arrived = Arrived(path=str(mail), recipients=ours, sender=form.get("sender", ""))
            await accept(desk, arrived, self.settings.authserv_id)

    async def _fetch(self, url: str, desk: Desk, into: Path) -> None:
        """Raises `Malformed`, `Rejected` where it is gone for good, or `Unavailable`."""
        if not url:
            raise Malformed("it has no message-url: the route must store(), not forward()")
        request = Request.get(url, basic=("api", self.settings.api_key.reveal()))
        asked = msgspec.structs.replace(request, headers={**request.headers, "accept": "message/rfc2822"})
        try:
            await desk.fetch(asked, (STORAGE, self.settings.api_url), str(into))
        except Rejected as error:
            if error.provider_code in ("401", "403"):
                raise Unavailable("Mailgun refuses the api_key") from error
            raise


def _told(request: Request) -> Told:
    return request.json(Told)


def _signature(form: Form) -> Signature:
    return Signature(form.get("timestamp", ""), form.get("token", ""), form.get("signature", ""))


def _addresses(recipients: str) -> Iterator[str]:
    return (one.strip() for one in recipients.split(",") if one.strip())


def _lost(at: str, form: Form, why: str) -> Unreadable:
    """What Mailgun told of a mail that can't be had; it keeps mails for some days, by the plan."""
    told = {name: value[:MAX_TOLD] for name, value in form.items() if name in TOLD}
    key = form.get("message-url") or form.get("token", "")
    return Unreadable(at=at, key=key, raw=msgspec.json.encode(told), why=why)


def _receipts(ours: tuple[str, ...], event: Event) -> Iterator[Receipt]:
    """Nothing for what is not about delivery, such as a mail that was opened."""
    headers = event.message.get("headers")
    if not isinstance(headers, dict):
        return
    message_id = str(headers.get("message-id", "")).strip("<>")
    permanent = event.event == "failed" and event.severity != "temporary"
    status = "bounced" if permanent else "queued" if event.event == "failed" else STATUS.get(event.event)
    if status is None or not message_id:
        return
    named = (str(event.envelope.get("sender", "")), email.utils.parseaddr(str(headers.get("from", "")))[1])
    yield Receipt(
        at=next((at for one in named if (at := account(one, ours)) in ours), named[1]),
        key=event.id,
        occurred_at=datetime.datetime.fromtimestamp(event.timestamp, datetime.UTC),
        external_id=message_id,
        status=status,
        error=_error(event) if status == "bounced" else None,
    )


def _error(event: Event) -> Error:
    last = event.delivery_status
    return Error(
        code="bounced",
        message=(last.message or last.description or event.reason or "Mailgun gave no reason")[:300],
        provider_code=last.enhanced_code or (str(last.code) if last.code else None),
    )
