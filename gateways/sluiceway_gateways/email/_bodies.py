"""Which parts of a mail are its words and which are its files: RFC 2046, and what clients make of it.

What has a file name is a file, and so is what is neither plain text nor HTML. Of alternatives the first plain text and
the last HTML are read; a mail in the mail is a file, and is not looked into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import _flowed, _html
from ._charsets import decode
from ._files import Files, named
from ._headers import Raw
from ._structure import Part
from ._transfer import decoded
from ._uuencoded import extracted

MAX_TEXT_BYTES = 1 << 20
"""So many bytes of each text are read, and of all texts together; the raw mail has the rest."""
_ELSEWHERE = {"text/enriched", "text/richtext", "text/x-amp-html", "text/watch-html"}
"""Of alternatives, what says in another form what plain text or HTML says."""
_CHARSET_IN_HTML = 2048
_META = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


@dataclass
class Segment:
    """A stretch of the mail's words: plain, HTML, or both for the same words."""

    plain: str | None = None
    html: str | None = None


@dataclass
class Bodies:
    """Reads the words of a mail's parts, and hands its files to `files`."""

    data: Raw
    files: Files
    defects: list[str] = field(default_factory=list)
    left: int = MAX_TEXT_BYTES

    def read(self, part: Part, *, alternative: bool = False) -> list[Segment]:
        """The words of a part, in order."""
        match part.mime:
            case _ if not part.is_multipart:
                return self._leaf(part, alternative=alternative)
            case "multipart/alternative":
                return self._alternative(part)
            case "multipart/encrypted":
                for child in part.children or []:
                    self.files.add(child)
                return []
            case _:
                return [segment for child in part.children or [] for segment in self.read(child)]

    def _alternative(self, part: Part) -> list[Segment]:
        readings = [self.read(child, alternative=True) for child in part.children or []]
        plain = next((text for reading in readings if (text := joined_plain(reading))), None)
        page = next((text for reading in reversed(readings) if (text := joined_html(reading))), None)
        return [Segment(plain, page)] if plain is not None or page is not None else []

    def _leaf(self, part: Part, *, alternative: bool) -> list[Segment]:
        disposition, _ = part.headers.disposition()
        if alternative and part.mime in _ELSEWHERE:
            return []
        if part.mime not in {"text/plain", "text/html"} or disposition == "attachment" or named(part):
            self.files.add(part)
            return []
        raw = self._bytes(part)
        if part.mime == "text/html":
            source = self._text(raw, part.parameters.get("charset") or _charset_in(raw))
            bounded = _html.bounded(source)
            if len(bounded) < len(source):
                self.defects.append("html_cut")
            return [Segment(html=_html.cleaned(bounded))] if bounded.strip() else []
        text = self._text(raw, part.parameters.get("charset", ""))
        if part.parameters.get("format", "").lower() == "flowed":
            text = _flowed.unflowed(text, delsp=part.parameters.get("delsp", "").lower() == "yes")
        text, encoded = extracted(text)
        for file in encoded:
            self.files.add_bytes(file.data, file.name)
        return [Segment(plain=text)] if text.strip() else []

    def _bytes(self, part: Part) -> bytes:
        pieces, size = list[bytes](), 0
        for piece in decoded(self.data, part.start, part.end, part.headers.first("content-transfer-encoding")):
            if size + len(piece) > self.left:
                self.defects.append("text_cut")
                pieces.append(piece[: self.left - size])
                size = self.left
                break
            pieces.append(piece)
            size += len(piece)
        self.left -= size
        return b"".join(pieces)

    def _text(self, raw: bytes, charset: str) -> str:
        text, defect = decode(raw, charset)
        if defect:
            self.defects.append(defect)
        return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def joined_plain(segments: list[Segment]) -> str | None:
    """The plain texts, where there are any."""
    texts = [segment.plain.strip("\n") for segment in segments if segment.plain]
    return "\n\n".join(texts) or None


def joined_html(segments: list[Segment]) -> str | None:
    """The HTML of all segments, if one of them has any."""
    if not any(segment.html for segment in segments):
        return None
    return "\n".join(segment.html or _html.from_text((segment.plain or "").strip("\n")) for segment in segments)


def _charset_in(raw: bytes) -> str:
    """What a page says of itself: https://html.spec.whatwg.org/multipage/parsing.html#determining-the-character-encoding"""
    found = _META.search(raw, 0, _CHARSET_IN_HTML)
    return found[1].decode("ascii") if found else ""
