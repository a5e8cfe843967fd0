"""Codes by which somebody proves that a number is theirs. Sends none, and counts no attempts: whoever asks must."""

from __future__ import annotations

import hmac
import re
import unicodedata

DIGITS = 6
MAX_TEXT = 100
"""Characters of a message that may be an answer."""
_PURPOSE = b"sluiceway call proof\0"
_NUMBERS = re.compile(r"[0-9](?:(?:[^\S\r\n]|-)?[0-9])*")


def code(secret: bytes, call_id: str) -> str:
    """The code for a call, six digits: always the same for the same call, and told to nobody but its number."""
    digest = hmac.digest(secret, _PURPOSE + call_id.encode("utf-8", "surrogatepass"), "sha256")
    return f"{int.from_bytes(digest, 'big') % 10**DIGITS:0{DIGITS}}"


def is_given(text: str, code: str) -> bool:
    """Whether a short text has the code in it; the digits of any script, "123 456" and "123-456" are read as well.

    A text with two numbers of six digits has none: one message is one attempt.
    """
    if len(text) > MAX_TEXT:
        return False
    latin = "".join(str(unicodedata.decimal(character, character)) for character in text)
    numbers = [re.sub("[^0-9]", "", number) for number in _NUMBERS.findall(latin)]
    given = [number for number in numbers if len(number) == DIGITS]
    return len(given) == 1 and hmac.compare_digest(given[0].encode(), code.encode())
