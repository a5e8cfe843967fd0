"""Twilio's message resource, faked and ill-behaved: it writes down every body it was asked to send. Sends nothing.

Where it leaves open whether it took a message, it counts as taken: asked for the same body again, it is sent twice.
https://www.twilio.com/docs/messaging/api/message-resource
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal, NamedTuple

from aiohttp import web

from .files import PATH, Files

Manner = Literal["well", "429", "500", "garbage", "nothing", "drip", "drop"]
RETRY_AFTER_S = 2
HELD_S = 30
DRIP_S = 0.5
IN_FLIGHT_S = 1.0
"""What left before the 429 was known, its intent still being written to NATS, comes within this, or later on a slow
machine, but is one request to a recipient."""
SLACK_S = 0.05
ONE_IN = {"429": 10}
LATENCY_S = 0.005, 0.08
SLOW = ("nothing", "drip")
_numbers = itertools.count(1)


class Asked(NamedTuple):
    """One request: for whom, which words, when it was read, and whether the message counts as taken."""

    to: str
    body: str
    at: float
    taken: bool


class Provider:
    """One line's provider. Some messages get the ill manner, each the first time it is asked for.

    What takes long is done to each recipient once. `on_taken` is told words and id of what was answered with 201.
    Customers' files are to be had here too.
    """

    def __init__(self, manner: Manner = "well") -> None:
        self.asked: list[Asked] = []
        self.ambiguous: set[str] = set()
        self.early: list[float] = []
        self.slow_s = 0.0
        self.on_taken: Callable[[str, str, str], None] = _nobody
        self.url = ""
        self._files = Files()
        self._manner = manner
        self._one_in = ONE_IN.get(manner, 4)
        self._seen: set[str] = set()
        self._bored: set[str] = set()
        self._closed_from = self._closed_until = 0.0
        self._since: set[str] = set()
        self._stopping = asyncio.Event()

    @property
    def taken(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.taken]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """POST …/Messages.json"""
        began = time.monotonic()
        form = await request.post()
        body, to = str(form["Body"]), str(form["To"])
        manner = self._manner if self._turn(body, to) else "well"
        self.note_early(to, began)
        self.asked.append(Asked(to, body, began, manner != "429"))
        if manner not in ("well", "429"):
            self.ambiguous.add(body)
        return await self._well(to, body) if manner == "well" else await self._ill(request, to, manner)

    async def _well(self, to: str, body: str) -> web.Response:
        await self._hold(self.slow_s or random.uniform(*LATENCY_S))
        sid = f"SM{next(_numbers):032x}"
        self.on_taken(to, body, sid)
        return web.json_response({"sid": sid, "num_segments": "1", "status": "queued"}, status=201)

    async def _ill(self, request: web.Request, to: str, manner: Manner) -> web.StreamResponse:
        match manner:
            case "429":
                self.close(to, time.monotonic())
                problem = {"code": 20429, "message": "Too Many Requests", "status": 429}
                return web.json_response(problem, status=429, headers={"Retry-After": str(RETRY_AFTER_S)})
            case "500":
                return web.Response(status=500, text="Internal Server Error")
            case "garbage":
                return web.Response(status=201, body=b"\xff\x00<html>{", content_type="application/json")
            case "nothing":
                await self._hold(HELD_S)
                return web.Response(status=504)
            case "drip":
                return await self._drip(request)
            case _:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=500)

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201, headers={"content-type": "application/json"})
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            for byte in b'{"sid": "SM' + b"0" * 200:
                await response.write(bytes([byte]))
                await self._hold(DRIP_S)
        return response

    async def _hold(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _turn(self, body: str, to: str) -> bool:
        """Whether it is this message's turn to be treated badly."""
        first = body not in self._seen
        self._seen.add(body)
        if self._manner in SLOW:
            first = first and to not in self._bored
            self._bored.add(to)
            return first
        return first and len(self._seen) % self._one_in == 0

    def close(self, to: str, now: float) -> None:
        """From now on nobody is to ask, least of all for this recipient."""
        self._since = (self._since if now < self._closed_until else set()) | {to}
        self._closed_from, self._closed_until = now, now + RETRY_AFTER_S

    def note_early(self, to: str, now: float) -> None:
        """Note a request that should not have been made."""
        if now >= self._closed_until - SLACK_S:
            return
        if to in self._since and now > self._closed_from + IN_FLIGHT_S:
            self.early.append(now - self._closed_from)
        self._since.add(to)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Provider]:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.router.add_post("/2010-04-01/Accounts/{sid}/Messages.json", self.answer)
        app.router.add_get(PATH, self._files.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            self._stopping.set()
            await runner.cleanup()


def _nobody(to: str, body: str, sid: str) -> None:
    """Nobody wants receipts."""
