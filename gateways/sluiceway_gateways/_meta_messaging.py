"""What Messenger and Instagram share: accounts, deliveries by `entry[].messaging[]`, and the Send API."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from sluiceway import (
    Account,
    Action,
    Actor,
    Ambiguous,
    Flow,
    Gateway,
    Intake,
    Malformed,
    MediaFetcher,
    Outbound,
    Rejected,
    Request,
    Response,
    Secret,
    Sender,
    Sent,
    Wanted,
    Webhook,
    WindowClosed,
)
from sluiceway_contracts import AnyPart, Choices, Media, MessageMarkSeen, TypingSet

from . import _meta
from ._meta_messaging_errors import ERRORS
from ._meta_messaging_facts import Reader

Json = dict[str, Any]

MEGABYTE = 1_000_000
# Both channels: https://developers.facebook.com/documentation/business-messaging/instagram-messaging/features/attachment-upload
IMAGE, FILE = 8 * MEGABYTE, 25 * MEGABYTE
# https://developers.facebook.com/documentation/business-messaging/messenger-platform/send-messages/quick-replies and
# …/send-messages/template/button
TITLE, PAYLOAD, BUTTONS, QUICK_REPLIES, PROMPT = 20, 1000, 3, 13, 640


class MessagingApp(_meta.App, frozen=True, kw_only=True):
    """A Meta app: by `app_id` we know the echoes of what we sent ourselves.

    With `store_media` files are fetched and stored, else they stay with Meta, and their addresses are told.
    """

    app_id: Annotated[str, Meta(pattern="^[0-9]{1,32}$")]
    store_media: bool = True


class Business(Account, frozen=True, kw_only=True):
    """A page or an account: its address has its id twice, as it is its own customer's id too.

    `access_token` goes before the connection's. With `human_agent`, what the 24 hours refuse is tagged as a person's
    answer, which has seven days.
    """

    scheme: ClassVar[str] = ""

    access_token: Secret | None = None
    human_agent: bool = False

    def __post_init__(self) -> None:
        if self.address != f"{self.scheme}:{self.id}/{self.id}":
            raise ValueError(f"the address is {self.scheme}:<id>/<id>, with the same id twice")

    @property
    def id(self) -> str:
        """What Meta calls it."""
        return self.address.partition("/")[2]


class MetaMessaging(Gateway[MessagingApp, Business], Webhook, Sender, Actor, MediaFetcher):
    """The Messenger Platform; a channel of it says what its deliveries are about and where messages are posted."""

    object: ClassVar[str]
    methods = frozenset({"GET", "POST"})
    acts = (MessageMarkSeen, TypingSet)
    errors = ERRORS
    max_body_bytes = _meta.MAX_DELIVERY_BYTES

    def identity(self, account: Business) -> str:
        """The id of the page or account."""
        return account.id

    def path(self, account: Business) -> str:
        """Where its messages are posted."""
        return f"{account.id}/messages"

    def verify(self, request: Request) -> None:
        """Signed with the app secret, or Meta's validation of the hook with our verify token."""
        _meta.verify(request, self.settings)

    def receive(self, request: Request) -> Intake:
        """https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks/webhook-events"""
        if request.method == "GET":
            return Intake(reply=_meta.challenge(request, self.settings))
        patient = frozenset(id for id, account in self.accounts.items() if account.human_agent)
        reader = Reader(
            object=self.object,
            scheme=self.schemes[0],
            app_id=self.settings.app_id,
            nobody=_meta.sole(self),
            patient=patient,
            store_media=self.settings.store_media,
        )
        facts = tuple(reader.facts(request.body))
        return Intake(facts=facts, discarded=not facts)

    def send(self, message: Outbound[Business]) -> Flow[Sent]:
        """https://developers.facebook.com/docs/messenger-platform/reference/send-api

        A window that is closed took nothing, so the same may be said as a person's answer.
        """
        body = _body(message, self.schemes[0])
        response = yield self._post(message.account, body | {"messaging_type": "RESPONSE"})
        if message.account.human_agent and self._is_late(response):
            tagged = {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"}
            response = yield self._post(message.account, body | tagged)
        if not 200 <= response.status < 300:
            raise _meta.refusal(self, response)
        try:
            return Sent(external_id=response.json(_Taken).message_id)
        except Malformed as error:
            raise Ambiguous("Meta took the message, but its answer can't be read") from error

    def act(self, action: Action[Business]) -> Flow[None]:
        """https://developers.facebook.com/documentation/business-messaging/messenger-platform/send-messages/sender-actions

        What the customer wrote is marked as seen, all of it. Instagram has the same actions:
        https://developers.facebook.com/documentation/business-messaging/instagram-messaging/features/sender-actions
        """
        body = {"recipient": _recipient(action.recipient, action.account, self.schemes[0])}
        response = yield self._post(action.account, body | {"sender_action": _sender_action(action)})
        if not 200 <= response.status < 300:
            raise _meta.refusal(self, response)

    def media_hosts(self) -> tuple[str, ...]:
        """Meta's, and that of `api_url`."""
        return _meta.media_hosts(self.settings)

    def locate(self, wanted: Wanted[Business]) -> Flow[Request]:
        """The address that came with the message, which is proof enough for Meta: it gets no token."""
        yield from ()  # nobody need be asked
        return Request.get(wanted.reference)

    def _post(self, account: Business, body: Json) -> Request:
        return _meta.post(self.settings, self.path(account), msgspec.json.encode(body), account.access_token)

    def _is_late(self, response: Response) -> bool:
        return response.status >= 400 and isinstance(_meta.refusal(self, response), WindowClosed)


def _body(message: Outbound[Business], scheme: str) -> Json:
    """The whole message. Raises `Rejected` for what the Send API has no form for."""
    recipient = _recipient(message.recipient, message.account, scheme)
    answers = message.reply_to.external_id if message.reply_to and message.piece == 1 else None
    if len(message.parts) != 1:
        raise Rejected("a message has exactly one part")
    body: Json = {"recipient": recipient, "message": _content(message.parts[0])}
    return body | {"reply_to": {"mid": answers}} if answers else body


def _recipient(address: str, account: Business, scheme: str) -> Json:
    known, _, id = address.partition("/")
    if known != f"{scheme}:{account.id}" or not id:
        raise Rejected(f"the recipient has not written to this account: it sends to {scheme}:{account.id}/… only")
    return {"id": id}


def _content(part: AnyPart) -> Json:
    match part:
        case Media():
            if not (part.url and part.url.startswith("https://")):
                raise Rejected("the media has no https address from which Meta could fetch it")
            family = part.mime.partition("/")[0]
            type = family if family in ("image", "video", "audio") else "file"
            return {"attachment": {"type": type, "payload": {"url": part.url}}}
        case Choices(style="list"):
            replies = [{"content_type": "text", "title": o.title, "payload": o.id} for o in part.options]
            return {"text": part.prompt or "", "quick_replies": replies}
        case Choices():
            buttons = [{"type": "postback", "title": o.title, "payload": o.id} for o in part.options]
            menu = {"template_type": "button", "text": part.prompt or "", "buttons": buttons}
            return {"attachment": {"type": "template", "payload": menu}}
    return {"text": part.plain()}


def _sender_action(action: Action[Business]) -> str:
    match action.command:
        case TypingSet(state="started"):
            return "typing_on"
        case TypingSet():
            return "typing_off"
    return "mark_seen"


class _Taken(Struct, frozen=True):
    message_id: Annotated[str, Meta(min_length=1)]
