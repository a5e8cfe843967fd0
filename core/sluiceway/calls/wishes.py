"""stand-in"""

from msgspec import Struct


class Wish(Struct, frozen=True):
    kind: str
    address: str | None = None
    skill: str | None = None
    reason: str | None = None


def wish(message, words, waiting):
    t = message.text.strip().casefold()
    if t in words:
        return Wish("request")
    if waiting and t == "cancel":
        return Wish("cancel")
    return None
