"""`sluiceway streams`: all is made that must be there, and left alone where it is; what stands against it is said."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.streams import DAY_S, Layout
from sluiceway.config import Nats
from sluiceway.testing.nats import NatsServer, nats_server
from sluiceway.testing.ports import free_port

from .conftest import COMMAND, TWILIO, Cli, received, settings, until

USERS = """
authorization { users: [
  { user: "admin", password: "pass" }
  { user: "looker", password: "pass", permissions: { publish: ["$JS.API.STREAM.INFO.*"], subscribe: ["_INBOX.>"] } }
] }
"""


def told(cli: Cli, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What it says, by the stream's name."""
    done = cli.run("streams", *arguments, "--json")
    assert done.returncode == code, done.stderr
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


def states(rows: dict[str, Any]) -> set[str]:
    return {row["state"] for row in rows.values()}


def asked(nats: Nats, call: str, body: object = None) -> Any:
    async def ask() -> bytes:
        link = Link(nats, "test")
        await link.connect(10)
        try:
            return (await link.request(link.api(call), json.dumps(body).encode() if body else b"", timeout_s=5)).data
        finally:
            await link.close()

    return json.loads(asyncio.run(ask()))


def on(server: NatsServer, tmp_path: Path, processes: ExitStack, **nats: str) -> Cli:
    more = {f"SLUICEWAY_NATS__{name.upper()}": value for name, value in nats.items()}
    return Cli(tmp_path, settings(server) | more, processes)


@pytest.mark.parametrize("streams", ["create", "check"])
def test_everything_is_made_once_and_then_left_alone(cli: Cli, streams: str) -> None:
    cli.environment["SLUICEWAY_NATS__STREAMS"] = streams
    layout = Layout(cli.nats)
    assert states(told(cli, "list")) == {"missing"}
    made = told(cli, "create", "--tenant", "acme", "--tenant", "globex")
    assert set(made) == set(layout.with_media(["acme", "globex"]))
    assert states(made) == {"made"}
    cli.publish(received("Hello"))
    assert states(told(cli, "create", "--tenant", "acme")) == {"there"}
    row = told(cli, "list", "--tenant", "acme")[layout.events]
    assert row["state"] == "there"
    stream = row["stream"]
    assert (stream["messages"], stream["replicas"], stream["storage"]) == (1, 1, "file")
    assert stream["max_age_s"] == 30 * DAY_S
    assert stream["bytes"] > 0


def test_buckets_for_files_are_those_of_the_configurations_tenants_and_no_secret_is_needed(configured: Cli) -> None:
    for secret in ("TWILIO_TOKEN", "IDENTITY_KEY"):
        del configured.environment[secret]
    made = told(configured, "create", "--tenant", "globex")
    names = configured.nats.names
    assert {name for name in made if name.startswith("OBJ_")} == {f"OBJ_{names}_MEDIA_{t}" for t in ("acme", "globex")}
    configured.environment |= {"TWILIO_TOKEN": "0123456789abcdef", "IDENTITY_KEY": "an identity key for tests only"}
    done = configured.run("check", "--json")
    assert done.returncode == 0, done.stdout


def test_an_account_without_a_tenant_is_told(configured: Cli) -> None:
    text = TWILIO.format(hooks=1, probes=2, api=3).replace('tenant = "acme"\n', "")
    configured.write("sluiceway.toml", text)
    done = configured.run("streams", "create")
    assert done.returncode == 1
    assert "sluiceway.toml: accounts.uk-sms.tenant: is missing; add it" in done.stderr


def test_a_tenant_that_is_none_is_refused(cli: Cli) -> None:
    assert cli.run("streams", "create", "--tenant", "acme.>").returncode == 2


