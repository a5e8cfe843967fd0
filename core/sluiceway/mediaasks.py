"""Answers to `ask.media-url` and `ask.media-upload`: addresses for HTTP, of a tenant's own files. Reads no file."""

from __future__ import annotations

import datetime

from sluiceway_contracts import (
    FileRef,
    InvalidRef,
    MediaUpload,
    MediaUploadAnswer,
    MediaUrl,
    MediaUrlAnswer,
    now,
)

from .checks import Refusal
from .filetypes import file_name
from .links import Links
from .media import MediaStore, about

LONGEST_READ_S = 604_800
LONGEST_PUT_S = 86_400


class MediaAsks:
    """For all tenants. Methods raise `Refusal` or `Unavailable`."""

    def __init__(self, store: MediaStore, links: Links) -> None:
        self._store = store
        self._links = links

    async def url(self, tenant: str, question: MediaUrl) -> MediaUrlAnswer:
        """Where a file can be read."""
        until = _until(question.expires_in_s, LONGEST_READ_S)
        try:
            ref = FileRef.parse(question.ref)
        except InvalidRef as error:
            raise Refusal("malformed", str(error)) from error
        stored = await self._store.find(ref) if ref.tenant == tenant else None
        if stored is None:
            raise Refusal("not_found", f"{tenant} has no such file, or no longer")
        name = file_name(question.file_name, stored.mime)
        file = about(tenant, stored)
        return MediaUrlAnswer(url=self._links.read(ref, until, name), expires_at=until, mime=file.mime, size=file.size)

    async def upload(self, tenant: str, question: MediaUpload) -> MediaUploadAnswer:
        """Where files can be put."""
        until = _until(question.expires_in_s, LONGEST_PUT_S)
        return MediaUploadAnswer(url=self._links.put(tenant, until), expires_at=until, max_bytes=self._store.max_bytes)


def _until(seconds: int, most: int) -> datetime.datetime:
    if not 1 <= seconds <= most:
        raise Refusal("malformed", f"expires_in_s is from 1 to {most}")
    return now().replace(microsecond=0) + datetime.timedelta(seconds=seconds)
