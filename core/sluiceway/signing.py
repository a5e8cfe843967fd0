"""Checks of signatures that providers share; all compare in constant time and say nothing about what was expected."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time

from .errors import Unverified


def hmac_base64(key: bytes, data: bytes, algorithm: str = "sha1") -> str:
    """The HMAC of `data` in standard base64, as providers put it into headers."""
    return base64.b64encode(hmac.digest(key, data, algorithm)).decode()


def hmac_hex(key: bytes, data: bytes, algorithm: str = "sha256") -> str:
    """The HMAC of `data` in lower-case hexadecimal."""
    return hmac.digest(key, data, algorithm).hex()


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check(given: str, expected: str, what: str) -> None:
    """Raise `Unverified` unless both are the same; `what` names the header or field for the log."""
    if not given:
        raise Unverified(f"{what} is missing")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise Unverified(f"{what} does not match")


def check_recent(given: str, what: str, tolerance_s: int = 300) -> None:
    """Raise `Unverified` unless `given` is a Unix time in seconds that is near enough to now."""
    if re.fullmatch("[0-9]{1,12}", given) is None:
        raise Unverified(f"{what} is missing, or no Unix time in seconds")
    if abs(time.time() - int(given)) > tolerance_s:
        raise Unverified(f"{what} is more than {tolerance_s} s from now: a replay, or a clock that is wrong")
