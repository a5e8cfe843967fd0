"""Fetching files that others name: through the guard, in chunks, never more than is wanted. Keeps and types nothing.

Redirects are followed here, each looked at as the first address was; what proves who we are goes to the first alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from yarl import URL

from ..errors import Rejected, Throttled, Unreachable
from ..wire import Request
from .client import retry_after_s
from .egress import Way
from .guard import Forbidden, Hosts, check_literal, public_socket

CONNECT_TIMEOUT_S = 5
HEADERS_S = 40
"""A proxy that connects to nobody for so long does not any more."""
SILENCE_S = 20
"""A server that sends nothing for so long sends no more."""
LONGEST_S = 600
MAX_REDIRECTS = 3
READ_BYTES = 1 << 16
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PLAIN = {"accept-encoding": "identity"}
"""All that another host is told: what the gateway says is for the first alone."""


class Download(msgspec.Struct, frozen=True):
    """A file on its way. `size` is what the server says, and may be wrong; `mime` too."""

    size: int | None
    mime: str
    chunks: AsyncIterator[bytes]


class Downloads:
    """Two pools of connections: for public addresses alone, and for those that the configuration names.

    The proxy of `way` is one of these; it must look at addresses itself (`egress`).
    """

    def __init__(self, resolver: AbstractResolver | None = None, way: Way | None = None) -> None:
        self._way = way or Way()
        tls = self._way.tls
        self._public = _session(
            aiohttp.TCPConnector(
                limit=32, socket_factory=public_socket, resolver=resolver, use_dns_cache=False, ssl=tls
            )
        )
        self._named = _session(aiohttp.TCPConnector(limit=32, ssl=tls))

    async def close(self) -> None:
        """Close every connection."""
        await self._public.close()
        await self._named.close()

    @asynccontextmanager
    async def open(self, request: Request, hosts: Iterable[str]) -> AsyncIterator[Download]:
        """The file that a GET has. Inside the block too, where it breaks off.

        Raises `Forbidden`, `Unreachable` or `Throttled` where the same may work later, else `Rejected`, whose code is
        the HTTP status.
        """
        allowed = Hosts(hosts)
        try:
            async with asyncio.timeout(LONGEST_S):
                answer = await self._follow(request, allowed)
                try:
                    yield Download(answer.content_length, answer.content_type, _chunks(answer))
                finally:
                    answer.close()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if isinstance(error.__cause__ or error, PermissionError):
                raise Forbidden("the file's address leads into a network that is not public") from error
            raise Unreachable(f"the file could not be had: {type(error).__name__}") from error

    async def _follow(self, request: Request, allowed: Hosts) -> aiohttp.ClientResponse:
        url, named = allowed.check(request.url)
        headers = {**request.headers, **PLAIN}
        for _ in range(MAX_REDIRECTS + 1):
            proxy = self._way.options(url)
            if proxy and not named:
                check_literal(url.host or "")
            session = self._named if named or proxy else self._public
            async with asyncio.timeout(HEADERS_S):
                answer = await session.get(url, headers=headers, allow_redirects=False, **proxy)
            if answer.status not in REDIRECTS:
                return _checked(answer)
            answer.close()
            before = url
            url, named = allowed.check(str(url.join(URL(answer.headers.get("location", "")))))
            if url.origin() != before.origin():
                headers = PLAIN
        raise Rejected(f"the file's address leads on more than {MAX_REDIRECTS} times", "redirects")


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": "sluiceway"},
        read_bufsize=READ_BYTES,
    )


def _checked(answer: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """The answer, if it has the file."""
    if answer.status == 200:
        return answer
    answer.close()
    status = f"HTTP status {answer.status}"
    if answer.status == 429:
        raise Throttled("the provider wants fewer requests", retry_after_s(answer.headers.get("retry-after")))
    if answer.status == 408 or answer.status >= 500:
        raise Unreachable(f"the file could not be had: {status}")
    raise Rejected(f"the file can't be had: {status}", str(answer.status))


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    while chunk := await answer.content.readany():
        yield chunk
