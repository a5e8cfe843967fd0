"""An HTTP server for values: it reads a request within limits, hands it on, writes the response. Verifies nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import structlog
from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from msgspec import Struct

from .. import metrics
from ..errors import SluicewayError
from ..wire import Request, Response
from . import peers
from .body import chunks, whole
from .inflate import Broken

log = structlog.get_logger(__name__)

SHUTDOWN_S = 2
"""aiohttp waits up to twice as long for what is in flight."""
IDLE_TIMEOUT_S = 75
"""A connection is closed when no request has come in whole headers for so long, however they trickle."""
FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
MAX_STREAMED, SILENCE_S, LONGEST_S = 64, 20, 3600
"""Bodies in chunks: how many at once, how long one may stand still, and take."""
MAX_LINE_BYTES = 8190
MAX_HEADERS_BYTES = 16_380


class Streamed(Struct, frozen=True):
    """A response whose body comes in chunks, `size` bytes altogether; what `response` has for a body is not sent."""

    response: Response
    size: int
    chunks: AsyncIterator[bytes]


class Route(Protocol):
    """One place that takes requests: which methods, how large, and what answers."""

    @property
    def methods(self) -> frozenset[str]: ...

    @property
    def max_body_bytes(self) -> int: ...

    async def answer(self, request: Request) -> Response | Streamed:
        """Never raises."""


@runtime_checkable
class Taker(Protocol):
    """A route that is handed what is PUT there as it comes, however large."""

    async def take(self, request: Request, chunks: AsyncIterator[bytes]) -> Response:
        """Raises what `chunks` raises, and nothing else."""


Find = Callable[[str], tuple[Route, str] | None]
"""From a path to its route and the sub-path below it; None for a path that nobody serves."""


class Server:
    """Listens on one address. `base_url` is how the other side wrote it, for signatures over the URL.

    Whoever connects while `max_connections` are open is answered 503 and cut off. `trusted_proxies`, addresses or
    networks, are believed when they say from whom a request is.
    """

    def __init__(
        self,
        listen: str,
        find: Find,
        base_url: str = "",
        max_connections: int = 4096,
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        self.listen = listen
        self._find = find
        self._base_url = base_url.rstrip("/")
        self._max_connections = max_connections
        self._trusted = peers.networks(trusted_proxies)
        self._runner: web.ServerRunner | None = None
        self._streaming = 0

    async def start(self) -> None:
        """Listen. Raises `OSError` where the address is taken."""
        host, _, port = self.listen.rpartition(":")
        server = _Limited(
            self._max_connections,
            self._handle,
            request_factory=_request_factory,
            access_log=None,
            auto_decompress=False,  # aiohttp would go on inflating what is refused already
            keepalive_timeout=IDLE_TIMEOUT_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADERS_BYTES,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host.strip("[]"), int(port), backlog=1024, reuse_address=True)
        await site.start()
        bound = self._runner.addresses[0]
        self.listen = f"{host}:{bound[1]}"
        self._base_url = self._base_url or f"http://{self.listen}"

    async def stop(self) -> None:
        """Stop accepting, let what is in flight finish, close."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(raw)
        except (web.RequestPayloadError, ConnectionError):  # broken chunks, or nobody there any more
            return _refused(400, "the request broke off")
        except Exception:
            log.exception("http.broken")
            return _refused(500, "the log says where it broke")

    async def _answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        found = self._find(raw.path)
        if found is None:
            return _refused(404, "a path that nothing serves", close=False)
        route, subpath = found
        if raw.method not in route.methods:
            refused = _refused(405, f"{_route(raw)} takes {', '.join(sorted(route.methods))}", close=False)
            refused.headers["allow"] = ", ".join(sorted(route.methods))
            return refused
        if raw.method == "PUT" and isinstance(route, Taker):
            return await self._take(raw, route, subpath)
        return await self._give(raw, route, subpath)

    async def _give(self, raw: web.BaseRequest, route: Route, subpath: str) -> web.StreamResponse:
        """A body that is handed over whole."""
        try:
            body = await whole(raw, route.max_body_bytes)
        except TimeoutError:
            return _refused(408, f"the body for {_route(raw)} did not come in time")
        except Broken as error:
            return _refused(error.status, f"the body for {_route(raw)} can't be inflated: {error}")
        if body is None:
            return _refused(413, f"the body for {_route(raw)} is larger than {route.max_body_bytes} bytes")
        response = await route.answer(self._request(raw, subpath, body))
        if isinstance(response, Streamed):
            return await self._stream(raw, response)
        return web.Response(status=response.status, headers=response.headers, body=response.body)

    async def _stream(self, raw: web.BaseRequest, streamed: Streamed) -> web.StreamResponse:
        """A body in chunks, for so many at once: who reads slowly must not keep others out."""
        if self._streaming >= MAX_STREAMED:
            return _refused(503, f"{MAX_STREAMED} bodies are being sent")
        self._streaming += 1
        try:
            return await _send(raw, streamed)
        finally:
            self._streaming -= 1

    async def _take(self, raw: web.BaseRequest, route: Taker, subpath: str) -> web.StreamResponse:
        """A body that is handed on as it comes."""
        try:
            response = await route.take(self._request(raw, subpath, b""), chunks(raw))
        except TimeoutError:
            return _refused(408, f"the body for {_route(raw)} did not come in time")
        answer = web.Response(status=response.status, headers=response.headers, body=response.body)
        if not raw.content.is_eof():  # nobody wants the rest
            answer.force_close()
        return answer

    def _request(self, raw: web.BaseRequest, subpath: str, body: bytes) -> Request:
        return Request(
            method=raw.method,
            url=self._base_url + raw.raw_path,
            headers=_headers(raw),
            body=body,
            subpath=subpath,
            client=self._client(raw),
        )

    def _client(self, raw: web.BaseRequest) -> str:
        peer = raw.remote or ""
        return peers.client(peer, raw.headers.getall("x-forwarded-for", ()), self._trusted) if self._trusted else peer


