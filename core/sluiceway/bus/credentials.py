"""A NATS .creds file, read at each connect: the user's JWT, and the nonce of the server signed by the user's seed.

nats-py does the same with the package nkeys, which has no wheel and so is in no image. Keeps neither JWT nor seed.
https://docs.nats.io/using-nats/developer/connecting/creds
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

import nats.errors
from nacl.signing import SigningKey

_JWT = re.compile(rb"-+BEGIN NATS USER JWT-+\s+(\S+)")
_SEED = re.compile(rb"-+BEGIN USER NKEY SEED-+\s+(\S+)")


class Credentials:
    """Of one file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def jwt(self) -> bytes:
        """As CONNECT has it. Raises `OSError` or `nats.errors.Error`."""
        return self._find(_JWT, "user's JWT")

    def sign(self, nonce: str) -> bytes:
        """As CONNECT has it. Raises `OSError` or `nats.errors.Error`."""
        found = self._find(_SEED, "user's seed")
        try:
            raw = base64.b32decode(found + b"=" * (-len(found) % 8))
            seed, crc = raw[2:-2], raw[-2:]  # two bytes that say whose, and a checksum at the end
            if not found.startswith(b"SU") or crc != binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little"):
                raise ValueError
            return base64.b64encode(SigningKey(seed).sign(nonce.encode()).signature)
        except ValueError:
            raise nats.errors.Error(f"{self._path} has a user's seed that is none; make the file anew") from None

    def _find(self, what: re.Pattern[bytes], name: str) -> bytes:
        found = what.search(Path(self._path).read_bytes())
        if found is None:
            raise nats.errors.Error(f"{self._path} has no {name}; a .creds file has both, as nsc writes it")
        return found[1]
