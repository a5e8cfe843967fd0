"""Who may import what: the rules of the house, held by reading every import of every module."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import sluiceway

ROOT = Path(__file__).parents[2]
ROOTS = {"contracts": "sluiceway_contracts", "core": "sluiceway", "gateways": "sluiceway_gateways"}
CORE_LIBRARIES = {
    *(
        "click",
        "msgspec",
        "prometheus_client",
        "puremagic",
        "python_multipart",
        "regex",
        "structlog",
        "typing_extensions",
        "uvloop",
    ),
}
PUBLIC_MODULES = {"errors", "gateway", "signing", "simulator", "testing", "wire"}
"""Modules of core whose names a gateway may import, besides those that `sluiceway` offers itself."""


class Import(NamedTuple):
    """What a module imports: `module`, or `name` of it. Both are absolute."""

    file: str
    line: int
    module: str
    name: str

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.module} {self.name}".rstrip()


def read(source: str, file: str) -> Iterator[Import]:
    """Every import of a module, those inside functions and conditions too; `file` is its path below an import root."""
    package = Path(file).parent.parts
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(file, node.lineno, alias.name, "")
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else ()
                where = ".".join([*base, *([module] if module else [])])
                for alias in names:
                    yield Import(file, node.lineno, where, alias.name)
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")):
                argument = node.args[0] if node.args else None
                if isinstance(argument, ast.Constant) and not str(argument.value).startswith("."):
                    yield Import(file, node.lineno, str(argument.value), "")


def everything(root: str) -> list[Import]:
    folder = ROOT / root
    files = sorted((folder / ROOTS[root]).rglob("*.py"))
    assert files
    return [found for file in files for found in read(file.read_text(), file.relative_to(folder).as_posix())]


def is_foreign(found: Import) -> bool:
    return found.package not in sys.stdlib_module_names


def breaks_contracts_rule(found: Import) -> bool:
    """msgspec, itself, and nothing else outside the standard library."""
    return is_foreign(found) and found.package not in {"msgspec", "sluiceway_contracts"}


def breaks_core_rule(found: Import) -> bool:
    """The contract and core's libraries, never a gateway; nats and aiohttp in one place each."""
    if not is_foreign(found) or found.package in CORE_LIBRARIES | {"sluiceway", "sluiceway_contracts"}:
        return False
    place = {
        "nats": "sluiceway/bus/",
        "nacl": "sluiceway/bus/",
        "aiohttp": "sluiceway/http/",
        "yarl": "sluiceway/http/",
    }.get(found.package)
    return place is None or not found.file.startswith(place)


def breaks_gateways_rule(found: Import) -> bool:
    """Sluiceway's public names, the contract, msgspec, its own folder, and what its provider's channels share."""
    match found.module.split("."):
        case ["sluiceway"]:
            return found.name not in sluiceway.__all__ and found.name not in PUBLIC_MODULES
        case ["sluiceway", module, *_]:
            return module not in PUBLIC_MODULES or found.name.startswith("_")
        case ["sluiceway_gateways"]:
            return not found.name.startswith("_")
        case ["sluiceway_gateways", folder, *_]:
            return not folder.startswith("_") and folder != Path(found.file).parts[1]
    allowed = {"msgspec", "sluiceway_contracts"} | PROTOCOLS.get(Path(found.file).parts[1], set())
    return is_foreign(found) and found.package not in allowed


PROTOCOLS = {
    "email": {"aiosmtpd", "aiosmtplib", "idna", "markdown_it", "nh3"},
    "voice": {"twilio"},  # TwiML alone, which its provider's library writes
}
"""What a channel's folder may import besides, as what it speaks is more than HTTP or WebSocket."""
RULES = {"contracts": breaks_contracts_rule, "core": breaks_core_rule, "gateways": breaks_gateways_rule}


@pytest.mark.parametrize("root", RULES)
def test_no_import_breaks_the_rule_of_its_room(root: str) -> None:
    assert [str(found) for found in everything(root) if RULES[root](found)] == []


@pytest.mark.parametrize(
    ("root", "file", "source"),
    [
        ("contracts", "sluiceway_contracts/x.py", "import nats"),
        ("contracts", "sluiceway_contracts/x.py", "from sluiceway import Secret"),
        ("core", "sluiceway/x.py", "import sluiceway_gateways.sms.twilio"),
        ("core", "sluiceway/x.py", "def f():\n    from sluiceway_gateways.sms import twilio"),
        ("core", "sluiceway/x.py", "import importlib\nimportlib.import_module('sluiceway_gateways')"),
        ("core", "sluiceway/x.py", "def f():\n    if True:\n        import nats.errors"),
        ("core", "sluiceway/testing/nats.py", "import nats"),
        ("core", "sluiceway/http/x.py", "from nats.aio.client import Client"),
        ("core", "sluiceway/bus/x.py", "from aiohttp import web"),
        ("core", "sluiceway/x.py", "import requests"),
        ("gateways", "sluiceway_gateways/sms/x.py", "import aiohttp"),
        ("gateways", "sluiceway_gateways/sms/x.py", "def f():\n    import nats"),
        ("gateways", "sluiceway_gateways/sms/x.py", "import twilio"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from ..voice import twilio"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from .. import voice"),
        ("gateways", "sluiceway_gateways/sms/x.py", "import sluiceway_gateways.voice.twilio"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from sluiceway.bus.link import Link"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from sluiceway import config"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from sluiceway.wire import _pairs"),
        ("gateways", "sluiceway_gateways/_meta.py", "from .sms import twilio"),
    ],
)
def test_a_forbidden_import_would_be_noticed(root: str, file: str, source: str) -> None:
    assert any(RULES[root](found) for found in read(source, file))


@pytest.mark.parametrize(
    ("root", "file", "source"),
    [
        ("core", "sluiceway/bus/x.py", "import nats"),
        ("core", "sluiceway/http/x.py", "import aiohttp"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from .. import _twilio"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from .twilio import TwilioSms"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from .._twilio import Connection"),
        ("gateways", "sluiceway_gateways/sms/x.py", "from sluiceway import Gateway, signing"),
    ],
)
def test_an_allowed_import_passes(root: str, file: str, source: str) -> None:
    assert not any(RULES[root](found) for found in read(source, file))


def test_the_tools_for_gateway_tests_do_without_nats_and_aiohttp() -> None:
    names = ("__init__", "conformance", "play")
    files = [f"sluiceway/testing/{name}.py" for name in names]
    inner = {found.module for found in everything("core") if found.file in files and found.package == "sluiceway"}
    assert {module.split(".")[1] for module in inner} <= {*PUBLIC_MODULES, "testing"}


def by_number(name: str) -> list[tuple[str, int]]:
    """Utf8 before Utf16, as ruff sorts them."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", name)]


def test_the_public_names_are_sorted_and_each_is_there_once() -> None:
    assert list(sluiceway.__all__) == sorted(set(sluiceway.__all__), key=by_number)
    assert [name for name in sluiceway.__all__ if not hasattr(sluiceway, name)] == []


def test_all_that_the_package_imports_is_public() -> None:
    package = read((ROOT / "core/sluiceway/__init__.py").read_text(), "sluiceway/__init__.py")
    assert {found.name for found in package} == set(sluiceway.__all__)


@pytest.mark.parametrize("module", sorted(PUBLIC_MODULES))
def test_every_public_module_can_be_imported(module: str) -> None:
    assert importlib.import_module(f"sluiceway.{module}").__doc__
