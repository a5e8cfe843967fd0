"""SMS and MMS by Twilio's Programmable Messaging. Takes Twilio's WhatsApp and RCS traffic for nobody: it refuses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import quote, unquote

import msgspec
from msgspec import Meta, Struct

from sluiceway import (
    Account,
    Ambiguous,
    Capabilities,
    Consent,
    Flow,
    Form,
    Gateway,
    Intake,
    Malformed,
    MediaFetcher,
    Outbound,
    Outcome,
    Receipt,
    Received,
    Rejected,
    Request,
    Response,
    Retries,
    Sender,
    Sent,
    Unreadable,
    Utf16,
    Wanted,
    Webhook,
)
from sluiceway_contracts import AnyPart, InvalidAddress, Media, Price, Text, addresses

from .. import _twilio
from .._origin import origin
from .._twilio import API, Connection
from .._twilio_errors import ERRORS

# https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
STATUS = {
    "accepted": "accepted",
    "scheduled": "accepted",
    "queued": "queued",
    "sending": "queued",
    "sent": "sent",
    "delivered": "delivered",
    "undelivered": "failed",
    "failed": "failed",
    "read": "read",
    "canceled": "revoked",
}
# OptOutType, which Advanced Opt-Out adds: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
CONSENT = {"STOP": "revoked", "START": "granted"}
# https://www.twilio.com/docs/messaging/guides/accepted-mime-types
MEGABYTE = 1_000_000
MEDIA = {
    "image/jpeg": 5 * MEGABYTE,
    "image/png": 5 * MEGABYTE,
    "image/gif": 5 * MEGABYTE,
    "image/*": MEGABYTE // 2,
    "audio/*": MEGABYTE // 2,
    "video/*": MEGABYTE // 2,
    "text/vcard": MEGABYTE // 2,
    "text/calendar": MEGABYTE // 2,
    "application/pdf": MEGABYTE // 2,
}
# What customers sent is at the API, which leads on to the second of these for four hours, or to the last where it is
# from before Twilio wanted a login for it. The third is where it led in 2020.
# https://help.twilio.com/articles/223183748, https://github.com/codeforamerica/vita-min/pull/563
MEDIA_HOSTS = ("api.twilio.com", "mms.twiliocdn.com", "media.twiliocdn.com", "s3-external-1.amazonaws.com")
# Twilio tries a callback again after any failure: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
RETRIES = "#rc=5&rp=all"
# An answer that says nothing to the customer: https://www.twilio.com/docs/messaging/twiml
NO_REPLY = Response(headers={"content-type": "text/xml"}, body=b'<?xml version="1.0" encoding="UTF-8"?><Response />')
# The scheme of whoever is no E.164 number
CUSTOM = "x-twilio"


class Number(Account, frozen=True, kw_only=True):
    """A number, short code (`x-twilio:12345`) or name (`x-twilio:ACME`), and the messaging service that it is in."""

    messaging_service: Annotated[str, Meta(pattern="^MG[0-9a-fA-F]{32}$")] | None = None


class TwilioSms(Gateway[Connection, Number], Webhook, Sender, MediaFetcher):
    """SMS and MMS. Receipts are asked for at the hook's `/status`, and known by their fields wherever they come."""

    channel = "sms"
    schemes = ("tel", CUSTOM)
    capabilities = Capabilities(text=Utf16(1600), media=MEDIA, media_count=10, retries=Retries.BRIEF)
    errors = ERRORS
    accepted = Response(status=204)

    def identity(self, account: Number) -> str:
        """The number, short code or name, as Twilio writes it."""
        return _party(account.address)

    def verify(self, request: Request) -> None:
        """The auth token's holder signed it: that is the proof, and the AccountSid that it names adds none."""
        _twilio.verify(request, self.settings.token)

    def receive(self, request: Request) -> Intake:
        """https://www.twilio.com/docs/messaging/guides/webhook-request"""
        form = request.form
        if "MessageStatus" in form:
            return Intake(facts=tuple(self._status(form, request.body)), reply=Response(status=204))
        return Intake(facts=tuple(_incoming(form)), reply=NO_REPLY)

    def send(self, message: Outbound[Number]) -> Flow[Sent]:
        """https://www.twilio.com/docs/messaging/api/message-resource"""
        response = yield self._request(message)
        if not 200 <= response.status < 300:
            raise _twilio.refusal(self, response)
        try:
            created = response.json(_Created)
        except Malformed as error:
            raise Ambiguous("Twilio took the message, but its answer can't be read") from error
        return Sent(external_id=created.sid, segments=_count(str(created.num_segments)) or None, price=created.cost)

    def media_hosts(self) -> tuple[str, ...]:
        """Twilio's, and that of `api_url`."""
        return (*MEDIA_HOSTS, origin(self.settings.api_url))

    def locate(self, wanted: Wanted[Number]) -> Flow[Request]:
        """https://www.twilio.com/docs/messaging/api/media-resource

        The login is for the API alone, whatever address a delivery names.
        """
        yield from ()  # nobody need be asked
        ours = origin(wanted.reference) in (API, origin(self.settings.api_url))
        return Request.get(wanted.reference, basic=self.settings.basic if ours else None)

    def _status(self, form: Form, raw: bytes) -> Iterator[Receipt | Consent | Unreadable]:
        sid, ours, word = form.required("MessageSid"), _plain(form, "From"), form.required("MessageStatus")
        key = f"{sid}:{word}"
        status = STATUS.get(word)
        if status is None:
            yield Unreadable(at=ours, key=key, raw=raw, why=f"Twilio's status {word[:40]} is not known")
            return
        code = form.get("ErrorCode")
        error = self.error(code, form.get("ErrorMessage", "")[:200]) if code else None
        yield Receipt(at=ours, key=key, external_id=sid, status=status, error=error)
        if error and error.code == Outcome.OPTED_OUT and form.get("To"):
            customer = _address(_plain(form, "To"))
            yield Consent(at=ours, key=sid, address=customer, state="revoked", method="provider", evidence=code)

    def _request(self, message: Outbound[Number]) -> Request:
        account = message.account
        fields = [("To", _recipient(message.recipient)), ("From", self.identity(account))]
        if account.messaging_service:
            fields.append(("MessagingServiceSid", account.messaging_service))
        content = [*_content(message.parts)]
        if not content:
            raise Rejected("there is neither text nor media to send")
        if self.hook_url:
            content.append(("StatusCallback", f"{self.hook_url}/status{RETRIES}"))
        url = f"{self.settings.api_url.rstrip('/')}/2010-04-01/Accounts/{self.settings.sid}/Messages.json"
        return Request.post_form(url, fields + content, basic=self.settings.basic)


