"""Files as base64 in lines of 76 characters (RFC 2045, 6.8), chunk by chunk as their bytes come. Opens none."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator

_LINE_BYTES = 57
"""What one line of 76 characters holds."""


def encoded_size(size: int) -> int:
    """How many octets a file of so many has when it is written."""
    return -(-size // 3) * 4 + -(-size // _LINE_BYTES) * 2


def encoded(octets: bytes) -> bytes:
    """Whole lines, each with its line break."""
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


async def encoded_chunks(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same, for bytes that come in chunks of any size."""
    rest = b""
    async for chunk in chunks:
        rest += chunk
        whole = len(rest) // _LINE_BYTES * _LINE_BYTES
        if whole:
            yield encoded(rest[:whole])
            rest = rest[whole:]
    if rest:
        yield encoded(rest)