class _Limited(web.Server):
    """aiohttp's server, for so many connections at once."""

    def __init__(self, limit: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit = limit

    def __call__(self) -> RequestHandler:
        if len(self._connections) < self._limit:
            return super().__call__()
        metrics.count(metrics.http_refused, "503").inc()
        log.warning("http.refused", status=503, why=f"{self._limit} connections are open")
        return _TurnedAway(self, loop=asyncio.get_running_loop())


class _TurnedAway(RequestHandler):
    """A connection too many: answered before it has asked, and closed. aiohttp never hears of it."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # TCP's is one
        transport.write(FULL)
        transport.close()

    def data_received(self, data: bytes) -> None:
        pass

    def connection_lost(self, exc: BaseException | None) -> None:
        pass


def _route(raw: web.BaseRequest) -> str:
    """For the log: what follows may be a file's name."""
    return "/".join(raw.path.split("/", 3)[:3])[:80]


async def _send(raw: web.BaseRequest, streamed: Streamed) -> web.StreamResponse:
    """Once begun, a body that breaks off ends the connection: whoever reads it must not take it for the whole."""
    answer = web.StreamResponse(status=streamed.response.status, headers=streamed.response.headers)
    answer.content_length = streamed.size
    await answer.prepare(raw)
    if raw.method != "HEAD":
        try:
            async with asyncio.timeout(LONGEST_S):
                async for chunk in streamed.chunks:
                    async with asyncio.timeout(SILENCE_S):
                        await answer.write(chunk)
        except (ConnectionError, TimeoutError, SluicewayError) as error:
            log.warning("http.broken_off", route=_route(raw), why=type(error).__name__)
            if raw.transport is not None:
                raw.transport.abort()
            return answer
    await answer.write_eof()
    return answer


def _headers(raw: web.BaseRequest) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _refused(status: int, why: str, *, close: bool = True) -> web.Response:
    metrics.count(metrics.http_refused, str(status)).inc()
    log.warning("http.refused", status=status, why=why)
    response = web.Response(status=status)
    if close:
        response.force_close()
    return response


def _request_factory(
    message: RawRequestMessage, payload: StreamReader, protocol: RequestHandler, writer: Any, task: Any
) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


class Page:
    """A route for GET that answers with what a function returns."""

    methods = frozenset({"GET", "HEAD"})
    max_body_bytes = 0

    def __init__(self, render: Callable[[], Response]) -> None:
        self._render = render

    async def answer(self, request: Request) -> Response:
        return self._render()


def paths(routes: dict[str, Route]) -> Find:
    """Routes by their exact path."""
    return lambda path: (routes[path], "") if path in routes else None


def either(one: Find, other: Find) -> Find:
    """The route of the first that has one for a path."""
    return lambda path: one(path) or other(path)
