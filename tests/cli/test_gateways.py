"""What is installed, and what is wrong with it."""

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sluiceway import plugins
from sluiceway.cli import group


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(group, ["gateways", "--json", *arguments])
    assert result.exit_code == 0
    return {row["name"]: row for row in map(json.loads, result.output.splitlines())}


def test_a_gateway_is_listed_with_its_distribution_and_abilities() -> None:
    row = listed()["sms.twilio"]
    assert row["channel"] == "sms"
    assert row["distribution"] == "sluiceway"
    assert row["abilities"] == ["Webhook", "Sender", "MediaFetcher"]
    assert row["simulator"] is True
    assert "error" not in row


def test_the_readable_list_is_one_line_a_gateway() -> None:
    lines = CliRunner().invoke(group, ["gateways"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(listed())


def test_broken_gateways_are_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "raising_gateway.py").write_text("raise ValueError('not today')")
    monkeypatch.syspath_prepend(tmp_path)
    values = {"sms.absent": "no_such_module:X", "sms.number": "sys:maxsize", "sms.raising": "raising_gateway:X"}
    points = [EntryPoint(name=name, value=value, group=plugins.GATEWAYS) for name, value in values.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == plugins.GATEWAYS else [])
    rows = listed()
    assert "can't be imported from no_such_module:X" in rows["sms.absent"]["error"]
    assert "is no Gateway" in rows["sms.number"]["error"]
    assert rows["sms.raising"]["error"] == "importing it raises ValueError: not today"
    assert "raising_gateway" not in sys.modules


def test_none_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    result = CliRunner().invoke(group, ["gateways"])
    assert (result.exit_code, result.output) == (0, "no gateway is installed\n")
