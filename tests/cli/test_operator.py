"""What `sluiceway permissions operator` prints is enough for an operator's commands, on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.gateway import Secret
from sluiceway.testing.nats import NatsServer, nats_server

from .conftest import SECRETS, Cli, Deployment, interrupt, settings, until
from .test_dead import DELIVERY, RECEIVED, TRIED, a_command, put_letters_aside

PASSWORD = "only for tests"


class Operated:
    """A deployment whose processes have an administrator's user, and an operator's shell beside it."""

    def __init__(self, folder: Path, server: NatsServer, processes: ExitStack, domain: str | None) -> None:
        self.server = server
        environment = settings(server) | SECRETS | {"NATS": PASSWORD, "SLUICEWAY_NATS__PASSWORD": "env:NATS"}
        if domain is not None:
            environment["SLUICEWAY_NATS__DOMAIN"] = domain
        printed = Cli(folder, environment, processes).run("permissions", "operator", "--tenant", "acme").stdout
        user = printed.replace("$OPERATOR_PASSWORD", f'"{PASSWORD}"')
        admin = f'{{ user: admin, password: "{PASSWORD}" }}'
        server.config += f"\nauthorization {{ users: [\n{admin}\n{user}\n] }}"
        server.restart()
        self.deployment = Deployment(folder, environment | {"SLUICEWAY_NATS__USER": "admin"}, processes)
        mine = {"SLUICEWAY_NATS__USER": "operator", "SLUICEWAY_NATS__INBOX_PREFIX": "_INBOX_operator"}
        self.cli = Cli(folder, environment | mine | {"SLUICEWAY_NATS__STREAMS": "check"}, processes)

    @property
    def admins(self) -> Nats:
        """The administrator's settings."""
        domain = self.cli.environment.get("SLUICEWAY_NATS__DOMAIN")
        return msgspec.structs.replace(self.cli.nats, user="admin", password=Secret(PASSWORD), domain=domain)

    def run(self, *arguments: str) -> str:
        """What it says; it must succeed, and the server refuse nothing."""
        done = self.cli.run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert "Violation" not in self.server._log.read_text(), arguments
        return done.stdout


@pytest.fixture(params=[None, "hub"], ids=["plain", "domain"])
def operated(tmp_path: Path, request: pytest.FixtureRequest, processes: ExitStack) -> Iterator[Operated]:
    config = f"jetstream {{ domain: {request.param} }}" if request.param else ""
    with nats_server(tmp_path / "nats", config) as server:
        yield Operated(tmp_path, server, processes, request.param)


def test_the_operators_user_can_do_all_that_people_do(operated: Operated) -> None:
    run = operated.run
    assert "missing" not in run("streams", "list", "--tenant", "acme")
    run("check")
    run("simulate", "sms", "--from", "+447700900456", "Where is my order?")
    until(lambda: "Where is my order?" in run("tail", "--no-follow"), "it is on the stream")
    event = json.loads(run("tail", "--no-follow", "--json").splitlines()[-1])
    conversation, contact = event["subject"], event["contactid"]
    until(lambda: conversation in run("conversation", "list"), "the conversation has its record")
    assert "Where is my order?" in run("conversation", "show", conversation)
    assert "sms" in run("can-send", conversation)
    run("reply", conversation, "On its way.")
    run("send", "--to", "tel:+447700900777", "Hello")
    run("contact", "show", contact)
    run("contact", "link", contact, "mailto:anna@shop.example")
    run("contact", "export", contact)
    assert "healthy" in run("account", "list")
    assert "acme-desk" in run("consumer", "add", "acme-desk", "--tenant", "acme", "--since", "all")
    assert "acme-desk" in run("consumer", "list")
    run("consumer", "remove", "acme-desk")
    (operated.cli.folder / "invoice.txt").write_text("49.90")
    ref = run("media", "put", "invoice.txt").strip()
    assert run("media", "get", ref) == "49.90"
    run("agent", "set", "tom", "--state", "away", "--wait", "0")
    run("contact", "erase", contact, "--yes")


def test_the_operators_user_replays_dead_letters(operated: Operated) -> None:
    asyncio.run(
        put_letters_aside(
            operated.admins,
            (
                ("acme.dead.inbound.sms.twilio-uk", DELIVERY, RECEIVED),
                ("acme.dead.commands.sms.uk-sms", a_command().encode(), TRIED),
            ),
        )
    )
    assert len(operated.run("dead", "list").splitlines()) == 2
    assert "reason: KeyError" in operated.run("dead", "show", "1")
    assert "stored: message.received" in operated.run("dead", "replay", "1")
    assert "published again" in operated.run("dead", "replay", "2")


def test_the_operators_user_saves_and_restores_and_then_streams_are_there(operated: Operated) -> None:
    """In the order for a NATS that is lost: restore, restart, and only then what makes streams."""
    operated.run("simulate", "sms", "--from", "+447700900456", "Where is my order?")
    until(lambda: "Where is my order?" in operated.run("tail", "--no-follow"), "it is on the stream")
    folder = operated.run("backup", "backups").splitlines()[-1].removeprefix("saved in ")
    assert f"OBJ_{operated.cli.nats.names}_MEDIA_acme" in os.listdir(operated.cli.folder / folder)
    assert interrupt(operated.deployment.gateway) == 0
    operated.server.kill()
    shutil.rmtree(operated.server._folder / "jetstream")
    operated.server.restart()
    operated.run("restore", folder)
    operated.server.restart()
    made = operated.run("streams", "create", "--tenant", "acme", "--json").splitlines()
    assert {json.loads(line)["state"] for line in made} == {"there"}
    assert "Where is my order?" in operated.run("tail", "--no-follow")


def test_a_tenant_that_was_not_named_is_told_with_the_permission_that_lacks(operated: Operated) -> None:
    asyncio.run(_made(operated.admins, "globex"))
    done = operated.cli.run("backup", "backups")
    assert done.returncode == 1
    call = f"STREAM.SNAPSHOT.OBJ_{operated.cli.nats.names}_MEDIA_globex"
    assert f"{call}; give it the permissions that `sluiceway permissions operator` prints" in done.stderr


async def _made(nats: Nats, tenant: str) -> None:
    link = Link(nats, "test")
    await link.connect(10)
    await ensure(link, Layout(nats), create=True, tenants=[tenant])
    await link.close()
