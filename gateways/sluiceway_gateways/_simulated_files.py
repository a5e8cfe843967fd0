"""The files of simulated providers: what was uploaded, else what a word stands for. It keeps 32, and reads no disk."""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
import struct
import zlib

from msgspec import Struct

from sluiceway import Response

KEPT = 32
MEGABYTE = 1_000_000
NOWHERE = "http://169.254.169.254/"
# ISO/IEC 14496-12: the first box says what it is; the next is room that nobody reads, its length comes before its name
FILM, ROOM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", b"free"
# RFC 3533 and RFC 7845: a page with the header of an Opus stream, and no sound
SOUND = b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead\1\1\0\0\x80\xbb\0\0\0\0\0"
DOCUMENT = (
    b"%PDF-1.4\n1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj\n2 0 obj <</Type /Pages /Kids [] /Count 0>> endobj\n"
)
DOCUMENT += b"trailer <</Root 1 0 R>>\n%%EOF\n"
LOGIN = b"<!doctype html><title>Log in</title><p>Log in to see this picture.</p>"


class SimulatedFile(Struct, frozen=True):
    """A file as the provider serves it; `mime` is what it says of it, true or not."""

    mime: str
    body: bytes


class Files:
    """What one provider keeps. An id, or address, that stands for no upload says what becomes of whoever wants it:

    gone              the provider knows of no such file
    expired           its address answers 404
    throttled         429 every other time, and first of all
    redirect          its address leads to http://169.254.169.254/
    large-<n>         n megabytes of film, up to 999
    liar              an HTML page that is called image/jpeg
    empty             no bytes, called image/jpeg
    <any>.mp4, .ogg or .pdf   the beginning of a film or a sound, a document without pages
    anything else     a PNG of one colour, always the same for this word
    """

    def __init__(self) -> None:
        self._kept: dict[str, SimulatedFile | None] = {}
        self._turned_away: set[str] = set()

    def find(self, word: str) -> SimulatedFile | None:
        """None where the provider knows of no such file."""
        return self._kept[word] if word in self._kept else file(word)

    def throttles(self, word: str) -> bool:
        """Whether to answer 429 this time."""
        if word != "throttled" or word in self._turned_away:
            self._turned_away.discard(word)
            return False
        self._turned_away.add(word)
        return True

    def served(self, word: str) -> Response:
        """What its address answers to a GET."""
        found = self.find(word)
        if found is None or word == "expired":
            return Response(status=404)
        if word == "redirect":
            return Response(status=302, headers={"location": NOWHERE})
        return Response(headers={"content-type": found.mime}, body=found.body)

    def keep(self, file: SimulatedFile) -> str:
        """The id of an upload; of more than 32 the oldest is forgotten."""
        id = str(10**14 + secrets.randbelow(9 * 10**14))
        self._put(id, file)
        return id

    def delete(self, id: str) -> bool:
        """Whether it was there."""
        if self.find(id) is None:
            return False
        self._put(id, None)
        return True

    def _put(self, id: str, file: SimulatedFile | None) -> None:
        self._kept[id] = file
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]


def file(word: str) -> SimulatedFile | None:
    """What a word stands for; None for `gone`."""
    if large := re.fullmatch("large-([0-9]{1,3})", word):
        return SimulatedFile("video/mp4", _film(max(int(large[1]) * MEGABYTE, len(FILM) + 8)))
    if word == "gone":
        return None
    if known := WORDS.get(word) or ENDS.get(word.rpartition(".")[2]):
        return known
    return SimulatedFile("image/png", png(hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:3]))


def png(colour: bytes, side: int = 32) -> bytes:
    """A square of one colour, red, green and blue in a byte each. https://www.w3.org/TR/png-3/"""
    rows = (b"\0" + colour * side) * side
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _film(size: int) -> bytes:
    room = size - len(FILM)
    return FILM + struct.pack(">I", room) + ROOM + bytes(room - 8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", binascii.crc32(name + data))


WORDS = {"liar": SimulatedFile("image/jpeg", LOGIN), "empty": SimulatedFile("image/jpeg", b"")}
ENDS = {
    "mp4": SimulatedFile("video/mp4", _film(1000)),
    "ogg": SimulatedFile("audio/ogg", SOUND),
    "pdf": SimulatedFile("application/pdf", DOCUMENT),
}
