"""What the package is made of: msgspec and the standard library, and the names that it promises."""

import ast
import sys
from pathlib import Path

import sluiceway_contracts

PACKAGE = Path(sluiceway_contracts.__file__).parent


def imported(file: Path) -> set[str]:
    """The top-level packages that a module imports, its own aside."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).partition(".")[0])
    return names


def test_it_needs_msgspec_and_the_standard_library_alone() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert files
    foreign = {file.name: imported(file) - sys.stdlib_module_names - {"msgspec"} for file in files}
    assert {name: packages for name, packages in foreign.items() if packages} == {}


def test_it_names_what_it_offers_in_order() -> None:
    names = sluiceway_contracts.__all__
    constants, classes, others = (
        [name for name in names if name.isupper()],
        [name for name in names if name[0].isupper() and not name.isupper()],
        [name for name in names if name[0].islower()],
    )
    assert names == sorted(constants) + sorted(classes) + sorted(others)
    assert len(set(names)) == len(names)


def test_it_offers_all_that_it_names() -> None:
    assert [name for name in sluiceway_contracts.__all__ if not hasattr(sluiceway_contracts, name)] == []


def test_every_event_and_command_is_offered_by_name() -> None:
    structs = {*sluiceway_contracts.EVENTS.values(), *sluiceway_contracts.COMMANDS.values()}
    assert {struct.__name__ for struct in structs} <= set(sluiceway_contracts.__all__)


def test_every_type_is_a_family_and_a_verb() -> None:
    for type in (*sluiceway_contracts.EVENTS, *sluiceway_contracts.COMMANDS):
        assert len(type.split(".")) == 3
        assert type.startswith("sluiceway.")


def test_no_type_is_both_event_and_command() -> None:
    assert not sluiceway_contracts.EVENTS.keys() & sluiceway_contracts.COMMANDS.keys()


def test_no_status_is_both_rising_and_terminal() -> None:
    assert not sluiceway_contracts.STATUS_ORDER.keys() & sluiceway_contracts.TERMINAL
