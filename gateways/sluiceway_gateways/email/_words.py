"""Encoded words in header fields (RFC 2047), those that clients write wrongly too; what can't be decoded stays."""

from __future__ import annotations

import base64
import re
from itertools import islice

from ._charsets import decode

MAX_CHARS = 1 << 16
MAX_WORDS = 2000
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?(.{0,2000}?)(?:\?=|$)", re.DOTALL)
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BETWEEN = re.compile(r"\s*")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def raw_text(value: bytes) -> str:
    """A header field's bytes as text: UTF-8 (RFC 6532), else windows-1252."""
    return _CONTROLS.sub("", decode(value[: MAX_CHARS * 2])[0])


def decode_words(text: str) -> str:
    """The text with its encoded words decoded. Neighbours of one charset are joined first: characters may be split."""
    if "=?" not in text:
        return text
    text = text[:MAX_CHARS]
    pieces: list[str] = []
    waiting, charset, end = b"", "", 0
    for word in islice(_WORD.finditer(text), MAX_WORDS):
        between, label = text[end : word.start()], word[1].partition("*")[0].lower()
        if end and _BETWEEN.fullmatch(between):
            between = ""
        if between or label != charset:
            pieces += [decode(waiting, charset)[0], between]
            waiting, charset = b"", label
        waiting += _bytes(word[2], word[3])
        end = word.end()
    return _CONTROLS.sub("", "".join([*pieces, decode(waiting, charset)[0], text[end:]]))


def _bytes(encoding: str, text: str) -> bytes:
    if encoding in "bB":
        clean = _NO_BASE64.sub("", text)
        clean = clean[:-1] if len(clean) % 4 == 1 else clean
        return base64.b64decode(clean + "=" * (-len(clean) % 4))
    data = text.replace("_", " ").encode("utf-8", "replace")
    return _HEX.sub(lambda found: bytes([int(found[1], 16)]), data)
