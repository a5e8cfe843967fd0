"""What the Containerfiles say: what runs is only copied, runs as nobody, and all that is installed is locked."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from .instructions import Stage, read

ROOT = Path(__file__).parents[2]
OURS = ROOT / "helm/image/Containerfile"
FILES = [OURS, ROOT / "tests/plugin/Containerfile"]
NEEDS_A_COMPILER = re.compile(r"\b(apt|apt-get|apk|dnf|gcc|cc|make|cargo|build-essential|curl|wget|git)\b")


def stages(file: Path = OURS) -> dict[str, Stage]:
    """By name; the last has none."""
    return {stage.name: stage for stage in read(file)[1]}


def commands(stage: Stage) -> list[str]:
    """The commands of its RUNs."""
    return [command.strip() for value in stage.values("RUN") for command in value.split("&&")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_it_needs_no_syntax_from_a_registry_and_names_no_host(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"^#\s*(syntax|escape|check)\s*=", text, re.MULTILINE | re.IGNORECASE)
    assert not re.search(r"https?://|\w\.(com|org|io|dev|net)\b", text.replace("org.opencontainers", ""))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_python_that_it_stands_on_can_be_another(file: Path) -> None:
    arguments, all = read(file)
    assert ("ARG", "PYTHON_IMAGE=python:3.11-slim") in arguments
    assert stages(file)["build"].image == "${PYTHON_IMAGE}"
    images = {"${PYTHON_IMAGE}", "${RUNTIME_IMAGE}", "${BASE_IMAGE}"}
    assert all[0].image in images
    assert {stage.image for stage in all} <= images | {stage.name for stage in all}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_runs_is_copied_from_other_stages_and_executes_nothing_when_it_is_built(file: Path) -> None:
    for name in ("base", ""):
        stage = stages(file)[name]
        assert {*stage.values("RUN"), *stage.values("ADD")} == set()
        assert [value for value in stage.values("COPY") if not value.startswith("--from=")] == []
    assert stages(file)[""].image == "base"


def test_it_runs_as_a_number_and_without_a_shell() -> None:
    all = stages()
    assert all["base"].values("USER") == ["10001:10001"]
    assert all[""].values("USER") == []
    assert json.loads(all["base"].values("ENTRYPOINT")[0]) == ["sluiceway"]
    for stage in all.values():
        assert stage.values("CMD") == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_compiled_or_fetched_but_by_pip(file: Path) -> None:
    for stage in stages(file).values():
        assert [command for command in commands(stage) if NEEDS_A_COMPILER.search(command)] == []


def test_what_is_installed_from_outside_is_locked_and_is_a_wheel() -> None:
    installs = [command for stage in stages().values() for command in commands(stage) if " install " in command]
    assert len(installs) == 5
    for command in installs:
        locked = "--require-hashes" in command and "--only-binary :all:" in command and ".txt" in command
        assert locked or "--no-index" in command, command


def test_every_pip_that_looks_outside_takes_its_configuration_as_a_secret() -> None:
    for file in FILES:
        for stage in stages(file).values():
            for value in stage.values("RUN"):
                if " install " in value.replace("--no-index", "") and ".txt" in value:
                    assert "--mount=type=secret,id=pip.conf,target=/etc/pip.conf" in value
                    assert "--mount=type=secret,id=ca.crt,target=/run/ca.crt" in value


def test_its_version_is_that_of_the_distribution() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in stages()["base"].values("LABEL")[0]
