"""How providers count text: each unit measures a text, and has a limit in that unit. Cuts nothing."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

# 3GPP TS 23.038, 6.2.1: the GSM 7 bit default alphabet, then the extension table, whose characters count twice
_GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENDED = frozenset("\f^{}\\[~]|€")
# 3GPP TS 23.040, 9.2.3.24.1: a message alone, and one of several, which gives up six octets to say which it is
GSM_ALONE, GSM_JOINED = 160, 153
UCS2_ALONE, UCS2_JOINED = 70, 67


class Chars(Struct, frozen=True, tag="characters"):
    """A limit in Unicode code points."""

    limit: int

    def length(self, text: str) -> int:
        return len(text)


class Utf16(Struct, frozen=True, tag="utf16"):
    """A limit in UTF-16 code units: an emoji counts two or more."""

    limit: int

    def length(self, text: str) -> int:
        return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Utf8(Struct, frozen=True, tag="utf8"):
    """A limit in bytes of UTF-8."""

    limit: int

    def length(self, text: str) -> int:
        return len(text.encode("utf-8", "surrogatepass"))


class Segments(Struct, frozen=True, tag="segments"):
    """A limit in the segments that an SMS is sent and billed in: GSM-7 where every character is in it, else UCS-2."""

    limit: int

    def length(self, text: str) -> int:
        septets = 0
        for character in text:
            if character in _GSM_BASIC:
                septets += 1
            elif character in _GSM_EXTENDED:
                septets += 2
            else:
                return _segments([2 if ord(c) > 0xFFFF else 1 for c in text], UCS2_ALONE, UCS2_JOINED)
        if septets <= GSM_ALONE:
            return 1 if text else 0
        return _segments([2 if c in _GSM_EXTENDED else 1 for c in text], GSM_ALONE, GSM_JOINED)


def _segments(sizes: list[int], alone: int, joined: int) -> int:
    """A character is never cut, so a segment may end one unit early."""
    if sum(sizes) <= alone:
        return 1
    count, used = 1, 0
    for size in sizes:
        if used + size > joined:
            count, used = count + 1, 0
        used += size
    return count


Unit: TypeAlias = Chars | Utf16 | Utf8 | Segments
