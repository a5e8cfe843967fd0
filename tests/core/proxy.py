"""An HTTP proxy on loopback: CONNECT and absolute URIs, a login if one is wanted; it alone knows where names lead."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from yarl import URL


class Proxy:
    """`asked` are the request lines that came; `places` is where names lead, a port of loopback; others are refused."""

    def __init__(self, places: Mapping[str, int], login: str | None = None) -> None:
        self.asked: list[str] = []
        self.url = ""
        self._places = places
        self._wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login is not None else None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *lines = head.decode().split("\r\n")[:-2]
            self.asked.append(line)
            await self._answer(line, lines, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, line: str, lines: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, target, _ = line.split(" ")
        logins = [one.partition(": ")[2] for one in lines if one.lower().startswith("proxy-authorization:")]
        if self._wanted is not None and logins != [self._wanted]:
            writer.write(b"HTTP/1.1 407 Login\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n")
            return
        url = URL(f"//{target}") if method == "CONNECT" else URL(target)
        port = self._places.get(url.host or "")
        if port is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            return
        there, on = await asyncio.open_connection("127.0.0.1", port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            own = ("proxy-", "connection:")
            kept = [one for one in lines if not one.lower().startswith(own)]
            on.write("\r\n".join([f"{method} {url.raw_path_qs} HTTP/1.1", *kept, "connection: close\r\n\r\n"]).encode())
        await asyncio.gather(_copy(reader, on), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both ways end together: neither side is left half open."""
    with suppress(OSError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(places: Mapping[str, int], login: str | None = None) -> AsyncIterator[Proxy]:
    """A proxy that runs."""
    proxy = Proxy(places, login)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.create_task(proxy.serve(reader, writer)))
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
