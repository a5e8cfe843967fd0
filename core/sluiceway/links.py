"""Addresses under which files are read and put by HTTP: signed, and of use until they expire. Opens and stores nothing.

Whoever has such an address may use it: it is made for one file, or for putting files of one tenant.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
from typing import NamedTuple
from urllib.parse import quote, urlencode

from sluiceway_contracts import FileRef, InvalidRef, now
from sluiceway_contracts.media import SCHEME

from .errors import Unverified
from .wire import Request

START = "/media/"
MAX_NAME = 200
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Reading(NamedTuple):
    """The file that an address leads to, what it is called where it is saved, and until when."""

    ref: FileRef
    name: str
    until: int


class Links:
    """Makes addresses below `base_url`, and knows its own again."""

    def __init__(self, secret: bytes, base_url: str) -> None:
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"media links").digest()
        self._base_url = base_url

    def read(self, ref: FileRef, until: datetime.datetime, name: str = "") -> str:
        """Where to GET a file. `until` counts to the second."""
        name = name.replace("/", "_")[:MAX_NAME]
        path = f"{START}{ref.tenant}/{ref.digest}" + (f"/{quote(name, safe='')}" if name else "")
        return self._signed(path, until, "read", ref.tenant, ref.digest, name)

    def put(self, tenant: str, until: datetime.datetime) -> str:
        """Where to PUT a file of a tenant's."""
        return self._signed(f"{START}{tenant}", until, "put", tenant)

    def reading(self, request: Request) -> Reading:
        """What a request for a file is for. Raises `Unverified`."""
        tenant, _, rest = request.subpath.partition("/")
        digest, _, name = rest.partition("/")
        until = self._check(request, "read", tenant, digest, name)
        try:
            return Reading(FileRef.parse(f"{SCHEME}{tenant}/{digest}"), name, until)
        except InvalidRef as error:
            raise Unverified("the address names no file") from error

    def putting(self, request: Request) -> str:
        """Whose file a request puts. Raises `Unverified`."""
        self._check(request, "put", request.subpath)
        return request.subpath

    def _signed(self, path: str, until: datetime.datetime, *what: str) -> str:
        seconds = str((until - _EPOCH) // datetime.timedelta(seconds=1))
        query = urlencode({"until": seconds, "signature": self._signature(seconds, *what)})
        return f"{self._base_url}{path}?{query}"

    def _check(self, request: Request, *what: str) -> int:
        """When it expires. Raises `Unverified`."""
        until, given = request.query.get("until", ""), request.query.get("signature", "")
        if re.fullmatch("[0-9]{1,11}", until) is None:
            raise Unverified("until is missing, or no time")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._signature(until, *what).encode()):
            raise Unverified("the signature is missing, or does not match")
        if int(until) <= now().timestamp():
            raise Unverified("the address has expired")
        return int(until)

    def _signature(self, *names: str) -> str:
        data = b"".join(
            len(name).to_bytes(4, "big") + name for name in (n.encode("utf-8", "surrogatepass") for n in names)
        )
        return hashlib.blake2b(data, digest_size=16, key=self._key).hexdigest()
