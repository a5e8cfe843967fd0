"""The file that a mail goes to while it comes. Reads none of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sluiceway import Unavailable


class Unkept(Unavailable):
    """A mail that came, and can't be written to its file."""


class Sink:
    """The file that one literal goes to, made with the first byte. Beyond `max_bytes` it is read and dropped."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.size = 0
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None

    @property
    def too_large(self) -> bool:
        return self.size > self._max_bytes

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.too_large:
            return
        try:
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(data)
        except OSError as error:
            raise Unkept(f"a mail can't be written to {self.path.parent}: {error.strerror}") from error

    def close(self) -> None:
        """All of it is in the file, or raises `Unkept`."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                raise Unkept(f"a mail can't be written to {self.path.parent}: {error.strerror}") from error

    def discard(self) -> None:
        """As if nothing had come."""
        with suppress(Unkept):
            self.close()
        self.path.unlink(missing_ok=True)