def test_other_limits_than_those_configured_are_told_and_stay(cli: Cli) -> None:
    layout = Layout(cli.nats)
    told(cli, "create", "--tenant", "acme")
    config = layout.configs[layout.events] | {"max_age": 365 * DAY_S * 10**9}
    assert "error" not in asked(cli.nats, f"STREAM.UPDATE.{layout.events}", config)
    cli.environment["SLUICEWAY_NATS__MEDIA_MAX_BYTES"] = "1000000"
    for name in ("create", "list"):
        rows = told(cli, name, "--tenant", "acme")
        assert rows[layout.events]["state"] == "differs"
        assert rows[layout.events]["details"] == ["max_age is 365d, configured: 30d"]
        assert rows[f"OBJ_{layout.media('acme')}"]["details"] == ["max_bytes is unlimited, configured: 1000000"]
        assert rows[layout.commands]["state"] == "there"
    info = asked(cli.nats, f"STREAM.INFO.{layout.events}")
    assert info["config"]["max_age"] == config["max_age"]
    line = next(line for line in cli.run("streams", "list").stdout.splitlines() if layout.events in line)
    assert line.startswith(f"differs {layout.events}: 0 messages, 0 bytes; file ×1, kept 365d, of any size; max_age is")


def test_a_stream_that_is_wrong_fails_alone_and_the_others_are_made(cli: Cli) -> None:
    layout = Layout(cli.nats)
    asked(cli.nats, f"STREAM.CREATE.{layout.commands}", layout.configs[layout.commands] | {"discard": "old"})
    made = told(cli, "create", code=1)
    failed = made.pop(layout.commands)
    assert states(made) == {"made"}
    assert failed["state"] == "failed"
    assert "has discard=old, but must have new; alter it" in failed["details"][0]
    listed = told(cli, "list")[layout.commands]
    assert (listed["state"], listed["details"]) == ("wrong", failed["details"])


def test_another_installations_subjects_are_told(cli: Cli) -> None:
    told(cli, "create")
    cli.environment["SLUICEWAY_NATS__NAMES"] += "b"
    rows = told(cli, "create", code=1)
    assert rows[Layout(cli.nats).events]["details"][0].endswith(
        "subjects overlap with an existing stream; another installation in this NATS account has these subjects; "
        "set nats.prefix and nats.names to others"
    )


def test_more_replicas_than_servers_are_told(cli: Cli) -> None:
    cli.environment["SLUICEWAY_NATS__REPLICAS"] = "3"
    rows = told(cli, "create", code=1)
    assert states(rows) == {"failed"}
    assert "one server alone keeps no replicas; set nats.replicas to 1, or use a cluster" in str(rows)


def cluster(tmp_path: Path, processes: ExitStack) -> NatsServer:
    """One of three servers."""
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in ports)
    configs = {port: f'cluster {{ name: three, listen: "127.0.0.1:{port}", routes: [{routes}] }}' for port in ports}
    servers = [nats_server(tmp_path / f"nats-{port}", config) for port, config in configs.items()]
    one, *_ = [processes.enter_context(server) for server in servers]
    return one


def test_in_a_cluster_they_are_made_with_replicas_but_with_no_more_than_it_has_servers(
    tmp_path: Path, processes: ExitStack
) -> None:
    cli = on(cluster(tmp_path, processes), tmp_path, processes, replicas="5")
    until(lambda: "no suitable peers" in cli.run("streams", "create").stdout, "the cluster has a leader")
    rows = told(cli, "create", code=1)
    assert states(rows) == {"failed"}
    assert "this NATS has not as many servers with room for it" in rows[Layout(cli.nats).events]["details"][0]
    cli.environment["SLUICEWAY_NATS__REPLICAS"] = "3"
    assert states(told(cli, "create", "--tenant", "acme")) == {"made"}
    assert {row["stream"]["replicas"] for row in told(cli, "list", "--tenant", "acme").values()} == {3}


