"""Alerts fire on what is bad and not on what is good, ask for what there is, and each has a section in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .queries import asked, mistakes

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "helm/sluiceway/files/alerts.yaml"
TRIED = Path(__file__).with_name("alerts.yaml")
OPERATIONS = ROOT / "docs/operations.md"
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here: apt-get install prometheus")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> str:
    """What it has against them."""
    done = subprocess.run([PROMTOOL or "", *arguments], text=True, capture_output=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@with_promtool
def test_promtool_takes_them() -> None:
    assert promtool("check", "rules", str(ALERTS)) == ""


@with_promtool
def test_each_fires_on_its_bad_series_and_not_on_its_good_ones() -> None:
    assert promtool("test", "rules", str(TRIED)) == ""


def test_each_is_tried_both_ways() -> None:
    fires: dict[str, set[bool]] = {}
    for tried in yaml.safe_load(TRIED.read_text())["tests"]:
        for one in tried["promql_expr_test"]:
            (name,) = re.findall(r'alertname="(\w+)"', one["expr"])
            fires.setdefault(name, set()).add(bool(one["exp_samples"]))
    assert fires == {alert["alert"]: {True, False} for alert in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_metrics_that_there_are_and_says_what_people_need(alert: dict[str, Any]) -> None:
    assert mistakes(alert["expr"]) == []
    assert list(asked(alert["expr"]))
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"
    assert alert["annotations"]["summary"].endswith(".")


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    sections = re.findall(r"^### (Sluiceway\w+)$", OPERATIONS.read_text(), flags=re.MULTILINE)
    assert sorted(sections) == sorted([*(alert["alert"] for alert in alerts()), "SluicewayWorkloadGone"])  # the chart's


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ("sluiceway_nothing > 0", "there is no metric sluiceway_nothing"),
        ('sluiceway_ready{account="x"}', "sluiceway_ready has no label account"),
        ("sum by (connection) (sluiceway_ready)", "it groups by connection, which nothing in it has"),
        ("sum by (le) (rate(sluiceway_hook_seconds_count[5m]))", "it groups by le, which nothing in it has"),
    ],
)
def test_what_is_asked_wrongly_is_found(expression: str, mistake: str) -> None:
    assert mistakes(expression) == [mistake]
