"""The files of a mail, written into a folder under numbers, one by one in small pieces.

Its names are for people to read, never for a file system.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ._headers import Raw, read_headers
from ._mail import Attachment
from ._structure import Part
from ._transfer import decoded

MAX_NAME = 200
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]+")
_SEPARATORS = re.compile(r"[/\\]")
_KINDS = {"image", "video", "audio"}


class Files:
    """Writes into one folder; `written` are the files in the order of the mail."""

    def __init__(self, data: Raw, folder: str) -> None:
        self._data, self._folder = data, folder
        self.written: list[Attachment] = []

    def add(self, part: Part) -> None:
        """A part of the mail. One without name and bytes is none."""
        headers = part.headers
        encoding = headers.first("content-transfer-encoding")
        name = self._name(part)
        description = headers.text("content-description")[:300] or None
        content_id = headers.first("content-id").strip().strip("<>").strip()[:300] or None
        pieces = decoded(self._data, part.start, part.end, encoding)
        self._write(pieces, name, part.mime, content_id, description)

    def add_bytes(self, data: bytes, name: str) -> None:
        """A file that stood in a text."""
        self._write(iter([data]), _safe(name), "application/octet-stream", None, None)

    def _write(
        self, pieces: Iterator[bytes], name: str | None, mime: str, content_id: str | None, description: str | None
    ) -> None:
        file, size = str(len(self.written) + 1), 0
        path = os.path.join(self._folder, file)
        with open(path, "wb") as target:
            for piece in pieces:
                size += target.write(piece)
        if not size and not name:
            os.unlink(path)
            return
        kind = mime.partition("/")[0]
        self.written.append(
            Attachment(
                file=file,
                name=name,
                mime=mime,
                size=size,
                kind=kind if kind in _KINDS else "file",
                content_id=content_id,
                description=description,
            )
        )

    def _name(self, part: Part) -> str | None:
        """What the sender called it; a mail in the mail is called by its subject."""
        name = named(part) or _safe(part.headers.text("content-location").rpartition("/")[2])
        if name or part.mime != "message/rfc822":
            return name
        head = b"".join(self._head(part))
        subject = read_headers(head, 0, len(head))[0].text("subject")
        return _safe(_SEPARATORS.sub("_", subject)[: MAX_NAME - 4] + ".eml") if subject else None

    def _head(self, part: Part) -> Iterator[bytes]:
        """The first bytes of a part, decoded."""
        pieces = decoded(self._data, part.start, part.end, part.headers.first("content-transfer-encoding"))
        yield next(pieces, b"")


def named(part: Part) -> str | None:
    """The file name that a part has, without a path."""
    _, parameters = part.headers.disposition()
    return _safe(parameters.get("filename", "")) or _safe(part.parameters.get("name", ""))


def _safe(name: str) -> str | None:
    base = _SEPARATORS.split(_UNSAFE.sub("", name))[-1].strip()
    if len(base) > MAX_NAME:
        stem, dot, extension = base.rpartition(".")
        base = f"{stem[: MAX_NAME - 12]}{dot}{extension[:11]}" if dot else base[:MAX_NAME]
    return base if base.strip(". ") else None