def test_a_job_that_is_there_before_nats_waits_for_it_and_says_so_once(tmp_path: Path, processes: ExitStack) -> None:
    with nats_server(tmp_path / "nats") as server:
        cli = on(server, tmp_path, processes)
        server.kill()
        job = subprocess.Popen(
            [COMMAND, "streams", "create", "--wait", "240"],
            env=cli.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.callback(job.kill)
        assert job.stderr is not None
        said = job.stderr.readline()
        assert said.startswith("waiting for NATS, 240 s at most: NATS at nats://127.0.0.1:")
        server.restart()
        out, more = job.communicate(timeout=60)
        assert (job.returncode, more) == (0, "")
        assert {line.split()[0] for line in out.splitlines()} == {"made"}


def test_a_job_waits_until_a_cluster_has_all_its_servers(tmp_path: Path, processes: ExitStack) -> None:
    cli = on(cluster(tmp_path, processes), tmp_path, processes, replicas="3")
    made = cli.run("streams", "create", "--wait", "60", "--json")
    assert made.returncode == 0, made.stdout
    assert {json.loads(line)["state"] for line in made.stdout.splitlines()} <= {"made", "there"}
    assert "note:" not in made.stderr


def test_what_is_kept_once_in_a_cluster_is_noted(tmp_path: Path, processes: ExitStack) -> None:
    cli = on(cluster(tmp_path, processes), tmp_path, processes)
    for done in (cli.run("streams", "create", "--wait", "60"), cli.run("streams", "list")):
        assert done.returncode == 0, done.stdout
        assert "note: this NATS is a cluster, but [nats] replicas is 1" in done.stderr
        assert done.stdout.count("note:") == 0


def test_a_server_alone_is_not_noted(cli: Cli) -> None:
    assert cli.run("streams", "create").stderr == cli.run("streams", "list").stderr == ""


def test_a_full_server_is_told(tmp_path: Path, processes: ExitStack) -> None:
    server = processes.enter_context(nats_server(tmp_path / "nats", "jetstream { max_file_store: 10MB }"))
    cli = on(server, tmp_path, processes, media_max_bytes="100000000")
    rows = told(cli, "create", "--tenant", "acme", code=1)
    failed = rows.pop(f"OBJ_{Layout(cli.nats).media('acme')}")
    assert states(rows) == {"made"}
    assert "insufficient storage resources available; give JetStream more storage, or set" in failed["details"][0]


def test_they_are_made_in_the_domain_that_is_named(tmp_path: Path, processes: ExitStack) -> None:
    server = processes.enter_context(nats_server(tmp_path / "nats", "jetstream { domain: hub }"))
    cli = on(server, tmp_path, processes, domain="hub")
    assert states(told(cli, "create")) == {"made"}
    assert states(told(cli, "list")) == {"there"}
    cli.environment["SLUICEWAY_NATS__DOMAIN"] = "elsewhere"
    done = cli.run("streams", "create")
    assert done.returncode == 1
    assert "this NATS has no JetStream in the domain elsewhere" in done.stderr


def test_a_user_without_the_permission_is_told_which(tmp_path: Path, processes: ExitStack) -> None:
    server = processes.enter_context(nats_server(tmp_path / "nats", USERS))
    cli = on(server, tmp_path, processes, user="looker", password="env:PASSWORD")
    cli.environment["PASSWORD"] = "pass"
    assert states(told(cli, "list")) == {"missing"}
    rows = told(cli, "create", code=1)
    events = Layout(cli.nats).events
    assert rows[events]["details"] == [
        f"the NATS user may not publish to $JS.API.STREAM.CREATE.{events}; "
        "give it the permissions that `sluiceway permissions` prints"
    ]
    cli.environment["SLUICEWAY_NATS__USER"] = "admin"
    assert states(told(cli, "create")) == {"made"}


def test_nobody_there_is_told_with_the_address(cli: Cli) -> None:
    cli.environment["SLUICEWAY_NATS__URL"] = "nats://127.0.0.1:1"
    for name in ("create", "list"):
        done = cli.run("streams", name)
        assert done.returncode == 1
        assert "NATS at nats://127.0.0.1:1 can't be reached" in done.stderr