class _Created(Struct, frozen=True):
    sid: Annotated[str, Meta(min_length=1)]
    num_segments: str | int | None = None
    price: str | float | None = None
    price_unit: str | None = None

    @property
    def cost(self) -> Price | None:
        return Price(amount=str(self.price), currency=self.price_unit) if self.price and self.price_unit else None


def _incoming(form: Form) -> Iterator[Received | Consent]:
    sid, ours = form.required("MessageSid"), _plain(form, "To")
    customer = _address(_plain(form, "From"))
    opt_out = form.get("OptOutType", "").upper()
    known = {
        "segments": _count(form.get("NumSegments", "")),
        "messaging_service": form.get("MessagingServiceSid"),
        "country": form.get("FromCountry"),
        "opt_out": opt_out.lower(),
    }
    found = tuple(_parts(form))
    yield Received(
        at=ours,
        key=sid,
        sender=customer,
        parts=tuple(msgspec.structs.replace(part, id=str(n)) for n, (part, _) in enumerate(found, 1)),
        media={str(n): url for n, (_, url) in enumerate(found, 1) if url},
        external_ids=(sid,),
        ext={name: value for name, value in known.items() if value},
    )
    if state := CONSENT.get(opt_out):
        yield Consent(at=ours, key=sid, address=customer, state=state, evidence=form["Body"])


def _parts(form: Form) -> Iterator[tuple[AnyPart, str]]:
    """Each part, with the address of its file."""
    media = _count(form.get("NumMedia", "0"))
    if media is None:
        raise Malformed("the field NumMedia is no number")
    if "Body" not in form:
        raise Malformed("the field Body is missing")
    if form["Body"] or not media:
        yield Text(text=form["Body"]), ""
    for n in range(media):
        mime = form.get(f"MediaContentType{n}") or "application/octet-stream"
        family = mime.partition("/")[0]
        kind = family if family in {"image", "video", "audio"} else "file"
        yield Media(kind=kind, mime=mime), form.required(f"MediaUrl{n}")


def _content(parts: tuple[AnyPart, ...]) -> Iterator[tuple[str, str]]:
    """The text and the media; captions are core's to move into the text."""
    text = "\n".join(part.plain() for part in parts if not isinstance(part, Media))
    if text.strip():
        yield "Body", text
    for part in parts:
        if isinstance(part, Media):
            if not (part.url and part.url.startswith("https://")):
                raise Rejected("the media has no https address from which Twilio could fetch it")
            yield "MediaUrl", part.url


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,4}", text) else None


def _plain(form: Form, field: str) -> str:
    """One side of the message: a number, a short code or a name, but nothing of another channel (`whatsapp:+44…`)."""
    party = form.required(field)
    channel, colon, _ = party.partition(":")
    if colon:
        raise Malformed(
            f"{field} is on the channel {channel[:20]}, not SMS: give that sender's webhook another connection"
        )
    return party


def _address(party: str) -> str:
    """The address URI: `tel:` for a number in E.164, `x-twilio:` for a short code or a name."""
    try:
        return addresses.build("tel", party)
    except InvalidAddress:
        try:
            return addresses.build(CUSTOM, quote(party, safe=""))
        except InvalidAddress:
            raise Malformed("the other side is neither a number nor a name") from None


def _party(address: str) -> str:
    scheme, _, value = address.partition(":")
    return unquote(value) if scheme == CUSTOM else value


def _recipient(address: str) -> str:
    if address.partition(":")[0] not in TwilioSms.schemes:
        raise Rejected("the recipient has no telephone number: SMS goes to tel: addresses")
    return _party(address)
