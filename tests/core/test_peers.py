"""Whom a request is from: what proxies say is believed as far as they are trusted, and nobody else's word."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.http.client import Client
from sluiceway.http.peers import client, networks
from sluiceway.http.server import Server
from sluiceway.wire import Request, Response

TRUSTED = networks(["10.0.0.0/8", "192.0.2.1", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 192.0.2.1"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1,"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:5000"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8::7]:5000"], "2001:db8::7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has_is_the_client(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client(peer, forwarded, TRUSTED) == expected


@given(st.text(max_size=20), st.lists(st.text(st.sampled_from("0123456789.:,[]% abcdef"), max_size=60), max_size=3))
def test_no_header_breaks_it(peer: str, forwarded: list[str]) -> None:
    assert client(peer, forwarded, TRUSTED) == peer
    client("10.0.0.1", forwarded, TRUSTED)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("nobody", ""),
    ],
)
def test_one_household_is_one_network(address: str, network: str) -> None:
    assert Request(method="POST", url="https://x.example", client=address).client_network == network


class Mirror:
    """Answers with the address of whom it sees."""

    methods = frozenset({"POST"})
    max_body_bytes = 1

    async def answer(self, request: Request) -> Response:
        return Response(body=request.client.encode())


async def seen(proxies: tuple[str, ...]) -> AsyncIterator[bytes]:
    server, http = Server("127.0.0.1:0", lambda path: (Mirror(), ""), trusted_proxies=proxies), Client()
    await server.start()
    headers = {"x-forwarded-for": "198.51.100.1"}
    answer = await http.exchange(Request(method="POST", url=f"http://{server.listen}/", headers=headers))
    yield answer.body
    await http.close()
    await server.stop()


@pytest.mark.parametrize(
    ("proxies", "expected"), [((), b"127.0.0.1"), (("10.0.0.0/8",), b"127.0.0.1"), (("127.0.0.1",), b"198.51.100.1")]
)
async def test_a_gateway_sees_the_client_behind_trusted_proxies_alone(
    proxies: tuple[str, ...], expected: bytes
) -> None:
    assert [body async for body in seen(proxies)] == [expected]
