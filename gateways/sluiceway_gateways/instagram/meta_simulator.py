"""Instagram in miniature, from the Messenger Platform's: it tells which message was read, and nothing of deliveries."""

from __future__ import annotations

from typing import Any

from .._meta_messaging_simulator import READ_S, MessagingSimulator
from .meta import TEXT


class InstagramSimulator(MessagingSimulator):
    """One Meta app's accounts. A message is read after 0.8 s by who wrote to it before, but to these recipients:

    1555 and a code      refused with it, `-` before a subcode: 155510-2534022 is outside the window, 1555190 an expired
                         token; what the window refuses passes with the tag HUMAN_AGENT
    1557 and anything    HTTP 500 without a code: nobody knows if it was sent

    A delivery takes the fields `reply_to` (a mid), `quick_reply` and `button` (what was tapped, whose title is the
    text) and `image` (an address, or a word that has one here and says what is there: gone or expired (404), throttled
    (429 every other time), redirect, large-<megabytes>, liar (no picture), empty; any other is a PNG).
    """

    channel = "instagram"
    object = "instagram"
    text = TEXT

    def told(self, mid: str) -> tuple[tuple[float, dict[str, Any]], ...]:
        return ((READ_S, {"read": {"mid": mid}}),)
