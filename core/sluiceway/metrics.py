"""What Prometheus reads at /metrics. Labels are names from the configuration, never anything that a customer sent."""

from __future__ import annotations

import contextlib
from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

deliveries = Counter("sluiceway_deliveries", "Deliveries by what became of them", ["connection", "outcome"])
http_refused = Counter("sluiceway_http_refused", "Requests refused before they reached a gateway", ["status"])
facts = Counter("sluiceway_facts", "Facts put on the stream", ["account", "kind"])
facts_erased = Counter("sluiceway_facts_erased", "Facts dropped, as their sender was erased meanwhile", ["account"])
publish_seconds = Histogram(
    "sluiceway_publish_seconds",
    "From publishing an event to JetStream's acknowledgement",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
spool_records = Gauge("sluiceway_spool_records", "Deliveries on disk that wait for NATS")
spool_bytes = Gauge("sluiceway_spool_bytes", "Bytes of the deliveries that wait for NATS")
conversations_opened = Counter("sluiceway_conversations_opened", "Conversations opened", ["channel"])
reply_tokens = Counter("sluiceway_reply_tokens", "Reply tokens read: valid, expired or forged", ["outcome"])
media = Counter("sluiceway_media", "Files of customers by what became of them", ["account", "outcome"])
media_bytes = Counter("sluiceway_media_bytes", "Bytes of customers' files that were stored", ["account"])
isolated = Counter("sluiceway_isolated", "Calls of isolated functions by what became of them", ["outcome"])
commands = Counter("sluiceway_commands", "Commands by what became of them", ["account", "outcome"])
provider_seconds = Histogram("sluiceway_provider_seconds", "A provider's answer to one request", ["account"])
paused = Gauge("sluiceway_account_paused", "1 while an account's credentials are refused", ["account"])
connected = Gauge("sluiceway_nats_connected", "1 while the connection to NATS is up")
reload_success = Gauge("sluiceway_reload_success", "1 while what was read last of accounts and secrets is in use")
reload_success_at = Gauge("sluiceway_reload_success_timestamp_seconds", "When accounts and secrets were last as read")


def forget(account: str) -> None:
    """An account that this process no longer serves is not paused either."""
    with contextlib.suppress(KeyError):
        paused.remove(account)


@lru_cache(4096)
def count(counter: Counter, *labels: str) -> Counter:
    """The counter of these labels; finding it anew costs more than counting."""
    return counter.labels(*labels)
