"""Writes the table of values into the chart's README, from the comments in values.yaml. Changes nothing else.

A value without a comment of its own belongs to the one above it. `--check` only says whether the README is up to date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).parent / "sluiceway"
README, VALUES = CHART / "README.md", CHART / "values.yaml"
START, END = "<!-- values: made by `make chart` -->\n", "<!-- end of values -->\n"


def main() -> None:
    made = README.read_text(encoding="utf-8")
    before, _, rest = made.partition(START)
    _, _, after = rest.partition(END)
    wanted = f"{before}{START}\n{table(VALUES.read_text(encoding='utf-8'))}\n{END}{after}"
    if "--check" not in sys.argv:
        README.write_text(wanted, encoding="utf-8")
    elif made != wanted:
        sys.exit(f"{README} is not up to date: run `make chart`")


def table(text: str) -> str:
    """The values as a Markdown table."""
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise SystemExit(f"{VALUES} is no map")
    lines = text.splitlines()
    rows = (f"| `{path}` | {default} | {comment} |" for path, default, comment in values(root, lines))
    return "\n".join(("| value | default | |", "|---|---|---|", *rows)) + "\n"


def values(mapping: yaml.MappingNode, lines: list[str], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, default and comment of each value; maps whose keys have no comments are one value."""
    for key, value in mapping.value:
        name, comment = f"{path}{key.value}", _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and _explained(value, lines):
            if comment:
                yield name, "", comment
            yield from values(value, lines, f"{name}.")
        elif comment:
            yield name, f"`{json.dumps(yaml.safe_load(yaml.serialize(value)), ensure_ascii=False)}`", comment
        else:
            raise SystemExit(f"{VALUES}: {name} has no comment above it")


def _explained(mapping: yaml.MappingNode, lines: list[str]) -> bool:
    """Whether keys in it have comments."""
    return any(
        _comment(lines, key.start_mark.line) or (isinstance(value, yaml.MappingNode) and _explained(value, lines))
        for key, value in mapping.value
    )


def _comment(lines: list[str], line: int) -> str:
    """The comment right above a line."""
    comment: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        comment.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(comment).replace("|", "\\|")


if __name__ == "__main__":
    main()
