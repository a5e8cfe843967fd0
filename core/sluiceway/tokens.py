"""Reply tokens: signed, short, opaque names of one conversation, for an address, a Message-ID or a link.

Nothing is stored or sent, and no token can be called back: it ends when it expires or when its key goes.

A token is 30 bytes in base32 (RFC 4648, without padding, lower case): 48 characters, so that with 16 more for a name
and a separator it fits a local part (RFC 5321, section 4.5.3.1.1: 64 octets), and it may be read in either case, as
some mail systems fold it. It is a synthetic initialisation vector and a cipher text, put together as in RFC 5297 out
of keyed BLAKE2b (RFC 7693): the first 11 bytes authenticate purpose, tenant, conversation and expiry, and are what the
other 19 are masked with. Purpose and tenant aren't in it, the reader says which it expects. 88 bits can't be guessed
over a network: at a million attempts a second it would take some 10¹³ years.

A purpose is where a token stands. Message-IDs travel on in References, to lists and archives: what was seen there must
neither do as an address to write to nor open a link.

The same conversation, purpose and expiry always have the same token. What must be unique, as a Message-ID must, needs
something beside it: <unique.token@domain>.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

from sluiceway_contracts import utc
from sluiceway_contracts.ids import is_uuid

from .errors import ConfigError
from .gateway import Purpose

Outcome = Literal["valid", "expired", "forged"]

LENGTH = 48
"""Characters of a token."""
_TAG_BYTES = 11
_TOKEN = re.compile(rf"[A-Za-z2-7]{{{LENGTH}}}")
_RUN = re.compile(r"[A-Za-z2-7]{32,}")
"""What `find` looks at: from two thirds of a token on, so that one cut short is counted and hardly a word is. Any
other character ends a run."""
_RUNS = 64
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_HOUR = datetime.timedelta(hours=1)
_HOURS = 1 << 24
"""An expiry is three bytes, hours since 1970: enough until 3883."""


class Admission(NamedTuple):
    """What a valid token admits to: this conversation, until then, and to nothing older."""

    tenant: str
    conversation: str
    expires_at: datetime.datetime


class Reading(NamedTuple):
    """What became of a token, for `metrics.reply_tokens`; there is an admission only where it is valid."""

    outcome: Outcome
    admission: Admission | None = None


class Tokens:
    """Issues and reads tokens. The first key signs; those after it are still read, until their tokens have expired."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`: secrets of 16 bytes or more, such as `[identity] key`; the keys in use are derived from them.

        Raises `ConfigError` for none and for a short one.
        """
        if not keys or min(map(len, keys)) < 16:
            raise ConfigError(
                "configuration", "identity.key", "is shorter than 16 bytes; make one: openssl rand -hex 32"
            )
        self._keys = [hashlib.blake2b(key, digest_size=32, person=b"reply tokens").digest() for key in keys]

    def issue(self, tenant: str, conversation: str, expires_at: datetime.datetime, *, purpose: Purpose) -> str:
        """A token for a conversation, by its UUID; `expires_at` is rounded up to the hour.

        Raises `ValueError` for what is no UUID in canonical form, and for a time without an offset or out of range.
        """
        if not is_uuid(conversation):
            raise ValueError(f"the conversation {conversation!r} is no UUID in lower case")
        hours = -((_EPOCH - utc(expires_at)) // _HOUR)
        if not 0 <= hours < _HOURS:
            raise ValueError(f"the time {expires_at.isoformat()} is out of a token's range, 1970 to 3883")
        plain = bytes.fromhex(conversation.replace("-", "")) + hours.to_bytes(3, "big")
        tag = _tag(self._keys[0], purpose, tenant, plain)
        return base64.b32encode(tag + _masked(self._keys[0], tag, plain)).decode().lower()

    def read(self, text: str, now: datetime.datetime, *, tenant: str, purpose: Purpose) -> Reading:
        """What a text is that should be a token of this tenant's, made for this purpose; no text makes it raise.

        Altered, cut, lengthened, another tenant's, made for something else: all are "forged", nobody can tell which.
        """
        moment = utc(now)
        if _TOKEN.fullmatch(text) is None:
            return Reading("forged")
        data = base64.b32decode(text.upper())
        tag, masked = data[:_TAG_BYTES], data[_TAG_BYTES:]
        for key in self._keys:
            plain = _masked(key, tag, masked)
            if hmac.compare_digest(tag, _tag(key, purpose, tenant, plain)):
                return _reading(tenant, plain, moment)
        return Reading("forged")

    def find(self, text: str, now: datetime.datetime, *, tenant: str, purpose: Purpose) -> Reading | None:
        """The first valid token in a text: in support+token@domain, in <token@domain>, in a URL; in any punctuation.

        Else an expired one, else a forged one, else None, for a text that has nothing like a token in it. It looks at
        no more than 64 candidates. Where the count of forged ones is to mean something, give it only what claims to be
        ours: addresses, Message-IDs and URLs at a domain of ours.
        """
        return _best(self._readings(text, now, tenant, purpose))

    def _readings(self, text: str, now: datetime.datetime, tenant: str, purpose: Purpose) -> Iterator[Reading]:
        for run in islice(_RUN.finditer(text), _RUNS):
            yield self.read(run[0], now, tenant=tenant, purpose=purpose)


def _best(readings: Iterable[Reading]) -> Reading | None:
    best: Reading | None = None
    for reading in readings:
        if reading.outcome == "valid":
            return reading
        if best is None or reading.outcome == "expired":
            best = reading
    return best


def _reading(tenant: str, plain: bytes, now: datetime.datetime) -> Reading:
    expires_at = _EPOCH + int.from_bytes(plain[16:], "big") * _HOUR
    if now >= expires_at:
        return Reading("expired")
    h = plain[:16].hex()
    conversation = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
    return Reading("valid", Admission(tenant, conversation, expires_at))


def _tag(key: bytes, purpose: str, tenant: str, plain: bytes) -> bytes:
    """Authenticates all four; each name is prefixed by its length, so that none can run into the next."""
    names = [name.encode("utf-8", "surrogatepass") for name in (purpose, tenant)]
    data = b"".join([len(name).to_bytes(4, "big") + name for name in names]) + plain
    return hashlib.blake2b(data, digest_size=_TAG_BYTES, key=key, person=b"tag").digest()


def _masked(key: bytes, tag: bytes, data: bytes) -> bytes:
    """`data` under the stream that follows from the tag; twice gives it back."""
    stream = hashlib.blake2b(tag, digest_size=len(data), key=key, person=b"mask").digest()
    return bytes([a ^ b for a, b in zip(data, stream, strict=True)])
