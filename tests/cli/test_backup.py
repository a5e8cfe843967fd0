"""`sluiceway backup` and `restore`: files for everything, and out of them everything again."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from sluiceway.testing.nats import NatsServer

from .conftest import Cli, received, settings


@pytest.fixture
def own(tmp_path: Path, own_nats: NatsServer, processes: ExitStack) -> Cli:
    """Without a configuration file, on a server whose disk may be lost."""
    return Cli(tmp_path, settings(own_nats), processes)


def told(cli: Cli) -> list[str]:
    return cli.run("tail", "--since", "1h", "--no-follow", "--json").stdout.splitlines()


def test_what_was_lost_with_the_servers_disk_is_there_again(own: Cli, own_nats: NatsServer) -> None:
    own.publish(received("Where is my order?"), received("Hello?"))
    before = told(own)
    saved = own.run("backup", "backups")
    assert saved.returncode == 0, saved.stderr
    assert f"{own.nats.names}_EVENTS: 2 messages" in saved.stdout
    folder = saved.stdout.splitlines()[-1].removeprefix("saved in ")
    own_nats.kill()
    shutil.rmtree(own_nats._folder / "jetstream")
    own_nats.restart()
    restored = own.run("restore", folder)
    assert (restored.returncode, restored.stderr) == (0, "")
    assert f"{own.nats.names}_EVENTS: 2 messages" in restored.stdout
    assert "restart nats-server" in restored.stdout
    assert len(before) == 2
    assert told(own) == before


def test_what_is_there_is_left_as_it_is_and_told(own: Cli) -> None:
    own.publish(received("Hello?"))
    folder = own.run("backup", "backups").stdout.splitlines()[-1].removeprefix("saved in ")
    done = own.run("restore", folder)
    assert done.returncode == 1
    assert f"{own.nats.names}_EVENTS: " in done.stderr
    assert "already in use" in done.stderr
    assert "were not restored" in done.stderr


def test_nothing_to_save_and_nothing_to_restore_are_told(own: Cli, tmp_path: Path) -> None:
    nothing = own.run("backup", "backups")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "there are no streams that begin with" in nothing.stderr
    (tmp_path / "empty").mkdir()
    done = own.run("restore", "empty")
    assert done.returncode == 1
    assert "empty has no whole backup: manifest.json is missing" in done.stderr
    assert "name the folder that `sluiceway backup` told" in done.stderr
