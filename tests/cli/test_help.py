"""Help is quick: it imports nothing that only commands need. Mistakes are told by their exit code."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from sluiceway.cli import COMMANDS, group

IMPORTS = """
import sys
from sluiceway.cli import group
try:
    group(sys.argv[1:])
finally:
    print(sorted({"aiohttp", "nats", "prometheus_client", "sluiceway.service"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS)], ids=str)
def test_help_imports_neither_aiohttp_nor_nats(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *arguments, "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage:" in done.stdout
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0
    assert f"sluiceway {name}" in result.output.partition("Example")[2]
    assert "\\b" not in result.output
    assert "\b" not in result.output


def test_the_list_of_commands_is_whole() -> None:
    result = CliRunner().invoke(group, ["--help"])
    for name, (_, help) in COMMANDS.items():
        assert name in result.output
        assert help in result.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["tail", "--since", "yesterday"], "is no duration"),
        (["tail", "--channel", "sms.>"], "is no subject token"),
        (["tail", "--tenant", "any"], "is reserved"),
        (["tail", "--conversation", "*"], "is no conversation's id"),
        (["tail", "--count", "0"], "0 is not in the range"),
        (["send", "--to", "07700900456", "Hello"], "not an address"),
        (["send", "--to", "tel:+447700900456", " "], "the text is empty"),
        (["send", "--to", "tel:+447700900456", "Hello", "--wait", "long"], "is no duration"),
        (["reply", "019c22f1-d578-7625-af24-35aeedc2728d", ""], "the text is empty"),
        (["reply", "that-one", "Hello"], "is no conversation's id"),
        (["simulator", "--listen", "8999"], "write host:port"),
        (["play", "nowhere.ndjson"], "No such file"),
        (["schema", "message.recieved"], "did you mean sluiceway.message.received?"),
        (["schema", "message.received", "--asyncapi"], "leave TYPE out"),
        (["nonsense"], "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_use_is_told_and_ends_with_2(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 2
    assert why in " ".join(result.output.split())
