"""The dashboard can be imported as it is, its panels do not overlap, and its queries ask for what there is."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .queries import mistakes
from .test_alerts import ROOT, promtool, with_promtool

FILE = ROOT / "helm/sluiceway/files/dashboard.json"
WIDTH = 24


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text())
    return loaded


def expressions() -> Iterator[str]:
    """Every query, with Grafana's own words replaced as Grafana does."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "5m"))


def test_it_is_ready_to_import() -> None:
    board = dashboard()
    assert board["id"] is None, "Grafana gives it one"
    assert board["uid"]
    assert board["title"] == "Sluiceway"
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "connection", "account"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == [
        *("Inbound", "Outbound", "NATS", "Process")
    ]
    sources = [
        one["datasource"]
        for panel in board["panels"]
        for one in (panel, *panel.get("targets", ()))
        if "datasource" in one
    ]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    used = set(re.findall(r"\$\{?(\w+)", FILE.read_text())) - {"__rate_interval", "__all"}
    assert used == set(variables), "every variable is used, and none that there is not"


def test_panels_have_ids_of_their_own_say_what_they_show_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    for panel in panels:
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= WIDTH
        assert panel["type"] == "row" or (panel["description"] and panel["title"] and panel["targets"])
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


def test_its_queries_ask_for_metrics_that_there_are() -> None:
    assert [mistake for expression in expressions() for mistake in mistakes(expression)] == []
    variables = [v["query"]["query"] for v in dashboard()["templating"]["list"] if v["type"] == "query"]
    for query in variables:
        metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert mistakes(f"sum by ({label}) ({metric})") == []


@with_promtool
def test_its_queries_are_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(expressions())]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert promtool("check", "rules", str(tmp_path / "queries.yaml")) == ""
