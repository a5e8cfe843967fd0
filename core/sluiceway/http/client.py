"""The client that plays flows: it makes a gateway's requests and tells a lost request from a lost answer.

Requests marked repeatable are made again here; for all others the flow is told, and a message that may have been sent
is never sent again. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import io
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, TypeVar

import aiohttp

from ..driver import Answering
from ..errors import Ambiguous, Rejected, SendError, Throttled, Unavailable, Unreachable
from ..gateway import Ask, Consulting, Files, Flow
from ..wire import File, Request, Response
from .egress import Way

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 20
IDLE_S = 2.0
"""A connection idle for longer is not used again: its close may cross the request and look like a lost answer."""
MAX_BODY_BYTES = 1 << 20
STREAMED_BYTES = 1 << 18
ONE_WRITE_BYTES = 1 << 15
"""aiohttp writes headers and a body of up to so many bytes at once, and waits for nothing in between."""
LONGEST_WAIT_S = 86_400
REPEATS_S = (0.2, 1.0)
TIMEOUT = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
LOGIN_WANTED = "the proxy wants a login; look at egress.proxy_user and egress.proxy_password"
SLOWEST_BYTES_S = 100_000
"""A file may take as long as this speed needs."""


class Client:
    """One pool of connections to providers, by their `way`. Without `files`, a request that names one is refused."""

    def __init__(self, files: Files | None = None, way: Way | None = None) -> None:
        self._files = files
        self._way = way or Way()
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_headers_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=256, keepalive_timeout=IDLE_S, ssl=self._way.tls),
            trace_configs=[trace],
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            headers={"user-agent": "sluiceway"},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def play(self, flow: Flow[T] | Consulting[T], ask: Answering | None = None) -> T:
        """Make the requests of a flow and return its result. Raises what the flow raises, a `SendError` mostly."""
        answer: Any = None
        try:
            while True:
                wanted = flow.throw(answer) if isinstance(answer, SendError | Unavailable) else flow.send(answer)
                try:
                    answer = await (self.exchange(wanted) if isinstance(wanted, Request) else _asked(ask, wanted))
                except (SendError, Unavailable) as error:
                    answer = error
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def exchange(self, request: Request) -> Response:
        """Make one request; a repeatable one again where that may help. Raises a `SendError`."""
        for pause_s in REPEATS_S if request.repeatable else ():
            try:
                return await self._once(request)
            except (Unreachable, Ambiguous):
                await asyncio.sleep(pause_s)
        return await self._once(request)

    async def _once(self, request: Request) -> Response:
        written = SimpleNamespace(headers=False)
        length, timeout = _of_pieces(request) if request.pieces else ({}, TIMEOUT)
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers={**request.headers, **length},
                data=await self._payload(request),
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=written,
                **self._way.options(request.url),
            ) as answer:
                body = await _read(answer)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = _why(error)
            if written.headers and not (_was_closed(error, request.body) and not request.pieces):
                raise Ambiguous(f"the request was written, then: {why}") from error
            raise Unreachable(f"nothing was written: {why}") from error
        if status == 407:
            raise Unreachable(f"nothing was taken: {LOGIN_WANTED}")
        if status == 429:
            raise Throttled("the provider wants fewer requests", retry_after_s(headers.get("retry-after")))
        return Response(status=status, headers=headers, body=body)

    async def _payload(self, request: Request) -> bytes | io.BytesIO | AsyncIterator[bytes] | None:
        if not request.pieces:
            return io.BytesIO(request.body) if len(request.body) > STREAMED_BYTES else request.body or None
        if self._files is None:
            raise Rejected("there are no files here to send")
        files = self._files
        opened = [_exact(await files.open(p.ref), p.size) if isinstance(p, File) else p for p in request.pieces]
        return _chain(opened)


async def _asked(ask: Answering | None, question: Ask) -> Any:
    if ask is None:
        raise Unavailable("there is nobody here to ask")
    return await ask(question)


async def _chain(pieces: list[bytes | AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            async for chunk in piece:
                yield chunk


async def _exact(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes; ends the request where they are not as many as it says, instead of waiting for more."""
    async for chunk in chunks:
        size -= len(chunk)
        yield chunk
    if size:
        raise ConnectionError("the file has another size than was said")


def _of_pieces(request: Request) -> tuple[dict[str, str], aiohttp.ClientTimeout]:
    """How long the body is, and how long it may take."""
    size = sum(piece.size if isinstance(piece, File) else len(piece) for piece in request.pieces)
    total = ANSWER_TIMEOUT_S + size / SLOWEST_BYTES_S
    return {"content-length": str(size)}, aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_TIMEOUT_S)


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return LOGIN_WANTED if error.status == 407 else f"the proxy refuses, with HTTP status {error.status}"
    return type(error).__name__


def _was_closed(error: Exception, body: bytes) -> bool:
    """Whether aiohttp found the pooled connection closed when it began to write: then nothing of it went out."""
    cause = error.__cause__ or error
    found = isinstance(cause, aiohttp.ClientConnectionResetError) and "closing transport" in str(cause)
    return found and len(body) <= ONE_WRITE_BYTES


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while chunk := await answer.content.readany():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("the answer is too large")
    return bytes(body)


def retry_after_s(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3); None where none can be meant."""
    if value is None:
        return None
    try:
        if value.strip().isdecimal():
            seconds = float(value)
        else:
            moment = email.utils.parsedate_to_datetime(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if seconds <= LONGEST_WAIT_S else None


async def _headers_sent(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.headers = True
