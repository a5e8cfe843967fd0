"""The parts of a mail (RFC 2046): where each begins and ends in the raw bytes, which are neither copied nor decoded.

One pass over the lines that can be delimiters, no recursion: depth and number of parts are capped, and what lies beyond
stays in the last part, as a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ._headers import Headers, Raw, read_headers

MAX_DEPTH = 50
MAX_PARTS = 1000
MAX_DELIMITERS = 200_000
MAX_GUESSED_BYTES = 1 << 18
_GUESSED = re.compile(rb"\n--([^\s][^\r\n]{0,100}?)[ \t]*\r?\nContent-", re.IGNORECASE)


@dataclass
class Part:
    """A part: its header, and the place of its body. `children` is None for what is no multipart."""

    headers: Headers
    mime: str
    parameters: dict[str, str]
    start: int
    end: int
    children: list[Part] | None = None

    @property
    def is_multipart(self) -> bool:
        return self.children is not None


@dataclass
class _Open:
    part: Part
    children: list[Part]
    boundary: bytes
    closed: bool = False
    current: Part | None = None


@dataclass
class Structure:
    """A mail's root part, and what was wrong with its form."""

    root: Part
    defects: list[str] = field(default_factory=list)


def structure(data: Raw, start: int = 0, end: int | None = None) -> Structure:
    """The parts of the mail in these bytes."""
    end = len(data) if end is None else end
    headers, body, defects = read_headers(data, start, end)
    scan = _Scan(data, end, defects)
    root = scan.begin(headers, body, "text/plain")
    if root.is_multipart:
        scan.run(body)
        if not root.children:
            scan.guess(body)
    scan.finish(root)
    return Structure(root, list(dict.fromkeys(defects)))


class _Scan:
    def __init__(self, data: Raw, end: int, defects: list[str]) -> None:
        self.data, self.end, self.defects = data, end, defects
        self.open: list[_Open] = []
        self.boundaries: set[bytes] = set()
        self.parts = 0

    def begin(self, headers: Headers, body: int, default: str) -> Part:
        """A part whose body begins here; a multipart waits for its delimiters."""
        mime, parameters = headers.content_type(default)
        part = Part(headers, mime, parameters, body, self.end)
        self.parts += 1
        if mime.startswith("multipart/"):
            if len(self.open) >= MAX_DEPTH:
                self.defects.append("nested_too_deep")
            else:
                part.children = []
                boundary = parameters.get("boundary", "").encode("utf-8", "replace").rstrip()
                self.open.append(_Open(part, part.children, boundary))
                self.boundaries.add(boundary)
        return part

    def run(self, position: int) -> None:
        """Give each delimiter to the multipart that it belongs to."""
        for count, (at, line, following) in enumerate(self._candidates(position - 1)):
            if count == MAX_DELIMITERS:
                self.defects.append("too_many_parts")
                return
            level, closes = self._match(line) if at >= position else (None, False)
            if level is None:
                continue
            if self.parts >= MAX_PARTS:
                self.defects.append("too_many_parts")
                return
            self._end_children(level, at)
            opened = self.open[level]
            if closes:
                opened.closed = True
                continue
            opened.closed = False
            headers, position, defects = read_headers(self.data, following, self.end)
            self.defects += defects
            default = "message/rfc822" if opened.part.mime == "multipart/digest" else "text/plain"
            part = self.begin(headers, position, default)
            opened.current = part
            opened.children.append(part)

    def _candidates(self, position: int) -> Iterator[tuple[int, bytes, int]]:
        """Lines that begin with two hyphens: where they are, what follows the hyphens, and where the next line is."""
        at = self.data.find(b"\n--", max(position, 0), self.end)
        while at >= 0:
            end = self.data.find(b"\n", at + 3, self.end)
            stop = self.end if end < 0 else end
            yield at + 1, self.data[at + 3 : min(stop, at + 203)].rstrip(), self.end if end < 0 else end + 1
            at = self.data.find(b"\n--", stop, self.end)

    def guess(self, body: int) -> None:
        """Delimiters of a multipart whose boundary is missing or another."""
        found = _GUESSED.search(self.data, max(body - 1, 0), min(self.end, body + MAX_GUESSED_BYTES))
        self.defects.append("boundary_wrong")
        if found:
            self.open = self.open[:1]
            self.open[0].boundary = found[1]
            self.boundaries.add(found[1])
            self.run(body)

    def finish(self, root: Part) -> None:
        """What is left open ends with the mail; a multipart in which no delimiter was found is a text."""
        stack = [root]
        while stack:
            part = stack.pop()
            if part.children == [] and part.is_multipart:
                part.children, part.mime = None, "text/plain"
            stack += part.children or []

    def _match(self, line: bytes) -> tuple[int | None, bool]:
        """Which open multipart a delimiter belongs to, the innermost first, and whether it closes it."""
        for text, closes in ((line, False), (line.removesuffix(b"--"), True), (line.removesuffix(b"-"), True)):
            if not text or text not in self.boundaries:
                continue
            levels = [level for level, opened in enumerate(self.open) if opened.boundary == text]
            if levels:
                unclosed = [level for level in levels if not self.open[level].closed]
                return (unclosed or levels)[-1], closes
        return None, False

    def _end_children(self, level: int, at: int) -> None:
        """What is inside of a multipart ends before this delimiter, and before the line end that belongs to it."""
        before = at - 1 if self.data[at - 1 : at] == b"\n" else at
        before -= self.data[before - 1 : before] == b"\r" if before < at else 0
        for opened in self.open[level:]:
            if opened.current is not None:
                opened.current.end = max(min(opened.current.end, before), opened.current.start)
                opened.current = None
        for opened in self.open[level + 1 :]:
            opened.part.end = max(before, opened.part.start)
        del self.open[level + 1 :]
