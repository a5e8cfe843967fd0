"""Addresses of machines and files, as a configuration writes them: what is wrong with one, in words. Opens nothing."""

from __future__ import annotations

import ipaddress
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

_HOST = re.compile(r"\.?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


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


def proxy_fault(text: str) -> str | None:
    """What is wrong with the address of an HTTP proxy; None where nothing is."""
    try:
        parsed = urlsplit(text)
        good = parsed.scheme == "http" and bool(parsed.hostname) and bool(parsed.port)
        good = good and not (parsed.path.strip("/") or parsed.query or parsed.fragment)
        if good and parsed.username is not None:
            return "has a login in it; give proxy_user and proxy_password of their own"
    except ValueError:
        good = False
    return None if good else "must be http://host:port, such as http://proxy.example:3128"


def host_fault(text: str) -> str | None:
    """What is wrong with the name of a host, or of all below it; None where nothing is."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if _HOST.fullmatch(text) is None:
            return (
                f"{text!r} must be a host's name such as crm.example, which stands for all below it too, or an address"
            )
    return None


def authorities_fault(text: str) -> str | None:
    """What is wrong with a PEM file of authorities; None where nothing is."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
    except (OSError, ssl.SSLError):
        return f"the file {text} has no certificates; it must be PEM"
    return None


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
