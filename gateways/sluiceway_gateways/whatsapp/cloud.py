"""WhatsApp by Meta's Cloud API. One number is one account; calls and groups are nobody's business here."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sluiceway import (
    Account,
    Action,
    Actor,
    Ambiguous,
    Attachment,
    Capabilities,
    Chars,
    Flow,
    Gateway,
    Intake,
    Malformed,
    MediaFetcher,
    MediaUploader,
    Menus,
    Outbound,
    Rate,
    Request,
    Sender,
    Sent,
    Wanted,
    Webhook,
)
from sluiceway_contracts import MessageMarkSeen, MessageReact, TypingSet

from .. import _meta
from .._meta import App
from .._whatsapp_errors import ERRORS
from . import _facts, _request

# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
MEGABYTE = 1_000_000
IMAGE, STICKER, AUDIO, VIDEO, DOCUMENT = 5 * MEGABYTE, MEGABYTE // 2, 16 * MEGABYTE, 16 * MEGABYTE, 100 * MEGABYTE
OFFICE = "application/vnd.openxmlformats-officedocument"
MEDIA = {
    **dict.fromkeys(("image/jpeg", "image/png"), IMAGE),
    "image/webp": STICKER,
    **dict.fromkeys(("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"), AUDIO),
    **dict.fromkeys(("video/mp4", "video/3gpp"), VIDEO),
    **dict.fromkeys(("text/plain", "application/pdf", "application/msword", f"{OFFICE}.*"), DOCUMENT),
    **dict.fromkeys(("application/vnd.ms-excel", "application/vnd.ms-powerpoint"), DOCUMENT),
}
# Uploads last 30 days, as the same page says; a day less, so that none ends while a message is on its way
UPLOADS_LAST_S = 29 * 86_400
# https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
TEXT, CAPTION, PROMPT = Chars(4096), Chars(1024), 1024
# https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput: 80 a second a number, and
# one in 6 s to the same recipient, who may get 45 at once after a pause
RATE, RECIPIENT_RATE = Rate(80, 80), Rate(1 / 6, 45)


class Number(Account, frozen=True, kw_only=True):
    """A business phone number: `whatsapp:` and its digits, and what Meta calls it in deliveries and requests.

    `list_label` stands on the button that opens a list of choices.
    """

    phone_number_id: Annotated[str, Meta(pattern="^[0-9]{1,32}$")]
    list_label: Annotated[str, Meta(min_length=1, max_length=20)] = "☰"


class WhatsAppCloud(Gateway[App, Number], Webhook, Sender, Actor, MediaFetcher, MediaUploader):
    """WhatsApp Business Platform, Cloud API."""

    channel = "whatsapp"
    schemes = ("whatsapp",)
    methods = frozenset({"GET", "POST"})
    capabilities = Capabilities(
        text=TEXT,
        media=MEDIA,
        media_count=1,
        captions=dict.fromkeys(("image", "video", "file"), CAPTION),
        shows=("location", "contact_card", "template"),
        menus=Menus(
            prompt=PROMPT, option_id=200, buttons=3, button_title=20, rows=10, row_title=24, row_description=72
        ),
        rate=RATE,
        recipient_rate=RECIPIENT_RATE,
        reply_window=True,
    )
    acts = (MessageReact, MessageMarkSeen, TypingSet)
    errors = ERRORS
    max_body_bytes = _meta.MAX_DELIVERY_BYTES
    uploads_last_s = UPLOADS_LAST_S

    def identity(self, account: Number) -> str:
        """The phone number id."""
        return account.phone_number_id

    def verify(self, request: Request) -> None:
        """Signed with the app secret, or Meta's validation of the hook with our verify token."""
        _meta.verify(request, self.settings)

    def receive(self, request: Request) -> Intake:
        """https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview"""
        if request.method == "GET":
            return Intake(reply=_meta.challenge(request, self.settings))
        facts = tuple(_facts.facts(self, request.body))
        return Intake(facts=facts, discarded=not facts)

    def send(self, message: Outbound[Number]) -> Flow[Sent]:
        """https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api"""
        response = yield self._post(message.account, _request.body(message, message.account.list_label))
        if not 200 <= response.status < 300:
            raise _meta.refusal(self, response)
        try:
            taken = response.json(_Taken).messages[0]
        except (Malformed, IndexError) as error:
            raise Ambiguous("Meta took the message, but its answer can't be read") from error
        return Sent(external_id=taken.id)

    def act(self, action: Action[Number]) -> Flow[None]:
        """https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/reaction-messages"""
        body = _request.act(action)
        if body is None:
            return
        response = yield self._post(action.account, body)
        if not 200 <= response.status < 300:
            raise _meta.refusal(self, response)

    def media_hosts(self) -> tuple[str, ...]:
        """Meta's, and that of `api_url`."""
        return _meta.media_hosts(self.settings)

    def locate(self, wanted: Wanted[Number]) -> Flow[Request]:
        """https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/media/media-api

        The id came in a delivery that Meta signed: whether this number has it (`phone_number_id`) need not be asked.
        """
        response = yield _meta.get(self.settings, wanted.reference)
        if not 200 <= response.status < 300:
            raise _meta.refusal(self, response)
        try:
            return _meta.download(self.settings, response.json(_Located).url)
        except Malformed as error:
            raise Ambiguous("Meta knows the file, but its answer can't be read") from error

    def upload(self, attachment: Attachment[Number]) -> Flow[str]:
        """https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media"""
        path, file = f"{attachment.account.phone_number_id}/media", attachment.file
        fields = [("messaging_product", "whatsapp"), ("type", file.mime)]
        response = yield _meta.upload(self.settings, path, fields, file)
        if not 200 <= response.status < 300:
            raise _meta.refusal(self, response)
        try:
            return response.json(_Named).id
        except Malformed as error:
            raise Ambiguous("Meta took the file, but its answer can't be read") from error

    def _post(self, account: Number, body: _request.Json) -> Request:
        return _meta.post(self.settings, f"{account.phone_number_id}/messages", msgspec.json.encode(body))


class _Named(Struct, frozen=True):
    id: Annotated[str, Meta(min_length=1)]


class _Located(Struct, frozen=True):
    url: Annotated[str, Meta(min_length=1)]


class _Taken(Struct, frozen=True):
    messages: tuple[_Named, ...]
