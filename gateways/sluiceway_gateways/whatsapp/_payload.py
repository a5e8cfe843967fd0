"""The fields of the Cloud API's deliveries that we read. Only what a message can't do without is required.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from .._meta import Problem


class Metadata(Struct, frozen=True):
    """Which of our numbers."""

    phone_number_id: str


class Profile(Struct, frozen=True):
    """What the customer calls themselves."""

    name: str | None = None
    username: str | None = None


class Person(Struct, frozen=True):
    """A customer: `wa_id` may be absent, `user_id` is the business-scoped one (BSUID)."""

    wa_id: str | None = None
    user_id: str | None = None
    parent_user_id: str | None = None
    profile: Profile = Profile()


class Value(Struct, frozen=True):
    """What a change says of one number; its lists are not read yet."""

    metadata: Metadata
    contacts: tuple[Raw, ...] = ()
    messages: tuple[Raw, ...] = ()
    message_echoes: tuple[Raw, ...] = ()
    statuses: tuple[Raw, ...] = ()
    user_preferences: tuple[Raw, ...] = ()
    errors: tuple[Raw, ...] = ()


class Words(Struct, frozen=True):
    body: str


class File(Struct, frozen=True):
    """A file that Meta keeps under `id`."""

    id: str
    mime_type: str = "application/octet-stream"
    caption: str | None = None
    filename: str | None = None
    voice: bool = False


class Spot(Struct, frozen=True):
    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None
    url: str | None = None


class CardName(Struct, frozen=True):
    formatted_name: str | None = None
    first_name: str | None = None
    last_name: str | None = None


class CardPhone(Struct, frozen=True):
    phone: str | None = None
    wa_id: str | None = None


class CardMail(Struct, frozen=True):
    email: str | None = None


class Card(Struct, frozen=True):
    """Somebody's contact details."""

    name: CardName = CardName()
    phones: tuple[CardPhone, ...] = ()
    emails: tuple[CardMail, ...] = ()


class Emoji(Struct, frozen=True):
    """A reaction; without an emoji it is taken back."""

    message_id: str
    emoji: str | None = None


class Picked(Struct, frozen=True):
    """A button or row of ours that was chosen."""

    id: str
    title: str = ""
    description: str | None = None


class FlowAnswer(Struct, frozen=True):
    """A flow as it was filled in: `response_json` is JSON in a text."""

    response_json: str
    name: str | None = None


class Interactive(Struct, frozen=True):
    button_reply: Picked | None = None
    list_reply: Picked | None = None
    nfm_reply: FlowAnswer | None = None


class Button(Struct, frozen=True):
    """A quick reply of a template."""

    text: str
    payload: str | None = None


class Product(Struct, frozen=True):
    product_retailer_id: str = ""
    quantity: int | float | str = 1
    item_price: int | float | str | None = None
    currency: str | None = None


class Order(Struct, frozen=True):
    """Products that the customer put together."""

    product_items: tuple[Product, ...] = ()
    text: str | None = None


class System(Struct, frozen=True):
    """What WhatsApp says about the customer; `wa_id`, or `new_wa_id`, is their new number."""

    body: str = ""
    type: str = "system"
    wa_id: str | None = None
    new_wa_id: str | None = None
    user_id: str | None = None


class Unsupported(Struct, frozen=True):
    type: str | None = None


class Edit(Struct, frozen=True):
    original_message_id: str
    message: Raw


class Revoke(Struct, frozen=True):
    original_message_id: str


class Context(Struct, frozen=True):
    """What the message answers, and how it came about."""

    id: str | None = None
    forwarded: bool = False
    frequently_forwarded: bool = False
    referred_product: dict[str, Any] | None = None


class Advertisement(Struct, frozen=True):
    """The advertisement, or post, that the customer came from."""

    source_type: str | None = None
    source_id: str | None = None
    source_url: str | None = None
    headline: str | None = None
    body: str | None = None
    ctwa_clid: str | None = None


class Content(Struct, frozen=True):
    """What a message says: `type` names the field."""

    type: str
    text: Words | None = None
    image: File | None = None
    video: File | None = None
    audio: File | None = None
    document: File | None = None
    sticker: File | None = None
    location: Spot | None = None
    contacts: tuple[Card, ...] = ()
    interactive: Interactive | None = None
    button: Button | None = None
    order: Order | None = None
    system: System | None = None
    unsupported: Unsupported | None = None
    errors: tuple[Problem, ...] = ()


class Incoming(Content, frozen=True, rename={"from_": "from"}):
    """A message, or an echo of one of ours, with whom it is from and to."""

    id: str = ""
    timestamp: str | int | None = None
    from_: str | None = None
    from_user_id: str | None = None
    to: str | None = None
    to_user_id: str | None = None
    group_id: str | None = None
    context: Context | None = None
    referral: Advertisement | None = None
    reaction: Emoji | None = None
    edit: Edit | None = None
    revoke: Revoke | None = None


class Origin(Struct, frozen=True):
    type: str | None = None


class Conversation(Struct, frozen=True):
    """What Meta bills together."""

    id: str | None = None
    expiration_timestamp: str | int | None = None
    origin: Origin = Origin()


class Pricing(Struct, frozen=True):
    billable: bool | None = None
    pricing_model: str | None = None
    category: str | None = None
    type: str | None = None


class State(Struct, frozen=True):
    """What became of a message of ours."""

    id: str
    status: str
    timestamp: str | int | None = None
    recipient_id: str | None = None
    recipient_user_id: str | None = None
    conversation: Conversation | None = None
    pricing: Pricing | None = None
    errors: tuple[Problem, ...] = ()


class Preference(Struct, frozen=True):
    """What a customer decided about marketing."""

    value: str
    category: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    detail: str | None = None
    timestamp: str | int | None = None
