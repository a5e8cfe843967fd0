"""Checks of signatures that providers share; all compare in constant time and say nothing about what was expected."""

from __future__ import annotations

import base64
import hashlib
import hmac

from .errors import Unverified


def hmac_base64(key: bytes, data: bytes, algorithm: str = "sha1") -> str:
    """The HMAC of `data` in standard base64, as providers put it into headers."""
    return base64.b64encode(hmac.digest(key, data, algorithm)).decode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check(given: str, expected: str, what: str) -> None:
    """Raise `Unverified` unless both are the same; `what` names the header or field for the log."""
    if not given:
        raise Unverified(f"{what} is missing")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise Unverified(f"{what} does not match")
