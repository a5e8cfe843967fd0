"""The page that Prometheus reads, with what is only looked up when it asks. Counts nothing itself."""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib.metadata import version

import prometheus_client

from . import metrics
from .accounts import Accounts
from .wire import Response

OUTCOMES = ("stored", "spooled", "parked", "refused", "unavailable")
"""Told from the beginning, as nobody sees a counter rise that begins with one."""


def page(accounts: Accounts, *, connected: bool, ready: bool) -> Response:
    """All metrics of this process."""
    metrics.build.info({"version": _version()})
    metrics.connected.set(connected)
    metrics.ready.set(ready)
    served = Counter(account.channel for account in accounts)
    metrics.accounts.clear()
    for gateway in accounts.gateways.values():
        metrics.accounts.labels(gateway.channel).set(served[gateway.channel])
    _begin(accounts)
    headers = {"content-type": prometheus_client.CONTENT_TYPE_LATEST}
    return Response(headers=headers, body=prometheus_client.generate_latest())


@cache
def _version() -> str:
    return version("sluiceway")


def _begin(accounts: Accounts) -> None:
    metrics.count(metrics.nats_errors, "denied")
    for connection in accounts.connections:
        metrics.count(metrics.dead_letters, "inbound", connection)
        for outcome in OUTCOMES:
            metrics.count(metrics.deliveries, connection, outcome)
    for served in accounts:
        metrics.count(metrics.dead_letters, "commands", served.name)
