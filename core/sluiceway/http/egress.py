"""By which way requests leave: straight, or by the proxy that `[egress]` names. Makes none, and checks no host.

The proxy resolves names: an address that a name leads to is never seen here. A proxy must itself refuse to connect
to networks that are not public, loopback, link-local and cloud metadata (169.254.169.254) first; what is checked
before, by `guard`, is the name, and an address written in a name's place.
"""

from __future__ import annotations

import ssl
from typing import TypedDict

import aiohttp
from yarl import URL

from ..sections import Egress


class Options(TypedDict, total=False):
    """What aiohttp takes with a request."""

    proxy: URL
    proxy_headers: dict[str, str]


class Way:
    """The way to each host."""

    def __init__(self, settings: Egress | None = None) -> None:
        settings = settings or Egress()
        self.tls: ssl.SSLContext | bool = _believing(settings.ca) if settings.ca is not None else True
        self._direct = tuple(name.lower().lstrip(".") for name in settings.no_proxy)
        self._options: Options = {}
        if settings.proxy is not None:
            self._options["proxy"] = URL(settings.proxy)
            if settings.proxy_user is not None and settings.proxy_password is not None:
                login = aiohttp.encode_basic_auth(settings.proxy_user, settings.proxy_password.reveal(), "utf-8")
                self._options["proxy_headers"] = {"Authorization": login}  # aiohttp makes it Proxy-Authorization

    def options(self, url: URL | str) -> Options:
        """The proxy for this URL; nothing where it is reached straight."""
        if not self._options:
            return {}
        host = ((url if isinstance(url, URL) else URL(url)).host or "").lower()
        straight = any(host == name or host.endswith(f".{name}") for name in self._direct)
        return {} if straight else self._options


def _believing(ca: str) -> ssl.SSLContext:
    """The system's authorities, and those of this file."""
    context = ssl.create_default_context()
    context.load_verify_locations(ca)
    return context
