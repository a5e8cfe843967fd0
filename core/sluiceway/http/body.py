"""Reading a request's body: whole within a limit, or in chunks as it comes. Answers nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from .inflate import inflate

BODY_TIMEOUT_S = 10
SILENCE_S = 20
LONGEST_S = 600
"""For a body that is handed on in chunks: a pause, and all of it."""


async def whole(raw: web.BaseRequest, limit: int) -> bytes | None:
    """The body, inflated; None where it is larger than `limit` bytes. Raises `TimeoutError` or `Broken`."""
    body = await _bytes(raw, limit)
    return body if body is None else inflate(body, raw.headers.get("content-encoding", ""), limit)


async def chunks(raw: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes, not inflated. Raises `TimeoutError`, or aiohttp's errors where it breaks off."""
    if not raw.body_exists:
        return
    await _continue(raw)
    deadline = asyncio.get_running_loop().time() + LONGEST_S
    while True:
        async with asyncio.timeout(min(SILENCE_S, deadline - asyncio.get_running_loop().time())):
            chunk = await raw.content.readany()
        if not chunk:
            return
        yield chunk


async def _bytes(raw: web.BaseRequest, limit: int) -> bytes | None:
    if not raw.body_exists:
        return b""
    if raw.content_length is not None and raw.content_length > limit:
        return None
    await _continue(raw)
    stream = raw.content
    if stream.is_eof():  # all of it came with the headers: no waiting, no timer
        body = stream.read_nowait(-1)
        return body if len(body) <= limit else None
    parts, size = [], 0
    async with asyncio.timeout(BODY_TIMEOUT_S):
        while chunk := await stream.readany():
            size += len(chunk)
            if size > limit:
                return None
            parts.append(chunk)
    return b"".join(parts)


async def _continue(raw: web.BaseRequest) -> None:
    if raw.headers.get("expect", "").lower() == "100-continue":
        await raw.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
