"""Messenger by Meta's Messenger Platform. One page is one account; comments and posts are nobody's business here."""

from __future__ import annotations

from typing import ClassVar

from sluiceway import Capabilities, Chars, Menus, Rate

from .._meta_messaging import (
    BUTTONS,
    FILE,
    IMAGE,
    PAYLOAD,
    PROMPT,
    QUICK_REPLIES,
    TITLE,
    Business,
    MetaMessaging,
)

MEDIA = {
    **dict.fromkeys(("image/jpeg", "image/png", "image/gif"), IMAGE),
    **dict.fromkeys(("audio/*", "video/*", "application/*", "text/*"), FILE),
}
# https://developers.facebook.com/docs/messenger-platform/reference/send-api
TEXT = Chars(2000)
# A page's; with audio or video only 10 a second, beyond which Meta refuses and the message is tried again:
# https://developers.facebook.com/documentation/business-messaging/messenger-platform/overview/rate-limiting
RATE = Rate(300, 300)


class Page(Business, frozen=True, kw_only=True):
    """A Facebook page: `messenger:<page id>/<page id>`."""

    scheme: ClassVar[str] = "messenger"


class MessengerMeta(MetaMessaging):
    """Messenger Platform, for Facebook pages."""

    channel = "messenger"
    schemes = ("messenger",)
    object = "page"
    account_type = Page
    capabilities = Capabilities(
        text=TEXT,
        media=MEDIA,
        media_count=1,
        captions={},
        menus=Menus(
            prompt=PROMPT, option_id=PAYLOAD, buttons=BUTTONS, button_title=TITLE, rows=QUICK_REPLIES, row_title=TITLE
        ),
        rate=RATE,
        reply_window=True,
    )
