"""The spool's files: each is written whole or not at all, and survives a power cut once `write` has returned.

Everything here blocks and belongs into a thread. Knows nothing of what the files say.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

BAD = "bad"
_NAME = re.compile(r"[0-9]+\.ndjson")


class Rounds:
    """A folder of numbered files, that one process at a time may use. Methods raise `OSError`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def open(self) -> list[str]:
        """Make the folder ours and name its files, the oldest first; what was never finished is removed.

        Raises `BlockingIOError` where another process has it.
        """
        (self._folder / BAD).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            if sys.platform != "win32":
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for unfinished in self._folder.glob("*.tmp"):
                unfinished.unlink()
            self.write("0.ndjson", b"")  # that it can be written is to be known now, not when NATS is away
            self.remove("0.ndjson")
        except OSError:
            self.close()
            raise
        return sorted((path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name)), key=number)

    def close(self) -> None:
        """Leave the folder to others."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, name: str, data: bytes) -> None:
        """Return when the file is on disk under its name; where that fails, there is none."""
        path, temporary = self._folder / name, self._folder / f"{name}.tmp"
        try:
            _write(temporary, data, os.O_TRUNC)
            temporary.rename(path)
            os.fsync(self._descriptor)
        except OSError:
            for left in (temporary, path):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def remove(self, name: str) -> None:
        """It need not be gone for good: a file that comes back after a power cut is stored twice as one event."""
        (self._folder / name).unlink(missing_ok=True)

    def set_aside(self, name: str, line: bytes | None) -> None:
        """Keep one line of a file for people to look at, or all of it, where it can't even be read."""
        if line is None:
            (self._folder / name).rename(self._folder / BAD / name)
        else:
            _write(self._folder / BAD / name, line + b"\n", os.O_APPEND)


def number(name: str) -> int:
    return int(name.partition(".")[0])


def _write(path: Path, data: bytes, how: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
