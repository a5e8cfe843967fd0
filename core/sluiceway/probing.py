"""What a process says of itself to whoever runs it: /healthz, /readyz and /metrics. Changes nothing.

With a spool it is ready before NATS was reached: Kubernetes sends a pod that is not nothing to spool.
"""

from __future__ import annotations

from collections.abc import Callable

from . import scrape
from .accounts import Accounts
from .bus.link import Link
from .http.server import Page, Route
from .wire import Response


class Probing:
    """Of one process. `lacking` is what it waits for, when it is known."""

    def __init__(self, link: Link, accounts: Accounts, is_serving: Callable[[], bool], *, spools: bool) -> None:
        self.lacking = ""
        self._link = link
        self._accounts = accounts
        self._is_serving = is_serving
        self._spools = spools

    @property
    def routes(self) -> dict[str, Route]:
        return {"/healthz": Page(self._health), "/readyz": Page(self._readiness), "/metrics": Page(self._metrics)}

    def _health(self) -> Response:
        return Response(status=503 if self._link.closed.is_set() else 200, body=b"ok\n")

    def _readiness(self) -> Response:
        if self._is_serving():
            return Response(body=b"ready\n")
        why = self.lacking or "NATS was not reached yet"
        if not self.lacking and self._link.failure:
            why = f"{why}: {self._link.failure}"
        if self._spools:
            return Response(body=f"serving from the spool: {why}\n".encode())
        return Response(status=503, body=f"{why}\n".encode())

    def _metrics(self) -> Response:
        return scrape.page(self._accounts, connected=self._link.connected, ready=self._is_serving())
