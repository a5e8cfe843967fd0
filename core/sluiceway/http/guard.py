"""Where a file may be fetched from: by name before a connection is tried, by address when it is made. Opens nothing.

A name that somebody else's server chose may lead anywhere, into our own network too: names are compared with those that
the gateway lists, and each address is looked at where the socket is made, so that no resolver can trick it.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any

from yarl import URL

from ..errors import SluicewayError

# RFC 6052, 8215 (NAT64), 3056 (6to4), 4380 (Teredo), 7526: each may lead to an IPv4 address that is nobody's business
_TRANSLATED = tuple(
    map(
        ipaddress.ip_network,
        (
            *("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "192.88.99.0/24"),
            # IPv4-compatible and -translated (RFC 4291, 7915), site-local, and what Python 3.11 does not know yet
            *("::/96", "::ffff:0:0:0/96", "fec0::/10", "5f00::/16", "3fff::/20"),
        ),
    )
)


_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that is one makes an IPv4 address of the whole: https://url.spec.whatwg.org/#ends-in-a-number-checker"""


class Forbidden(SluicewayError):
    """An address that must not be connected to; the text names the host alone."""


class Hosts:
    """What a gateway's `media_hosts` allows."""

    def __init__(self, allowed: Iterable[str]) -> None:
        allowed = tuple(allowed)
        self._origins = {URL(one).origin() for one in allowed if "://" in one}
        self._names = {one.lower() for one in allowed if "://" not in one and not one.startswith("*.")}
        self._below = tuple(one[1:].lower() for one in allowed if one.startswith("*."))

    def check(self, text: str) -> tuple[URL, bool]:
        """The URL, and whether it is of an origin that was configured, wherever that is. Raises `Forbidden`."""
        try:
            url = URL(text)
            origin, host = url.origin(), (url.host or "").lower()
        except (ValueError, TypeError) as error:
            raise Forbidden("the file's address is none of HTTP's") from error
        if url.user or url.password:
            raise Forbidden("the file's address has a login in it")
        as_it_came = URL(text, encoded=True)  # it may be signed as it is written
        if as_it_came.raw_host == url.raw_host and as_it_came.origin() == origin:
            url = as_it_came
        if origin in self._origins:
            return url, True
        if url.scheme != "https" or url.port != 443:
            raise Forbidden(f"files are fetched by https alone, and {host[:80]} is no address that was configured")
        if not (host in self._names or host.endswith(self._below)):
            raise Forbidden(f"{host[:80]} is no place where this provider keeps files")
        return url, False


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's, and nothing else in disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _TRANSLATED)


def check_literal(host: str) -> None:
    """Raises `Forbidden` where a host is an address, in whatever spelling, and none of the public internet's.

    For a proxy, which would connect to it: no socket is looked at here.
    """
    try:
        allowed = is_public(host)
    except ValueError:
        allowed = _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2].lower()) is None
    if not allowed:
        raise Forbidden("the file's address leads into a network that is not public")


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """The socket for a connection to this entry of `getaddrinfo`. Raises `PermissionError`, an `OSError`."""
    family, type, proto, _, address = info
    if not is_public(address[0]):
        raise PermissionError(errno.EACCES, "no public address")
    return socket.socket(family, type, proto)
