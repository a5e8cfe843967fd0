"""Twilio's media resource, faked and ill-behaved: files that customers sent. Keeps none; the MessageSid says all.

https://www.twilio.com/docs/messaging/api/media-resource
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from typing import Literal

import aiohttp
from aiohttp import web

from .world import CONNECTION_SID, TOKEN

Manner = Literal["well", "500", "drop", "pause"]
MIME = "image/jpeg"
PATH = f"/2010-04-01/Accounts/{CONNECTION_SID}/Messages/{{sid}}/Media/ME{'0' * 32}"
ONE_IN = 8
LARGE_BYTES = 300_000
"""Several chunks of the object store."""
SMALL_BYTES = 200, 3000
PAUSE_S = 0.5
FORWARDED = b"a picture that many send on"
LOGIN = aiohttp.encode_basic_auth(CONNECTION_SID, TOKEN)
MANNERS: tuple[Manner, ...] = ("500", "drop", "pause", "well", "well")


def has_file(sid: str) -> bool:
    """Whether a message has one."""
    return _number(sid) % ONE_IN == 0


def content(sid: str) -> bytes:
    """Its bytes: one in eight is large, one in eight the same for all."""
    kind, drawn = _number(sid) // ONE_IN % 8, random.Random(sid)
    if kind == 0:
        return FORWARDED
    return drawn.randbytes(LARGE_BYTES if kind == 1 else drawn.randint(*SMALL_BYTES))


def digest(sid: str) -> str:
    """The SHA-256 of its bytes, as references have it."""
    return hashlib.sha256(content(sid)).hexdigest()


def manner(sid: str) -> Manner:
    """How the first one is treated who asks for it."""
    return MANNERS[_number(sid) // ONE_IN % len(MANNERS)]


class Files:
    """Those of one line."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """GET …/Media/{sid}"""
        if request.headers.get("Authorization") != LOGIN:
            return web.Response(status=401)
        sid = request.match_info["sid"]
        first = sid not in self._seen
        self._seen.add(sid)
        how = manner(sid) if first else "well"
        if how == "500":
            return web.Response(status=500, text="Internal Server Error")
        return await _sent(request, content(sid), how)


async def _sent(request: web.Request, body: bytes, how: Manner) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": MIME, "content-length": str(len(body))})
    half = len(body) // 2
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write(body[:half])
        if how == "drop" and request.transport is not None:
            request.transport.abort()
            return response
        await asyncio.sleep(PAUSE_S if how == "pause" else 0)
        await response.write(body[half:])
        await response.write_eof()
    return response


def _number(sid: str) -> int:
    return int(sid.removeprefix("SM"), 16)
