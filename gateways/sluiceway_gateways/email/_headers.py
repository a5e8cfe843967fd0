"""The header of a mail or of a part, split into fields, forgivingly; a value is decoded when it is asked for."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator

from ._parameters import parameters
from ._words import decode_words, raw_text

MAX_BYTES = 1 << 20
MAX_FIELDS = 2000
MAX_VALUE = 1 << 17
Raw = bytes | mmap.mmap

_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]{1,200})[ \t]*:")
_KNOWN = re.compile(
    rb"(?:[\w-]{1,60}-[\w-]{1,60}|received|from|sender|to|cc|bcc|subject|date|comments|precedence)[ \t]*:", re.I
)
"""What a line after a malformed one must begin with, for the header to go on; a word and a colon may be the text."""
_SPACES = re.compile(r"\s+")
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


class Headers:
    """Fields in order, names in lower case, values unfolded bytes."""

    def __init__(self, fields: list[tuple[str, bytes]] | None = None) -> None:
        self.fields = fields or []

    def raw(self, name: str) -> Iterator[str]:
        """Each value of this name as text, encoded words as they are."""
        for field, value in self.fields:
            if field == name:
                yield raw_text(value).strip()

    def first(self, name: str) -> str:
        """The first value that is not empty, encoded words as they are; else an empty text."""
        return next((value for value in self.raw(name) if value), "")

    def text(self, name: str) -> str:
        """The first value, decoded: one line, no control characters."""
        return _SPACES.sub(" ", decode_words(self.first(name))).strip()

    def __contains__(self, name: str) -> bool:
        return any(field == name for field, _ in self.fields)

    def content_type(self, default: str) -> tuple[str, dict[str, str]]:
        """The media type in lower case, and its parameters; what is none reads as text/plain."""
        value = self.first("content-type")
        mime = value.partition(";")[0].strip().lower()
        if not value:
            return default, {}
        return (mime if _MIME.fullmatch(mime) else "text/plain"), parameters(value)

    def disposition(self) -> tuple[str, dict[str, str]]:
        """Content-Disposition's word in lower case, and its parameters."""
        value = self.first("content-disposition")
        return value.partition(";")[0].strip().lower(), parameters(value)


def read_headers(data: Raw, start: int, end: int) -> tuple[Headers, int, list[str]]:
    """The header that begins at `start`, where its body begins, and what was wrong with it."""
    fields: list[tuple[str, list[bytes]]] = []
    defects: list[str] = []
    position, stop = start, min(end, start + MAX_BYTES)
    while position < end:
        following = _line_end(data, position, end)
        line = data[position : min(following, position + MAX_VALUE)].rstrip(b"\r\n")
        if not line:
            position = following
            break
        if position >= stop or len(fields) > MAX_FIELDS:
            defects.append("header_cut")
            position = _after_blank(data, position, end)
            break
        found = _FIELD.match(line)
        if line[:1] in b" \t" and fields:
            _append(fields[-1][1], line)
        elif line.startswith(b"--"):
            break
        elif found:
            fields.append((found[1].decode("ascii").lower(), [line[found.end() :]]))
        elif line.startswith((b"From ", b">From ")) and not fields:
            pass  # an mbox's separator
        elif fields and _goes_on(data, following, end):
            defects.append("header_malformed")
        elif not line.strip():
            position = following
            break
        else:
            defects.append("header_unseparated")
            break
        position = following
    return Headers([(name, b"".join(lines)[:MAX_VALUE].strip()) for name, lines in fields]), position, defects


def _append(lines: list[bytes], line: bytes) -> None:
    if len(lines) < MAX_FIELDS:
        lines.append(b" " + line.strip())


def _line_end(data: Raw, position: int, end: int) -> int:
    found = data.find(b"\n", position, end)
    return end if found < 0 else found + 1


def _goes_on(data: Raw, position: int, end: int) -> bool:
    """Whether a header field follows in the next lines, before an empty one."""
    for _ in range(4):
        following = _line_end(data, position, end)
        line = data[position : min(following, position + 200)].rstrip(b"\r\n")
        if not line:
            return False
        if _KNOWN.match(line):
            return True
        position = following
    return False


def _after_blank(data: Raw, position: int, end: int) -> int:
    found = [at + len(blank) for blank in (b"\n\r\n", b"\n\n") if (at := data.find(blank, position, end)) >= 0]
    return min(found, default=end)
