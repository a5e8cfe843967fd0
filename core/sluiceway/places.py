"""Addresses of machines and files, as a configuration writes them: what is wrong with one, in words. Opens nothing."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit


def listen_fault(text: str) -> str | None:
    """What is wrong with an address to listen on; None where nothing is."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        return "must be host:port, such as 127.0.0.1:8080 or 0.0.0.0:8080"
    return None


def url_fault(text: str, *schemes: str) -> str | None:
    """What is wrong with a URL of one of these schemes; None where nothing is."""
    try:
        parsed = urlsplit(text)
        good = parsed.scheme in schemes and bool(parsed.hostname) and (parsed.port is None or parsed.port > 0)
    except ValueError:
        good = False
    return None if good else f"must be {schemes[0]}://host, with a port where it is not the usual one"


def network_fault(text: str) -> str | None:
    """What is wrong with an IP address or network; None where nothing is."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        return f"must be an address or a network such as 10.0.0.0/8: {error}"
    return None


def file_fault(text: str) -> str | None:
    """What is wrong with the path of a file to read; None where nothing is."""
    return None if Path(text).is_file() else f"there is no file {text}"
