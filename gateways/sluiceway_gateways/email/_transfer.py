"""Content-Transfer-Encodings (RFC 2045, 6) undone in pieces of bounded size; damaged data gives what is left of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from ._headers import Raw

CHUNK_BYTES = 1 << 18
MAX_PADDINGS = 1000
"""In one piece. Where there are more, it is no base64 that anybody wrote."""
_NO_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_PROSE = re.compile(rb"^[ \t]*[^\s]+[ \t]+[^\s][^\r\n]*$", re.MULTILINE)
"""A line with a space in it among base64: what a scanner has added."""
_PADDING = re.compile(rb"=+")
_SOFT = re.compile(rb"=[ \t]+(?=\r?\n)")


def decoded(data: Raw, start: int, end: int, encoding: str) -> Iterator[bytes]:
    """The bytes of a body, in pieces. An encoding that nobody knows is taken to be none."""
    match encoding.strip().rstrip(";").strip().lower().replace(" ", "-"):
        case "base64":
            return _base64(_lines(data, start, end))
        case "quoted-printable":
            return (binascii.a2b_qp(_SOFT.sub(b"=", piece)) for piece in _lines(data, start, end))
        case "x-uuencode" | "x-uue" | "uuencode":
            return uudecoded(data[start:end])
        case _:
            return _pieces(data, start, end)


def _pieces(data: Raw, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, CHUNK_BYTES):
        yield bytes(data[at : min(at + CHUNK_BYTES, end)])


def _lines(data: Raw, start: int, end: int) -> Iterator[bytes]:
    """Pieces that end where a line does."""
    while start < end:
        stop = min(start + CHUNK_BYTES, end)
        line_end = data.rfind(b"\n", start, stop) if stop < end else -1
        stop = line_end + 1 if line_end >= 0 else stop
        yield bytes(data[start:stop])
        start = stop


def _base64(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        lines = _PROSE.sub(b"", piece) if b" " in piece or b"\t" in piece else piece
        letters = rest + lines.translate(None, _NO_BASE64)
        if letters.count(b"=") > MAX_PADDINGS:
            letters = letters.replace(b"=", b"")
        *padded, open_end = _PADDING.split(letters) if b"=" in letters else [letters]
        for run in padded:
            yield _quads(run)
        whole = len(open_end) // 4 * 4
        yield base64.b64decode(open_end[:whole])
        rest = open_end[whole:]
    yield _quads(rest)


def _quads(run: bytes) -> bytes:
    """What a run of base64 without padding holds; a single letter at its end holds no byte."""
    run = run[:-1] if len(run) % 4 == 1 else run
    return base64.b64decode(run + b"=" * (-len(run) % 4))


def uudecoded(data: bytes) -> Iterator[bytes]:
    """The bytes between `begin` and `end`."""
    _, _, body = data.partition(b"begin ")
    for line in body.partition(b"\n")[2].splitlines():
        if line.strip() == b"end":
            return
        try:
            yield binascii.a2b_uu(line)
        except binascii.Error:
            length = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                yield binascii.a2b_uu(line[:length])
            except binascii.Error:
                continue
