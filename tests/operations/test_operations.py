"""docs/operations.md names nothing that there is not: commands, files, values, metrics, tests; what it adds renders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluiceway.cli import COMMANDS

from ..helm.chart import CHART, render
from .queries import KNOWN
from .test_alerts import OPERATIONS, ROOT

TEXT = OPERATIONS.read_text()
LOGGED = {"nats.error", "accounts.d"}
QUOTED = re.findall(r"`([^`]+)`", TEXT.replace("\n", " ")) + re.findall(r"^    (.+)$", TEXT, flags=re.MULTILINE)


def test_commands_are_there() -> None:
    named = {word for text in QUOTED for word in re.findall(r"\bsluiceway ([a-z][a-z-]+)\b", text)}
    assert named - {"helm"} <= set(COMMANDS), "sluiceway has no such command"
    assert {"check", "account", "backup", "restore", "dead", "permissions", "streams"} <= named


def test_files_are_there() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert [path for path in linked if not (OPERATIONS.parent / path).exists()] == []
    values = re.findall(r"-f (helm/\S+)", TEXT)
    assert len(values) >= 2
    assert [path for path in values if not (ROOT / path).exists()] == []
    benches = re.findall(r"python -m (tests\.bench\.\w+)", TEXT)
    assert [name for name in benches if not (ROOT / (name.replace(".", "/") + ".py")).exists()] == []


def test_links_within_it_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", TEXT, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings


def test_metrics_are_there() -> None:
    assert set(re.findall(r"\bsluiceway_[a-z_]+", TEXT)) <= set(KNOWN)


def test_tests_are_there() -> None:
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", TEXT) if f"def {name}(" not in written] == []


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            word
            for text in QUOTED
            for word in re.findall(r"^(?:nats|metrics|streams|accounts)\.[A-Za-z.]+", text)
            if word not in LOGGED
        }
    ),
)
def test_values_are_the_charts(path: str) -> None:
    found: Any = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in path.removesuffix(".").split("."):
        assert name in found, path
        found = found[name]


def test_the_gateways_that_it_adds_are_deployed(tmp_path: Path) -> None:
    (block,) = re.findall(r"\n\n((?:    .*\n)*    gateways:\n(?:    .*\n)+)", TEXT)
    added = yaml.safe_load(re.sub(r"^    ", "", block, flags=re.MULTILINE))
    found = render(tmp_path, added)
    for name in added["gateways"]:
        pod = found[f"Deployment/sluiceway-{name}"]["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"][-1] == name
    assert "registry.example/pigeonpost:1.0" in str(found["Deployment/sluiceway-pigeon"])
