"""What a customer's or a provider's words can't make us fetch: addresses inside, other hosts, endless or huge files."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import Rejected, SluicewayError, Throttled, Unreachable
from sluiceway.http import download as module
from sluiceway.http.download import Downloads
from sluiceway.http.guard import Forbidden, Hosts, is_public
from sluiceway.wire import Request

ALLOWED = ("media.provider.example", "*.cdn.example")
HOSTILE = [
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/",
    "https://10.0.0.1/",
    "https://192.168.0.1/",
    "https://100.64.0.1/",
    "https://224.0.0.1/",
    "https://0.0.0.0/",
    "https://localhost/",
    "https://metadata.google.internal/",
    "https://media.provider.example.evil.example/",
    "https://evil.example/media.provider.example",
    "https://evil.example#media.provider.example",
    "https://media.provider.example@evil.example/",
    "https://user:word@media.provider.example/",
    "https://media.provider.example:8443/",
    "http://media.provider.example/",
    "https://evilcdn.example/",
    "https://cdn.example/",
    "https://media.provider.example。evil.example/",
    "ftp://media.provider.example/",
    "file:///etc/passwd",
    "gopher://media.provider.example/",
    "data:image/png;base64,AAAA",
    "//media.provider.example/",
    "/etc/passwd",
    "https://",
    "https://media.provider.example:99999/",
    "javascript:alert(1)",
    "",
]
INSIDE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "198.18.0.1", "192.0.2.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1"),
    *("2001:db8::1", "192.88.99.1", "fe80::1%eth0"),
]


@pytest.mark.parametrize("url", HOSTILE)
def test_an_address_that_was_not_allowed_is_refused_by_name(url: str) -> None:
    with pytest.raises(Forbidden):
        Hosts(ALLOWED).check(url)


@pytest.mark.parametrize(
    "url", ["https://media.provider.example/a?b=c", "https://a.b.CDN.example/", "https://a.cdn.example:443/"]
)
def test_an_address_that_was_allowed_is_not(url: str) -> None:
    assert Hosts(ALLOWED).check(url)[1] is False


def test_an_origin_from_the_configuration_may_be_anywhere_and_nothing_beside_it() -> None:
    hosts = Hosts(("http://127.0.0.1:8999",))
    assert hosts.check("http://127.0.0.1:8999/media/1")[1] is True
    for url in ("http://127.0.0.1:8998/", "https://127.0.0.1:8999/", "http://127.0.0.2:8999/"):
        with pytest.raises(Forbidden):
            hosts.check(url)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(Forbidden):
        Hosts(ALLOWED).check(text)


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "157.240.1.1", "2a03:2880:f12f:83:face:b00c::25de"])
def test_addresses_outside_are(address: str) -> None:
    assert is_public(address)


class Lies(AbstractResolver):
    """A resolver that gives another address each time, as one that rebinds does."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses[min(self.asked, len(self._addresses) - 1)]
        self.asked += 1
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def listening(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on loopback, by raw answers; its origin, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        for piece in answer(head):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def downloads() -> AsyncIterator[Downloads]:
    made = Downloads()
    yield made
    await made.close()


async def fetched(downloads: Downloads, url: str, *hosts: str, **headers: str) -> bytes:
    async with downloads.open(Request(method="GET", url=url, headers=headers), hosts) as download:
        return b"".join([chunk async for chunk in download.chunks])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_inside_is_not_connected_to(address: str) -> None:
    async with listening(lambda head: [b"HTTP/1.1 200 OK\r\n\r\n"]) as (_, asked):
        downloads = Downloads(Lies(address))
        with pytest.raises(Forbidden):
            await fetched(downloads, "https://media.provider.example/1", *ALLOWED)
        await downloads.close()
        assert asked == []


async def test_a_resolver_that_changes_its_mind_gains_nothing() -> None:
    """Each connection's own address is looked at, not what was resolved some time before."""
    lies = Lies("192.0.2.1", "127.0.0.1", "169.254.169.254")
    downloads = Downloads(lies)
    for _ in range(3):
        with pytest.raises(Forbidden):
            await fetched(downloads, "https://media.provider.example/1", *ALLOWED)
    await downloads.close()
    assert lies.asked == 3


async def test_a_redirect_inside_is_not_followed(downloads: Downloads) -> None:
    for location in ("http://169.254.169.254/", "http://127.0.0.1:1/", "https://evil.example/", "file:///etc/passwd"):
        lines = f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
        async with listening(lambda head, lines=lines: [lines]) as (origin, asked):  # type: ignore[misc]  # its default
            with pytest.raises(Forbidden):
                await fetched(downloads, f"{origin}/1", origin)
            assert len(asked) == 1


async def test_a_login_goes_to_the_first_host_alone(downloads: Downloads) -> None:
    async with listening(lambda head: [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfile"]) as (second, there):
        line = f"HTTP/1.1 307 On\r\nlocation: {second}/2\r\ncontent-length: 0\r\n\r\n".encode()
        async with listening(lambda head: [line]) as (first, here):
            assert await fetched(downloads, f"{first}/1", first, second, authorization="Basic c2VjcmV0") == b"file"
    assert b"Basic c2VjcmV0" in here[0]
    assert b"authorization" not in there[0].lower()


async def test_redirects_without_end_end(downloads: Downloads) -> None:
    async with listening(lambda head: [b"HTTP/1.1 302 On\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n"]) as (
        origin,
        asked,
    ):
        with pytest.raises(Rejected):
            await fetched(downloads, f"{origin}/1", origin)
    assert len(asked) == module.MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, Rejected), (403, Rejected), (204, Rejected), (429, Throttled), (500, Unreachable), (408, Unreachable)],
)
async def test_what_is_no_file_says_whether_to_try_again(
    downloads: Downloads, status: int, error: type[SluicewayError]
) -> None:
    line = f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode()
    async with listening(lambda head: [line]) as (origin, _):
        with pytest.raises(error):
            await fetched(downloads, f"{origin}/1", origin)


async def test_a_file_that_breaks_off_is_none(downloads: Downloads) -> None:
    async with listening(lambda head: [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"]) as (origin, _):
        with pytest.raises(Unreachable):
            await fetched(downloads, f"{origin}/1", origin)


async def test_a_server_that_falls_silent_is_given_up(downloads: Downloads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_S", 0.2)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nh")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(Unreachable):
        await fetched(downloads, f"{origin}/1", origin)
    server.close()


async def test_nobody_there_is_tried_again(downloads: Downloads) -> None:
    with pytest.raises(Unreachable):
        await fetched(downloads, "http://127.0.0.1:1/1", "http://127.0.0.1:1")
