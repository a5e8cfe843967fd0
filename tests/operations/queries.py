"""What a PromQL expression asks for: metrics with the labels that it names. Reads no more of the language than that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .metrics import described

TARGET = frozenset({"namespace", "pod", "instance", "job"})
"""What Prometheus adds of the process that it asks."""
NATS = dict.fromkeys(("nats_varz_jetstream_stats_storage", "nats_varz_jetstream_config_max_storage"), ("server_id",))
"""Of prometheus-nats-exporter, which NATS's chart runs with `-prefix=nats -varz`."""
PYTHONS = {"process_cpu_seconds_total": (), "process_resident_memory_bytes": ()}
KNOWN: dict[str, tuple[str, ...]] = (
    {name: labels for m in described() for name, labels in m.series.items()} | PYTHONS | NATS
)

_SELECTOR = re.compile(r"\b((?:sluiceway|process|nats)_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")


class Asked(NamedTuple):
    """A metric, and the labels that a selector names."""

    metric: str
    labels: frozenset[str]


def asked(expression: str) -> Iterator[Asked]:
    """Every selector of an expression."""
    for metric, matchers in _SELECTOR.findall(expression):
        yield Asked(metric, frozenset(_LABEL.findall(matchers)))


def grouped(expression: str) -> frozenset[str]:
    """Every label that it groups or joins by."""
    return frozenset(label.strip() for names in _GROUPING.findall(expression) for label in names.split(",") if label)


def mistakes(expression: str) -> list[str]:
    """Metrics that there are not, and labels that they have not."""
    found, has = [], set(TARGET)
    for one in asked(expression):
        if one.metric not in KNOWN:
            found.append(f"there is no metric {one.metric}")
            continue
        has |= set(KNOWN[one.metric])
        found += [f"{one.metric} has no label {label}" for label in one.labels - TARGET - set(KNOWN[one.metric])]
    return found + [f"it groups by {label}, which nothing in it has" for label in grouped(expression) - has]
