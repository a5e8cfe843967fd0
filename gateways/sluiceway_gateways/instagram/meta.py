"""Instagram messages by Meta's Messenger Platform. One professional account is one account; no comments, no posts."""

from __future__ import annotations

from typing import ClassVar

from sluiceway import Capabilities, Menus, Rate, Utf8

from .._meta_messaging import (
    BUTTONS,
    FILE,
    IMAGE,
    PAYLOAD,
    QUICK_REPLIES,
    TITLE,
    Business,
    MessagingApp,
    MetaMessaging,
)

# https://developers.facebook.com/documentation/business-messaging/instagram-messaging/features/send-message
AUDIO = ("audio/aac", "audio/mp4", "audio/x-m4a", "audio/wav", "audio/x-wav")
VIDEO = ("video/mp4", "video/ogg", "video/x-msvideo", "video/quicktime", "video/webm")
MEDIA = {
    **dict.fromkeys(("image/jpeg", "image/png", "image/gif"), IMAGE),
    **dict.fromkeys((*AUDIO, *VIDEO, "application/pdf"), FILE),
}
TEXT = Utf8(1000)
# A prompt is a text, and of no character more than 4 bytes are made
PROMPT = TEXT.limit // 4
# An account's; with audio or video only 10 a second, beyond which Meta refuses and the message is tried again:
# https://developers.facebook.com/documentation/business-messaging/messenger-platform/overview/rate-limiting
RATE = Rate(300, 300)


class InstagramApp(MessagingApp, frozen=True, kw_only=True):
    """A Meta app that stores no file unless it is told to: Meta wants to be asked for permission first.

    https://developers.facebook.com/docs/messenger-platform/instagram/features/story-mention
    """

    store_media: bool = False


class Profile(Business, frozen=True, kw_only=True):
    """A professional account: `instagram:<account id>/<account id>`."""

    scheme: ClassVar[str] = "instagram"


class InstagramMeta(MetaMessaging):
    """Messenger Platform, for Instagram's professional accounts."""

    channel = "instagram"
    schemes = ("instagram",)
    object = "instagram"
    settings_type = InstagramApp
    account_type = Profile
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

    def path(self, account: Business) -> str:
        """The access token's own: of the page that the account is linked to, whose id deliveries do not tell."""
        return "me/messages"
