"""Bytes to text by a charset that is declared, wrong, unknown or missing: no exception, no surrogate, no NUL.

Guesses no language: what is neither declared nor UTF-8 reads as windows-1252.
"""

from __future__ import annotations

import codecs
import re

# https://encoding.spec.whatwg.org/#names-and-labels: what senders mean by these names is more than the names say
_MEANT = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "ansi_x3.4-1968": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "ansi": "cp1252",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "tis-620": "cp874",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "utf8": "utf-8",
    "utf8mb4": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
}
_FALLBACK = "cp1252"
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.:+-]*")
_SURROGATES = re.compile("[\ud800-\udfff]")


def decode(data: bytes, label: str = "") -> tuple[str, str | None]:
    """The text, and what was wrong: charset_unknown, charset_wrong or None."""
    if data.isascii() and not (label and _codec(label) in _STATEFUL):
        return data.decode("ascii").replace("\0", ""), None
    codec = _codec(label)
    if codec in {None, "cp1252"}:
        text = _strict(data, "utf-8")
        if text is not None:
            return text, "charset_wrong" if codec else None if not label else "charset_unknown"
        return _loose(data, _FALLBACK), "charset_unknown" if codec is None else None
    text = _strict(data, codec)
    if text is not None:
        return text, None
    text = _strict(data, "utf-8")
    return (text if text is not None else _loose(data, codec or _FALLBACK)), "charset_wrong"


_STATEFUL = {"utf-7", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso2022_jp_ext", "iso2022_kr", "hz"}


def _codec(label: str) -> str | None:
    """Python's name of a text codec; None for what is none."""
    found = _LABEL.match(label.strip().strip("\"'").lower())
    name = found[0] if found else ""
    name = _MEANT.get(name, name)
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if not info._is_text_encoding or info.name in _NO_CHARSETS:  # the attribute that str.encode goes by
        return None
    return info.name if info.name != "iso8859-1" else "cp1252"


_NO_CHARSETS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}


def _strict(data: bytes, codec: str | None) -> str | None:
    try:
        return _clean(data.decode(codec or "utf-8"))
    except (UnicodeError, ValueError):
        return None


def _loose(data: bytes, codec: str) -> str:
    return _clean(data.decode(codec, "replace"))


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text.replace("\0", ""))
