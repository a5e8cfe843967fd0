"""The chart as Helm renders it, each combination once in a process. Talks to no cluster."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "sluiceway"
BINARIES = ROOT / ".venv" / "helm"
HELMS = ("helm3", "helm4")
KUBERNETES = ("1.30.0", "1.34.0", "1.37.0")
ENVIRONMENTS = CHART / "examples" / "environments"
VALUES = {
    **{f"ci/{path.stem}": (path,) for path in sorted((CHART / "ci").glob("*.yaml"))},
    **{f"examples/{path.stem}": (path,) for path in sorted((CHART / "examples").glob("*.yaml"))},
    **{
        f"examples/environments/{name}": (ENVIRONMENTS / "base.yaml", ENVIRONMENTS / f"{name}.yaml")
        for name in ("development", "staging", "production")
    },
}
"""Every set of values that must work, by name."""

Resource = dict[str, Any]


def helm(binary: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the two Helms. Raises `FileNotFoundError` where they were not fetched."""
    program = BINARIES / binary
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing; fetch it: make .venv/helm/.installed")
    command = [program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def template(binary: str, *files: Path, kubernetes: str = KUBERNETES[0], namespace: str = "channels") -> str:
    """What is rendered. Raises `AssertionError` with what Helm says against it."""
    values = [word for file in files for word in ("-f", str(file))]
    done = helm(binary, "template", "sluiceway", CHART, "--kube-version", kubernetes, "-n", namespace, *values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def resources(text: str) -> dict[str, Resource]:
    """By kind and name; that two have the same is refused."""
    documents = [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
    found = {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}
    assert len(found) == len(documents), "two resources have the same kind and name"
    return found


@cache
def rendered(name: str, binary: str = "helm4", kubernetes: str = KUBERNETES[0]) -> dict[str, Resource]:
    """The resources of one of `VALUES`."""
    return resources(template(binary, *VALUES[name], kubernetes=kubernetes))


def render(folder: Path, values: dict[str, Any]) -> dict[str, Resource]:
    """The resources of values of a test's own over ci/minimal.yaml."""
    return resources(template("helm4", *VALUES["ci/minimal"], written(folder, values)))


def written(folder: Path, values: dict[str, Any]) -> Path:
    """A values file."""
    file = folder / "values.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")  # every JSON document is one of YAML
    return file


def pods(found: dict[str, Resource]) -> dict[str, Resource]:
    """The spec of each pod that is made, by the kind and name of what makes it."""
    specs = {}
    for key, resource in found.items():
        match resource["kind"]:
            case "Deployment" | "StatefulSet" | "Job":
                specs[key] = resource["spec"]["template"]["spec"]
            case "Pod":
                specs[key] = resource["spec"]
    return specs
