"""Compressed bodies, inflated up to a limit and no byte further: a small bomb must not cost a second of CPU time."""

from __future__ import annotations

import zlib

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""What is inflated (RFC 9110, 8.4.1)."""
_NONE = frozenset({"", "identity"})
_EITHER = 32 + zlib.MAX_WBITS  # zlib tells gzip and zlib apart by itself


class Broken(ValueError):
    """The body is not what its content-encoding says, or that is none of ours. `status` is the HTTP status for it."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


def inflate(body: bytes, encoding: str, limit: int) -> bytes | None:
    """The body inflated by its content-encoding; None where it is larger than `limit` bytes. Raises `Broken`."""
    encoding = encoding.strip().lower()
    if encoding in _NONE:
        return body
    if encoding not in ENCODINGS:
        raise Broken("its content-encoding is none of gzip and deflate", 415)
    stream = zlib.decompressobj(_EITHER)
    try:
        whole = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise Broken(str(error)) from error
    if len(whole) > limit:
        return None
    if not stream.eof or stream.unused_data:
        raise Broken("it is cut off, or something follows it")
    return whole
