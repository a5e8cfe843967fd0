"""Files that stand uuencoded in a text, as mails had them before MIME; found and taken out."""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

from ._transfer import uudecoded

MAX_FILES = 20
_BEGIN = re.compile(r"^begin [0-7]{3,4} ([^\n]{1,200})\n(?=[!-`][^\n]{0,90}\n)", re.MULTILINE)
_END = re.compile(r"^end[ \t]*$", re.MULTILINE)


class Encoded(NamedTuple):
    """A file: its name and its bytes."""

    name: str
    data: bytes


def extracted(text: str) -> tuple[str, list[Encoded]]:
    """The text without the files, and the files. What has no end is text."""
    pieces, files, position = list[str](), list[Encoded](), 0
    for found in islice(_BEGIN.finditer(text), MAX_FILES):
        end = _END.search(text, found.end())
        if end is None:
            break
        if found.start() < position:
            continue
        pieces.append(text[position : found.start()])
        block = text[found.start() : end.end()].encode("ascii", "replace")
        files.append(Encoded(found[1].strip(), b"".join(uudecoded(block))))
        position = end.end()
    return "".join([*pieces, text[position:]]), files
