"""Who made a request: the socket's peer, or whom trusted proxies name in X-Forwarded-For. Believes nobody else."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as 10.0.0.0/8, or single addresses. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def client(peer: str, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """The last address that no trusted proxy has; `forwarded` are the values of X-Forwarded-For, in order."""
    hops = [hop for line in forwarded for hop in line.split(",")]
    while hops and _is_in(peer, trusted):
        nearer = _address(hops.pop())
        if nearer is None:  # the proxy wrote no address: whom it speaks for is not known
            break
        peer = str(nearer)
    return peer


def _is_in(text: str, trusted: Sequence[Network]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in trusted)


def _address(hop: str) -> IPAddress | None:
    """An address as proxies write it: bare, in brackets, with a port."""
    hop = hop.strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        address = ipaddress.ip_address(hop)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
