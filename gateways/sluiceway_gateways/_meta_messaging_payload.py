"""The fields of Messenger's and Instagram's deliveries that we read. Only what can't be done without is required.

https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks/webhook-events
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Someone(Struct, frozen=True):
    """A page, an account, or a customer as it knows them."""

    id: str


class Story(Struct, frozen=True):
    id: str | None = None
    url: str | None = None


class Answered(Struct, frozen=True):
    """What a message answers: a message, or on Instagram a story of ours."""

    mid: str | None = None
    story: Story | None = None


class Tapped(Struct, frozen=True):
    payload: str


class Product(Struct, frozen=True):
    id: str | None = None


class Advertisement(Struct, frozen=True):
    ad_title: str | None = None
    post_id: str | None = None


class Source(Struct, frozen=True):
    """What brought the customer; `ref` is the word that our link carried."""

    ref: str | None = None
    source: str | None = None
    ad_id: str | int | None = None
    ads_context_data: Advertisement | None = None
    referer_uri: str | None = None
    product: Product | None = None


class Coordinates(Struct, frozen=True):
    lat: float
    long: float


class Element(Struct, frozen=True):
    title: str | None = None
    subtitle: str | None = None


class Payload(Struct, frozen=True):
    """What is attached: a file at `url`, a place, or a template's words."""

    url: str | None = None
    title: str | None = None
    text: str | None = None
    sticker_id: int | str | None = None
    coordinates: Coordinates | None = None
    elements: tuple[Element, ...] = ()


class Attachment(Struct, frozen=True):
    type: str
    payload: Payload | None = None
    title: str | None = None
    url: str | None = None


class Incoming(Struct, frozen=True):
    """A message, or what has become of one."""

    mid: str = ""
    text: str | None = None
    attachments: tuple[Attachment, ...] = ()
    quick_reply: Tapped | None = None
    reply_to: Answered | None = None
    referral: Source | None = None
    is_echo: bool = False
    is_deleted: bool = False
    is_unsupported: bool = False
    app_id: int | str | None = None


class Edit(Struct, frozen=True):
    mid: str
    text: str = ""
    num_edit: int | str = 0


class Tap(Struct, frozen=True):
    """A button of ours, or an entry of our menu, was tapped."""

    title: str | None = None
    payload: str | None = None
    mid: str | None = None
    referral: Source | None = None


class Feeling(Struct, frozen=True):
    """A reaction: `reaction` is its English name, `emoji` what was seen."""

    mid: str
    action: str
    reaction: str | None = None
    emoji: str | None = None


class Read(Struct, frozen=True):
    """Messenger says until when, Instagram up to which message."""

    watermark: int | None = None
    mid: str | None = None


class Delivered(Struct, frozen=True):
    mids: tuple[str, ...] = ()
    watermark: int | None = None


class Happening(Struct, frozen=True):
    """One thing that happened between a page or account and a customer; exactly one of the last fields is there."""

    sender: Someone | None = None
    recipient: Someone | None = None
    timestamp: int | None = None
    message: Incoming | None = None
    message_edit: Edit | None = None
    postback: Tap | None = None
    referral: Source | None = None
    reaction: Feeling | None = None
    read: Read | None = None
    delivery: Delivered | None = None


class RawMessage(Struct, frozen=True):
    attachments: tuple[Any, ...] = ()


class RawHappening(Struct, frozen=True):
    """The same once more, as it came: for what we don't know."""

    message: RawMessage
