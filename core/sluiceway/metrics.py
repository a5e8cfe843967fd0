"""What Prometheus reads at /metrics. Labels are names from the configuration, never anything that a customer sent.

docs/metrics.md lists them all; `python -m tests.operations.metrics` writes it anew.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram, Info

deliveries = Counter("sluiceway_deliveries", "Deliveries by what became of them", ["connection", "outcome"])
hook_seconds = Histogram(
    "sluiceway_hook_seconds",
    "From a whole request at a hook to its answer; not where the answer waits for something to be collected",
    ["connection"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 10),
)
http_refused = Counter("sluiceway_http_refused", "Requests refused before they reached a gateway", ["status"])
listeners_broken = Counter(
    "sluiceway_listeners_broken", "Times that a listener broke and was begun again", ["connection"]
)
login_refused = Gauge(
    "sluiceway_login_refused", "1 while a provider refuses the login of a connection that reads there", ["connection"]
)
facts = Counter("sluiceway_facts", "Facts put on the stream", ["account", "kind"])
facts_erased = Counter("sluiceway_facts_erased", "Facts dropped, as their sender was erased meanwhile", ["account"])
publish_seconds = Histogram(
    "sluiceway_publish_seconds",
    "From publishing an event to JetStream's acknowledgement; without account: of no account of this process",
    ["account"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
published_again = Counter("sluiceway_published_again", "Events that JetStream had already, by their id", ["account"])
spool_records = Gauge("sluiceway_spool_records", "Deliveries on disk that wait for NATS")
spool_bytes = Gauge("sluiceway_spool_bytes", "Bytes of the deliveries that wait for NATS")
spool_limit = Gauge("sluiceway_spool_limit_bytes", "How much the spool takes; 0: there is none")
spool_oldest = Gauge("sluiceway_spool_oldest_age_seconds", "Age of the oldest delivery on disk; 0: there is none")
conversations_opened = Counter("sluiceway_conversations_opened", "Conversations opened", ["account", "channel"])
reply_tokens = Counter("sluiceway_reply_tokens", "Reply tokens read: valid, expired or forged", ["outcome"])
dead_letters = Counter(
    "sluiceway_dead_letters", "Dead letters: commands of an account, or what came in by a connection", ["kind", "name"]
)
media = Counter("sluiceway_media", "Files of customers by what became of them", ["account", "outcome"])
media_bytes = Counter("sluiceway_media_bytes", "Bytes of customers' files that were stored", ["account"])
isolated = Counter("sluiceway_isolated", "Calls of isolated functions by what became of them", ["outcome"])
commands = Counter("sluiceway_commands", "Commands by what became of them", ["account", "outcome"])
commands_waiting = Gauge(
    "sluiceway_commands_waiting", "Commands that are not finished, as far as this process knows", ["account"]
)
commands_oldest = Gauge(
    "sluiceway_commands_oldest_age_seconds",
    "Age of the oldest command that this process was given and has not finished; 0: there is none",
    ["account"],
)
sends = Counter("sluiceway_sends", "Pieces of messages handed to providers, by their answer", ["account", "outcome"])
provider_seconds = Histogram(
    "sluiceway_provider_seconds",
    "From handing a piece of a message to the provider to its answer",
    ["account"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25),
)
paused = Gauge("sluiceway_account_paused", "1 while an account's credentials are refused", ["account"])
dispatcher = Gauge("sluiceway_dispatcher", "1 for what this process's dispatcher is: active or standby", ["state"])
connected = Gauge("sluiceway_nats_connected", "1 while the connection to NATS is up")
reconnects = Counter("sluiceway_nats_reconnects", "Times that the connection to NATS came back")
nats_errors = Counter("sluiceway_nats_errors", "Errors that NATS told: denied (permissions) or other", ["kind"])
clustered = Gauge("sluiceway_nats_clustered", "1 where the NATS that was found at the start is a cluster")
stream_replicas = Gauge("sluiceway_stream_replicas", "Replicas of a stream or bucket, as at the start", ["stream"])
ready = Gauge("sluiceway_ready", "1 when this process has reached NATS and serves")
accounts = Gauge("sluiceway_accounts", "Accounts that this process serves", ["channel"])
loop_lag = Histogram(
    "sluiceway_loop_lag_seconds",
    "How late the event loop woke, once a second",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
build = Info("sluiceway_build", "The version that runs")
reload_success = Gauge("sluiceway_reload_success", "1 while what was read last of accounts and secrets is in use")
reload_success_at = Gauge("sluiceway_reload_success_timestamp_seconds", "When accounts and secrets were last as read")


def forget(name: str, gauge: Gauge = paused) -> None:
    """What this process no longer serves is not paused or refused either."""
    with contextlib.suppress(KeyError):
        gauge.remove(name)


@lru_cache(4096)
def count(counter: Counter, *labels: str) -> Counter:
    """The counter of these labels; finding it anew costs more than counting."""
    return counter.labels(*labels)


@lru_cache(4096)
def timed(histogram: Histogram, *labels: str) -> Histogram:
    """The histogram of these labels."""
    return histogram.labels(*labels)
