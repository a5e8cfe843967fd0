"""Metrics are named as Prometheus wants it, and docs/metrics.md lists them all."""

from __future__ import annotations

import re

from .metrics import PAGE, described, page


def test_the_document_lists_every_metric_as_it_is() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.operations.metrics"


def test_names_say_their_unit_and_what_counts_ends_in_total() -> None:
    for metric in described():
        assert re.fullmatch(r"sluiceway_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_bytes")), metric.name
        assert not re.search(r"_(ms|millis|minutes|kb|mb|percent)(_|$)", metric.name)


def test_labels_are_words_that_bound_how_many_series_there_are() -> None:
    bounded = {"account", "channel", "connection", "kind", "name", "outcome", "state", "status", "stream", "version"}
    assert {label for metric in described() for label in metric.labels} <= bounded
