"""Identifiers as RFC 9562 UUIDs in canonical lower case; nothing here looks anything up."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_lock = threading.Lock()
_last_tick = 0


def uuid7() -> str:
    """A new UUIDv7: 48 bits of Unix milliseconds, 12 bits of their fraction, 62 random bits.

    Ids made by one process sort in the order in which they were made (RFC 9562, section 6.2, method 3).
    """
    global _last_tick
    ms, rest_ns = divmod(time.time_ns(), 1_000_000)
    with _lock:
        tick = max(ms << 12 | rest_ns * 4096 // 1_000_000, _last_tick + 1)
        _last_tick = tick
    random = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    return _text(tick >> 12 << 80 | 7 << 76 | (tick & 0xFFF) << 64 | 2 << 62 | random)


def uuid8(key: bytes, *names: str) -> str:
    """The UUIDv8 that `names` always have under `key`: BLAKE2b of the names, keyed, each prefixed by its length.

    `key` is at most 64 bytes. The same names in another order, or cut elsewhere, give another id.
    """
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    data = b"".join([len(name).to_bytes(4, "big") + name for name in encoded])
    bits = int.from_bytes(hashlib.blake2b(data, digest_size=16, key=key).digest(), "big")
    return _text(bits & ~(0xF << 76) & ~(3 << 62) | 8 << 76 | 2 << 62)


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID of RFC 9562's variant in canonical lower case, of any version."""
    return _UUID.fullmatch(text) is not None


def _text(bits: int) -> str:
    h = f"{bits:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
