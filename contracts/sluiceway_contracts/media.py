"""References to stored files, `media:<tenant>/<SHA-256>`: built and read. A tenant's name its own files alone.

Nothing here opens a file: `asks.MediaUrl` has where to read one, `asks.MediaUpload` where to put one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import subjects

SCHEME = "media:"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class InvalidRef(ValueError):
    """A text that is no reference to a file; `text` is what was given."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:120]!r} is no reference to a file: media:<tenant>/<SHA-256 in hexadecimal>")
        self.text = text


class FileRef(NamedTuple):
    """Whose file, and which: the SHA-256 of its bytes, in lower-case hexadecimal."""

    tenant: str
    digest: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.tenant}/{self.digest}"

    @classmethod
    def parse(cls, text: str) -> FileRef:
        """Read a reference. Raises `InvalidRef`."""
        tenant, _, digest = text.removeprefix(SCHEME).partition("/")
        try:
            subjects.name(tenant)
        except subjects.InvalidSubject as error:
            raise InvalidRef(text) from error
        if not text.startswith(SCHEME) or _DIGEST.fullmatch(digest) is None:
            raise InvalidRef(text)
        return cls(tenant, digest)
