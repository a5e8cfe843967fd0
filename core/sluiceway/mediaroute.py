"""The path /media/: a tenant's files by HTTP, out by signed links and in by signed addresses. Signs nothing itself.

What customers sent is handed out so that no browser runs it: pictures, sound and film are shown, all else is saved.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import quote

import structlog

from sluiceway_contracts import now

from .bus.objects import Stored
from .errors import Malformed, MediaError, SluicewayError, Unavailable, Unverified
from .filetypes import file_name
from .http.server import Route, Streamed
from .links import START, Links, Reading
from .media import MediaStore
from .wire import Request, Response

log = structlog.get_logger(__name__)

SHOWN = ("image/", "audio/", "video/")
ACTIVE = frozenset({"image/svg+xml"})
STATUS = {"media_too_large": 413, "media_empty": 400, "store_full": 507}
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# Whoever has the address may use it, from any page: it is the address that is secret
_OPEN = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
_PREFLIGHT = {
    **_OPEN,
    "access-control-allow-methods": "GET, HEAD, PUT",
    "access-control-allow-headers": "content-type, range",
    "access-control-max-age": "86400",
}


class Span(NamedTuple):
    """The bytes that are wanted, from `start` to before `stop`."""

    start: int
    stop: int


class MediaRoute:
    """The files of all tenants whose buckets this process may read."""

    methods = frozenset({"GET", "HEAD", "OPTIONS", "PUT"})
    max_body_bytes = 0

    def __init__(self, links: Links) -> None:
        """`store` is there once NATS was reached."""
        self.store: MediaStore | None = None
        self._links = links

    def find(self, path: str) -> tuple[Route, str] | None:
        """This route, and what follows in the path; None for another's path."""
        return (self, path.removeprefix(START)) if path.startswith(START) else None

    async def answer(self, request: Request) -> Response | Streamed:
        """A file, or a part of it (RFC 9110, 14)."""
        if request.method == "OPTIONS":
            return Response(status=204, headers=_PREFLIGHT)
        try:
            reading = self._links.reading(request)
            stored = await self._store().find(reading.ref)
        except SluicewayError as error:
            return _refused(error)
        if stored is None:
            return Response(status=404, headers=_OPEN, body=b"there is no such file, or no longer\n")
        etag = f'"{stored.name}"'
        headers = _headers(stored, reading) | {"etag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status=304, headers=headers)
        wanted = None if "if-range" in request.headers else _span(request.headers.get("range", ""), stored.size)
        if wanted is not None and wanted.start >= wanted.stop:
            return Response(status=416, headers={**_OPEN, "content-range": f"bytes */{stored.size}"})
        span = wanted or Span(0, stored.size)
        part = {"content-range": f"bytes {span.start}-{span.stop - 1}/{stored.size}"} if wanted else {}
        response = Response(status=206 if wanted else 200, headers=headers | part)
        chunks = self._store().read(reading.ref.tenant, stored, span.start, span.stop)
        return Streamed(response, span.stop - span.start, chunks)

    async def take(self, request: Request, chunks: AsyncIterator[bytes]) -> Response:
        """Keep a file that is to be sent; its `StoredFile` is the answer."""
        try:
            tenant, store = self._links.putting(request), self._store()
            if request.headers.get("content-encoding", "identity") != "identity":
                return Response(status=415, headers=_OPEN, body=b"put the file as it is, without content-encoding\n")
            if int(request.headers.get("content-length", "0")) > store.max_bytes:
                raise MediaError("media_too_large", f"a file may have {store.max_bytes} bytes")
            file = await store.keep(tenant, chunks, request.content_type)
        except SluicewayError as error:
            return _refused(error)
        log.info("media.put", tenant=tenant, size=file.size, mime=file.mime)
        answer = Response.of_json(file, 201)
        return Response(status=answer.status, headers={**_OPEN, **answer.headers}, body=answer.body)

    def _store(self) -> MediaStore:
        if self.store is None:
            raise Unavailable("NATS was not reached yet")
        return self.store


def _refused(error: SluicewayError) -> Response:
    match error:
        case Unverified():
            status, why = 403, str(error)
        case Malformed():
            status, why = 400, str(error)
        case MediaError(code=code):
            status, why = STATUS.get(code, 502), str(error)
        case _:
            status, why = 503, "it can't be done now; try again"
    log.warning("media.refused", status=status, why=str(error))
    later = {"retry-after": "5"} if status == 503 else {}
    return Response(status=status, headers={**_OPEN, **later}, body=f"{why}\n".encode())


def _headers(stored: Stored, reading: Reading) -> dict[str, str]:
    shown = stored.mime.startswith(SHOWN) and stored.mime not in ACTIVE
    name = quote(file_name(reading.name, stored.mime), safe="")
    return {
        **_OPEN,
        "content-type": stored.mime,
        "content-disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{name}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "referrer-policy": "no-referrer",
        "accept-ranges": "bytes",
        "cache-control": f"private, max-age={max(0, reading.until - int(now().timestamp()))}, immutable",
    }


def _span(header: str, size: int) -> Span | None:
    """The one range that is asked for; None for none, several, or what is no range: then all is the answer."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return Span(max(0, size - int(last)), size) if int(last) else Span(0, 0)
    stop = min(int(last) + 1, size) if last else size
    return Span(int(first), stop) if not last or int(last) >= int(first) else None
