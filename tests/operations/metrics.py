"""docs/metrics.md, written from the registry: `python -m tests.operations.metrics`. Says nothing that core does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Info
from prometheus_client.metrics import MetricWrapperBase

from sluiceway import metrics

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count")}

HEAD = """# Metrics

What `/metrics` shows, in Prometheus's text format, on the address of `[probes] listen`. Counters begin anew with each
process. The labels `account`, `connection` and `channel` are names of the configuration, and `name` is an account or a
connection; no label has anything that a customer sent. Of deliveries each replica counts those that it took; of an
account's commands the replica tells that has the account. Python's own (`process_*`, `python_*`) are there too.
[operations.md](operations.md) says what to do when they look wrong.

| name | type | labels | what it is |
|---|---|---|---|
"""


class Described(NamedTuple):
    """One metric; `name` is as a query has it, without what a histogram adds."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> dict[str, tuple[str, ...]]:
        """The names that a query may use, and their labels."""
        if self.kind == "histogram":
            return {self.name + suffix: self.labels + ("le",) * (suffix == "_bucket") for suffix in SUFFIXES[self.kind]}
        return {self.name: self.labels}


def described() -> Iterator[Described]:
    """Every metric of ours, by name."""
    found = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    for metric in sorted(found, key=lambda metric: metric._name):
        labels = ("version",) if isinstance(metric, Info) else tuple(metric._labelnames)
        kind = str(metric._type)
        name = metric._name + (SUFFIXES[kind][0] if kind != "histogram" else "")
        yield Described(name, kind, labels, metric._documentation)


def page() -> str:
    """The whole document."""
    rows = (f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.meaning} |\n" for m in described())
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
