"""Parameters of a header field: RFC 2045 and 2231, and the wrong ways in which clients write file names."""

from __future__ import annotations

import re
from itertools import islice
from urllib.parse import unquote_to_bytes

from ._charsets import decode
from ._words import decode_words

MAX_PARAMETERS = 200
_PARAMETER = re.compile(r";\s*([^=;\s\"]{1,80})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"?|([^;]*))", re.DOTALL)
_ESCAPED = re.compile(r"\\([\"\\])")
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")


def parameters(value: str) -> dict[str, str]:
    """By lower-case name; the first of each name counts, and an RFC 2231 one before a plain one."""
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for found in islice(_PARAMETER.finditer(value), MAX_PARAMETERS):
        text = _ESCAPED.sub(r"\1", found[2]) if found[2] is not None else found[3].strip()
        name = _SECTION.fullmatch(found[1].lower())
        if name is None or (name[2] is None and name[3] is None):
            plain.setdefault(found[1].lower(), decode_words(text))
        else:
            sections.setdefault(name[1], {}).setdefault(int(name[2] or 0), (text, name[3] is not None))
    return plain | {name: _joined(parts) for name, parts in sections.items()}


def _joined(parts: dict[int, tuple[str, bool]]) -> str:
    """Sections in order; the charset stands in the first."""
    first, extended = parts[min(parts)]
    charset = ""
    if extended and first.count("'") >= 2:
        charset, _, rest = first.split("'", 2)
        parts = parts | {min(parts): (rest, True)}
    data = b""
    for _, (text, encoded) in sorted(parts.items()):
        data += unquote_to_bytes(text) if encoded else text.encode("utf-8", "replace")
    return decode_words(decode(data, charset)[0])
