"""`sluiceway play`: recorded messages on a real stream, once."""

import json
from pathlib import Path

from .conftest import Cli, received

STORY = Path(__file__).parents[2] / "contracts" / "samples" / "story.ndjson"


def test_the_story_is_stored_in_order_and_only_once(cli: Cli) -> None:
    assert cli.run("play", str(STORY)).stdout == f"{STORY}: 23 stored\n"
    assert cli.run("play", str(STORY)).stdout == f"{STORY}: 0 stored, 23 were there already\n"
    assert cli.run("tail", "--no-follow", "--json").stdout == STORY.read_text(encoding="utf-8")


def test_another_tenant_has_the_story_too(cli: Cli) -> None:
    cli.run("play", str(STORY))
    assert cli.run("play", str(STORY), "--tenant", "globex").stdout == f"{STORY}: 23 stored\n"
    lines = cli.run("tail", "--no-follow", "--json", "--tenant", "globex").stdout.splitlines()
    assert {json.loads(line)["tenant"] for line in lines} == {"globex"}
    assert len(lines) == 23


def test_nothing_is_published_of_a_file_with_a_bad_line(cli: Cli) -> None:
    cli.publish()
    file = cli.write("bad.ndjson", received("good").encode().decode() + "\n{}\n")
    done = cli.run("play", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sluiceway: bad.ndjson:2: nothing is no type of the contract; nothing was published\n"
    assert cli.run("tail", "--no-follow").stdout == ""


def test_standard_input_can_be_played(cli: Cli) -> None:
    assert cli.run("play", "-", input=received("hello").encode().decode()).stdout == "<stdin>: 1 stored\n"


def test_typing_is_live_and_not_stored(cli: Cli) -> None:
    sample = STORY.parent / "events" / "typing.changed.json"
    assert cli.run("play", str(sample)).stdout == f"{sample}: 0 stored, 1 live\n"
    assert cli.run("tail", "--no-follow").stdout == ""


def test_streams_that_an_administrator_creates_are_not_created(cli: Cli) -> None:
    cli.environment["SLUICEWAY_NATS__STREAMS"] = "check"
    done = cli.run("play", str(STORY))
    assert done.returncode == 1
    assert "is missing; create it, or set nats.streams to create" in done.stderr
