"""What the chart makes of the alerts: those of its namespace, for the gateways that it knows, none that is unwanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ..helm.chart import VALUES, render, rendered, resources, template, written
from .queries import mistakes
from .test_alerts import ROOT, TRIED, alerts, promtool, with_promtool

GONE = "SluicewayWorkloadGone"
SCRAPED = {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
LABELS = 'namespace="prod", app_kubernetes_io_instance="sluiceway", app_kubernetes_io_component='


def rules(found: dict[str, Any]) -> list[dict[str, Any]]:
    (rule,) = (resource for resource in found.values() if resource["kind"] == "PrometheusRule")
    return [rule for group in rule["spec"]["groups"] for rule in group["rules"]]


def in_prod(folder: Path, **values: Any) -> dict[str, Any]:
    """The PrometheusRule's groups of a release in the namespace prod."""
    file = written(folder, {"metrics": SCRAPED, "gateways": {"sms": {}, "sms-uk": {"channels": ["sms"]}}, **values})
    found = resources(template("helm4", *VALUES["ci/minimal"], file, namespace="prod"))
    groups: dict[str, Any] = found["PrometheusRule/sluiceway"]["spec"]
    return groups


def tried(folder: Path, groups: dict[str, Any], tests: list[dict[str, Any]]) -> str:
    """What promtool has against these tests of these rules."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(groups), encoding="utf-8")
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return promtool("check", "rules", str(folder / "rules.yaml")) + promtool(
        "test", "rules", str(folder / "tests.yaml")
    )


@with_promtool
def test_those_of_a_release_fire_and_keep_quiet_as_the_plain_ones_do(tmp_path: Path) -> None:
    tests = yaml.safe_load(TRIED.read_text(encoding="utf-8"))["tests"]
    kept = [one for one in tests if one["name"].split()[0] not in {"SluicewayChannelGone", "SluicewayAbsent"}]
    assert len(kept) == len(tests) - 4
    assert tried(tmp_path, in_prod(tmp_path), kept) == ""


@with_promtool
def test_they_keep_quiet_about_another_namespace(tmp_path: Path) -> None:
    series = [{"series": 'sluiceway_ready{namespace="other", pod="sms-0"}', "values": "0x60"}]
    alert = 'ALERTS{alertname="SluicewayNotReady", alertstate="firing"}'
    quiet = {"expr": alert, "eval_time": "30m", "exp_samples": []}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [quiet]}
    assert tried(tmp_path, in_prod(tmp_path), [test]) == ""


@with_promtool
def test_one_of_two_gateways_of_a_channel_is_missed_and_for_as_long_as_it_is_gone(tmp_path: Path) -> None:
    seen = [
        {"series": f'sluiceway_ready{{{LABELS}"sms", pod="sms-0"}}', "values": "1x720"},
        {"series": f'sluiceway_ready{{{LABELS}"dispatcher", pod="dispatcher-0"}}', "values": "1x720"},
        {"series": f'sluiceway_ready{{{LABELS}"sms-uk", pod="sms-uk-0"}}', "values": "1x30 _x690"},
    ]
    alert = f'ALERTS{{alertname="{GONE}", alertstate="firing"'
    one = {"labels": f'{alert}, severity="page", {LABELS}"sms-uk"}}', "value": 1}
    expected = [
        {"expr": f"{alert}}}", "eval_time": time, "exp_samples": samples}
        for time, samples in (("20m", []), ("60m", [one]), ("11h", [one]))
    ]
    test = {"interval": "1m", "input_series": seen, "promql_expr_test": expected}
    assert tried(tmp_path, in_prod(tmp_path), [test]) == ""


def test_where_there_is_no_dispatcher_nobody_is_woken_for_it(tmp_path: Path) -> None:
    found = rules(render(tmp_path, {"metrics": SCRAPED, "dispatcher": {"enabled": False}}))
    assert "SluicewayNoDispatcher" not in {rule["alert"] for rule in found}
    assert [rule["expr"] for rule in found if rule["alert"] == GONE and "dispatcher" in rule["expr"]] == []


def test_a_gateway_that_is_scaled_to_nothing_is_not_missed() -> None:
    gone = [rule["expr"] for rule in rules(rendered("ci/everything")) if rule["alert"] == GONE]
    assert len(gone) == 3
    assert [expr for expr in gone if '"chats"' in expr or '"voice"' in expr] == []


def test_what_is_disabled_is_left_out_and_the_rest_says_where_its_section_is() -> None:
    found = rules(rendered("ci/everything"))
    names = {alert["alert"] for alert in alerts()}
    left_out = {"SluicewaySendsRejected", "SluicewayChannelGone", "SluicewayAbsent"}
    assert {rule["alert"] for rule in found} == names - left_out | {GONE}
    for rule in found:
        url = f"https://wiki.example.com/operations#{rule['alert'].lower()}"
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == url


def test_without_the_pod_monitor_they_are_installed_as_they_are_written(tmp_path: Path) -> None:
    assert rules(render(tmp_path, {"metrics": {"prometheusRule": {"enabled": True}}})) == alerts()


@pytest.mark.parametrize("rule", rules(rendered("examples/production")), ids=lambda rule: str(rule["alert"]))
def test_each_asks_for_what_the_pod_monitor_brings(rule: dict[str, Any]) -> None:
    monitor = rendered("examples/production")["PodMonitor/sluiceway"]["spec"]
    brought = {label.translate(str.maketrans("./-", "___")) for label in monitor["podTargetLabels"]}
    missing = [one for one in mistakes(rule["expr"]) if not one.endswith(tuple(f"has no label {b}" for b in brought))]
    assert missing == []


def test_the_runbook_knows_it() -> None:
    assert f"### {GONE}\n" in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
