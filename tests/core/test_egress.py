"""Requests by a proxy: they go by it and by no other way, and what guards us still does. The proxy and TLS are real."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from sluiceway import config
from sluiceway.config import Egress
from sluiceway.errors import Ambiguous, ConfigError, SendError, Unreachable
from sluiceway.gateway import Secret
from sluiceway.http.client import Client
from sluiceway.http.download import Downloads
from sluiceway.http.egress import Way
from sluiceway.http.guard import Forbidden
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway.wire import Request

from .conftest import TWILIO, running
from .proxy import Proxy, proxying

API, MEDIA = "api.provider.example", "media.provider.example"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nthere"


class Provider:
    """By raw answers; `heads` is what it was asked."""

    def __init__(self, port: int, heads: list[bytes]) -> None:
        self.port = port
        self.heads = heads


@asynccontextmanager
async def provider(answer: Callable[[bytes], bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while said := answer(head := await reader.readuntil(b"\r\n\r\n")):
                heads.append(head)
                writer.write(said)
            heads.append(head)
        except (OSError, asyncio.IncompleteReadError):
            pass  # it hung up, as one who trusts nobody does
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield Provider(server.sockets[0].getsockname()[1], heads)
    finally:
        server.close()
        await server.wait_closed()


class World:
    """A provider by TLS, whom only a private authority vouches for, and a proxy that knows where it is."""

    def __init__(self, https: Provider, http: Provider, proxy: Proxy, ca: str, stack: AsyncExitStack) -> None:
        self.https, self.http, self.proxy, self.ca = https, http, proxy, ca
        self._stack = stack

    def way(self, **settings: Any) -> Way:
        return Way(Egress(**{"proxy": self.proxy.url, "ca": self.ca} | settings))

    def client(self, **settings: Any) -> Client:
        client = Client(way=self.way(**settings))
        self._stack.push_async_callback(client.close)
        return client

    def downloads(self, **settings: Any) -> Downloads:
        downloads = Downloads(way=self.way(**settings))
        self._stack.push_async_callback(downloads.close)
        return downloads


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A context for the provider, and the file of who vouches for it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(API, MEDIA).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return context, str(tmp_path / "ca.pem")


@asynccontextmanager
async def standing(
    authority: tuple[ssl.SSLContext, str], answer: Callable[[bytes], bytes] = lambda head: OK, login: str | None = None
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        https = await stack.enter_async_context(provider(answer, authority[0]))
        http = await stack.enter_async_context(provider(answer))
        places = {API: https.port, MEDIA: https.port, "plain.provider.example": http.port}
        proxy = await stack.enter_async_context(proxying(places, login))
        yield World(https, http, proxy, authority[1], stack)


@pytest.fixture
async def world(authority: tuple[ssl.SSLContext, str]) -> AsyncIterator[World]:
    async with standing(authority) as world:
        yield world


def a_post(url: str) -> Request:
    return Request(method="POST", url=url, body=b"hello")


async def fetched(downloads: Downloads, url: str, *hosts: str) -> bytes:
    async with downloads.open(Request(method="GET", url=url), hosts) as download:
        return b"".join([chunk async for chunk in download.chunks])


async def test_a_provider_is_reached_by_the_proxy_which_resolves_its_name(world: World) -> None:
    client = world.client()
    assert (await client.exchange(a_post(f"https://{API}/messages"))).body == b"there"
    assert world.proxy.asked == [f"CONNECT {API}:443 HTTP/1.1"]
    assert world.https.heads[0].startswith(b"POST /messages HTTP/1.1\r\n")
    url = "http://plain.provider.example:8080/messages?page=1"
    assert (await client.exchange(a_post(url))).status == 200
    assert world.proxy.asked[1:] == [f"POST {url} HTTP/1.1"]
    assert world.http.heads[0].startswith(b"POST /messages?page=1 HTTP/1.1\r\n")


async def test_one_tunnel_takes_many_requests(world: World) -> None:
    client = world.client(proxy_user="sluiceway", proxy_password=Secret("password"))
    for _ in range(3):
        await client.exchange(a_post(f"https://{API}/messages"))
    assert len(world.https.heads) == 3
    assert world.proxy.asked == [f"CONNECT {API}:443 HTTP/1.1"]


async def test_the_proxys_login_is_for_the_proxy_alone(authority: tuple[ssl.SSLContext, str]) -> None:
    async with standing(authority, login="sluiceway:pass:word") as world:
        client = world.client(proxy_user="sluiceway", proxy_password=Secret("pass:word"))
        for url in (f"https://{API}/", "http://plain.provider.example/"):
            assert (await client.exchange(a_post(url))).status == 200
        assert b"authorization" not in b"".join(world.https.heads + world.http.heads).lower()


async def test_a_login_that_is_wrong_is_told_and_nothing_was_sent(authority: tuple[ssl.SSLContext, str]) -> None:
    async with standing(authority, login="sluiceway:password") as world:
        for settings in ({}, {"proxy_user": "sluiceway", "proxy_password": Secret("wrong")}):
            client = world.client(**settings)
            for url in (f"https://{API}/", "http://plain.provider.example/"):
                with pytest.raises(Unreachable, match=r"the proxy wants a login; look at egress\.proxy_user"):
                    await client.exchange(a_post(url))
        assert world.https.heads == world.http.heads == []


async def test_hosts_of_no_proxy_and_those_below_them_are_reached_straight(world: World) -> None:
    client = world.client(no_proxy=("127.0.0.1", ".localhost"))
    for host in ("127.0.0.1", "localhost"):
        assert (await client.exchange(a_post(f"http://{host}:{world.http.port}/"))).status == 200
    assert world.proxy.asked == []
    way = world.way(no_proxy=("crm.example",))
    assert [bool(way.options(f"https://{host}/")) for host in ("crm.example", "eu.CRM.example", "acrm.example")] == [
        False,
        False,
        True,
    ]


async def test_a_proxy_that_refuses_or_is_not_there_took_nothing(world: World) -> None:
    with pytest.raises(Unreachable, match="the proxy refuses, with HTTP status 403"):
        await world.client().exchange(a_post("https://elsewhere.example/"))
    with pytest.raises(Unreachable, match="nothing was written"):
        await world.client(proxy=f"http://127.0.0.1:{free_port()}").exchange(a_post(f"https://{API}/"))


async def test_a_request_that_went_through_the_proxy_and_has_no_answer_is_ambiguous(
    authority: tuple[ssl.SSLContext, str],
) -> None:
    async with standing(authority, lambda head: b"") as world:
        with pytest.raises(Ambiguous):
            await world.client().exchange(a_post(f"https://{API}/"))
        assert len(world.https.heads) == 1


async def test_nobody_is_believed_whom_no_authority_vouches_for(world: World) -> None:
    with pytest.raises(SendError, match="nothing was written"):
        await world.client(ca=None).exchange(a_post(f"https://{API}/"))
    with pytest.raises(Unreachable):
        await fetched(world.downloads(ca=None), f"https://{MEDIA}/1", MEDIA)
    assert world.https.heads == []


async def test_a_file_is_fetched_by_the_proxy(world: World) -> None:
    assert await fetched(world.downloads(), f"https://{MEDIA}/1", "*.provider.example") == b"there"
    origin = "http://plain.provider.example:8080"
    assert await fetched(world.downloads(), f"{origin}/1", origin) == b"there"
    assert world.proxy.asked == [f"CONNECT {MEDIA}:443 HTTP/1.1", f"GET {origin}/1 HTTP/1.1"]


INSIDE = (
    "10.0.0.1",
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "169.254.169.254",
    "169.254.169.254.",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
)


@pytest.mark.parametrize("host", INSIDE)
async def test_the_proxy_is_not_asked_for_an_address_inside_even_of_a_list(world: World, host: str) -> None:
    listed = (host, host.strip("[]"), MEDIA)
    with pytest.raises(Forbidden):
        await fetched(world.downloads(), f"https://{host}/latest/meta-data/", *listed)
    assert world.proxy.asked == []


@pytest.mark.parametrize("location", ["https://evil.example/", "http://media.provider.example/", "https://2130706433/"])
async def test_a_redirect_by_the_proxy_is_looked_at_too(authority: tuple[ssl.SSLContext, str], location: str) -> None:
    lines = f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
    async with standing(authority, lambda head: lines) as world:
        with pytest.raises(Forbidden):
            await fetched(world.downloads(), f"https://{MEDIA}/1", MEDIA, "2130706433")
        assert world.proxy.asked == [f"CONNECT {MEDIA}:443 HTTP/1.1"]


async def test_what_is_reached_straight_is_guarded_by_its_address(world: World) -> None:
    with pytest.raises(Forbidden):
        await fetched(world.downloads(no_proxy=("localhost",)), "https://localhost/1", "localhost")


async def test_a_proxy_that_refuses_a_file_may_give_it_later(world: World) -> None:
    with pytest.raises(Unreachable):
        await fetched(world.downloads(), "https://elsewhere.example/1", "elsewhere.example")


async def test_a_gateways_messages_go_out_by_the_proxy(tmp_path: Path, shared_nats: NatsServer) -> None:
    places: dict[str, int] = {}
    async with proxying(places) as proxy:
        text = TWILIO.replace('api_url = "http://127.0.0.1:{api}"', f'api_url = "http://{API}"')
        text += f'[egress]\nproxy = "{proxy.url}"\n'
        async with running(tmp_path, shared_nats, text) as rig:
            places[API] = int(rig.provider.listen.rpartition(":")[2])
            await rig.text("Hello")
            (event,) = await rig.until_event("message.received")
            await rig.send(conversation_id=event.subject)
            await rig.until_event("message.sent")
        assert any(line.startswith(f"POST http://{API}/") for line in proxy.asked)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('proxy = "proxy.example:3128"', "egress.proxy: must be http://host:port"),
        ('proxy = "https://proxy.example:3128"', "egress.proxy: must be http://host:port"),
        ('proxy = "http://proxy.example"', "egress.proxy: must be http://host:port"),
        ('proxy = "http://proxy.example:3128/path"', "egress.proxy: must be http://host:port"),
        ('proxy = "http://me:word@proxy.example:3128"', "egress.proxy: has a login in it; give proxy_user and"),
        ('no_proxy = ["crm.example"]', "egress.proxy: is missing; add it"),
        ('proxy = "http://p.example:1"\nproxy_user = "me"', "egress.proxy_password: is missing; a login has both"),
        (
            'proxy = "http://p.example:1"\nproxy_password = "env:WORD"',
            "egress.proxy_user: is missing; a login has both",
        ),
        ('proxy = "http://p.example:1"\nproxy_password = "word"', "egress.proxy_password: is a secret: write env:NAME"),
        ('proxy = "http://p.example:1"\nno_proxy = ["*.crm.example"]', "egress.no_proxy: '*.crm.example' must be a"),
        ('proxy = "http://p.example:1"\nno_proxy = ["10.0.0.0/8"]', "egress.no_proxy: '10.0.0.0/8' must be a host's"),
        ('ca = "none.pem"', "egress.ca: there is no file none.pem"),
        ('ca = "{folder}/sluiceway.toml"', "has no certificates; it must be PEM"),
        ('proxies = "http://p.example:1"', "egress.proxies: is no known key"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_told(tmp_path: Path, lines: str, expected: str) -> None:
    file = tmp_path / "sluiceway.toml"
    file.write_text(f"[egress]\n{lines}\n".replace("{folder}", str(tmp_path)))
    with pytest.raises(ConfigError) as refused:
        config.load(str(file), {"WORD": "word"})
    assert expected in str(refused.value)
