"""Ids and hashes that follow from what they name, under the deployment's key; nothing is stored or looked up."""

from __future__ import annotations

import base64
import hashlib

from sluiceway_contracts import uuid8

from .errors import ConfigError


class Identity:
    """Makes ids under one key. The key is never changed: with another, everybody would be a stranger."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ConfigError(
                "configuration", "identity.key", "is shorter than 16 bytes; make one: openssl rand -hex 32"
            )
        self._key = hashlib.blake2b(key, digest_size=32).digest()

    @property
    def fingerprint(self) -> str:
        """Tells whether two processes have the same key, and nothing about it."""
        return self._hash("fingerprint")

    def id(self, *names: str) -> str:
        """The UUIDv8 that these names always have."""
        return uuid8(self._key, *names)

    def address_key(self, address: str) -> str:
        """A KV key token for an address URI, that does not tell the address."""
        return self._hash("address", address)

    def external_key(self, account: str, external_id: str) -> str:
        """A KV key token for a provider's id of a message, unique within the account."""
        return self._hash("external", account, external_id)

    def _hash(self, *names: str) -> str:
        data = "\0".join(names).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, digest_size=16, key=self._key).digest()
        return base64.b32encode(digest).decode().rstrip("=").lower()
