"""A provider's request on its way to the gateway on this machine: addressed to where it listens, as if from outside.

The signature is over the public URL, so the `host` header still says that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from ..config import Http
    from ..wire import Request

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # nothing is bound here


def request(request: Request, http: Http) -> Request:
    """The same request to `[http] listen` where it was to the public address; any other as it is."""
    if not request.url.startswith(http.base_url + "/"):
        return request
    host, _, port = http.listen.rpartition(":")
    url = f"http://{EVERYWHERE.get(host, host)}:{port}" + request.url.removeprefix(http.base_url)
    return msgspec.structs.replace(
        request, url=url, headers={**request.headers, "host": urlsplit(http.base_url).netloc}
    )
