"""The paths that providers deliver to: `/hooks/<hook>` and all below, each for the connections that share it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from . import metrics
from .accounts import Accounts
from .gateway import Collector, Webhook
from .http.server import Route
from .wire import Request, Response

START = "/hooks/"

Deliver = Callable[[list[str], Request], Awaitable[Response]]
"""Takes a delivery to connections, by their names."""


class Hook:
    """A route to the connections that share one hook."""

    def __init__(self, accounts: Accounts, connections: list[str], deliver: Deliver) -> None:
        gateways = [accounts.gateways[name] for name in connections]
        self.methods = frozenset[str]().union(*(g.methods for g in gateways if isinstance(g, Webhook)))
        self.max_body_bytes = max(gateway.max_body_bytes for gateway in gateways)
        self._connections = connections
        self._deliver = deliver
        self._seconds = [
            metrics.timed(metrics.hook_seconds, name)
            for name, gateway in zip(connections, gateways, strict=True)
            if not isinstance(gateway, Collector)
        ]

    async def answer(self, request: Request) -> Response:
        started = time.perf_counter()
        response = await self._deliver(self._connections, request)
        for seconds in self._seconds:
            seconds.observe(time.perf_counter() - started)
        return response


class Hooks:
    """The hooks of all connections that have one."""

    def __init__(self, accounts: Accounts, deliver: Deliver) -> None:
        self._accounts = accounts
        self._deliver = deliver
        self.renew()

    def renew(self) -> None:
        """After the accounts have changed."""
        shared: dict[str, list[str]] = {}
        for name, connection in self._accounts.connections.items():
            if isinstance(self._accounts.gateways[name], Webhook):
                shared.setdefault(connection.hook, []).append(name)
        self._hooks = {hook: Hook(self._accounts, names, self._deliver) for hook, names in shared.items()}

    def find(self, path: str) -> tuple[Route, str] | None:
        """The hook of a path, and the sub-path below it."""
        if not path.startswith(START):
            return None
        name, _, subpath = path.removeprefix(START).partition("/")
        hook = self._hooks.get(name)
        return (hook, subpath) if hook is not None else None
