"""An HTTP server for values: it reads a request within limits, hands it on, writes the response. Verifies nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from ..wire import Request, Response

log = structlog.get_logger(__name__)

BODY_TIMEOUT_S = 10
IDLE_TIMEOUT_S = 75
"""A connection is closed when no request has come in whole headers for so long, however they trickle."""
MAX_LINE_BYTES = 8190
MAX_HEADERS_BYTES = 16_380


class Route(Protocol):
    """One place that takes requests: which methods, how large, and what answers."""

    @property
    def methods(self) -> frozenset[str]: ...

    @property
    def max_body_bytes(self) -> int: ...

    async def answer(self, request: Request) -> Response:
        """Never raises."""


Find = Callable[[str], tuple[Route, str] | None]
"""From a path to its route and the sub-path below it; None for a path that nobody serves."""


class Server:
    """Listens on one address. `base_url` is how the other side wrote it, for signatures over the URL."""

    def __init__(self, listen: str, find: Find, base_url: str = "") -> None:
        self.listen = listen
        self._find = find
        self._base_url = base_url.rstrip("/")
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError` where the address is taken."""
        host, _, port = self.listen.rpartition(":")
        server = web.Server(
            self._handle,
            request_factory=_request_factory,
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADERS_BYTES,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=8)
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
            return _refused(400)
        except Exception:
            log.exception("http.broken")
            return _refused(500)

    async def _answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        found = self._find(raw.path)
        if found is None:
            return web.Response(status=404, text="no such hook\n")
        route, subpath = found
        if raw.method not in route.methods:
            return web.Response(status=405, headers={"allow": ", ".join(sorted(route.methods))})
        try:
            body = await self._body(raw, route.max_body_bytes)
        except TimeoutError:
            return _refused(408)
        if body is None:
            return _refused(413)
        request = Request(
            method=raw.method,
            url=self._base_url + raw.raw_path,
            headers=_headers(raw),
            body=body,
            subpath=subpath,
        )
        response = await route.answer(request)
        return web.Response(status=response.status, headers=response.headers, body=response.body)

    async def _body(self, raw: web.BaseRequest, limit: int) -> bytes | None:
        """The body; None where it is larger than `limit` bytes."""
        if not raw.body_exists:
            return b""
        if raw.content_length is not None and raw.content_length > limit:
            return None
        stream = raw.content
        if stream.is_eof():  # all of it came with the headers: no waiting, no timer
            body = stream.read_nowait(-1)
            return body if len(body) <= limit else None
        chunks, size = [], 0
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while chunk := await stream.readany():
                size += len(chunk)
                if size > limit:
                    return None
                chunks.append(chunk)
        return b"".join(chunks)


def _headers(raw: web.BaseRequest) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _refused(status: int) -> web.Response:
    response = web.Response(status=status)
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
