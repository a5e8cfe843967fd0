"""Where a provider's request to the public URL goes on this machine."""

import pytest

from sluiceway.cli import local
from sluiceway.config import Http
from sluiceway.wire import Request


@pytest.mark.parametrize(
    ("listen", "public", "url", "reached", "host"),
    [
        (
            "127.0.0.1:8080",
            "https://gw.example",
            "https://gw.example/hooks/a",
            "http://127.0.0.1:8080/hooks/a",
            "gw.example",
        ),
        (
            "0.0.0.0:80",
            "https://gw.example/x/",
            "https://gw.example/x/hooks/a?b=c",
            "http://127.0.0.1:80/hooks/a?b=c",
            "gw.example",
        ),
        ("[::]:8080", "http://gw.example:81", "http://gw.example:81/hooks", "http://[::1]:8080/hooks", "gw.example:81"),
        ("127.0.0.1:8080", None, "http://127.0.0.1:8080/hooks/a", "http://127.0.0.1:8080/hooks/a", "127.0.0.1:8080"),
    ],
)
def test_the_public_address_is_reached_where_the_gateway_listens(
    listen: str, public: str | None, url: str, reached: str, host: str
) -> None:
    request = Request(method="POST", url=url, headers={"x-signature": "s"}, body=b"b")
    sent = local.request(request, Http(listen=listen, public_url=public))
    assert (sent.url, sent.headers, sent.body) == (reached, {"x-signature": "s", "host": host}, b"b")


@pytest.mark.parametrize("url", ["https://elsewhere.example/hooks/a", "https://gw.example.org/hooks/a"])
def test_any_other_address_stays_as_it_is(url: str) -> None:
    request = Request(method="POST", url=url)
    assert local.request(request, Http(public_url="https://gw.example")) is request
