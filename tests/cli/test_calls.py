"""Calls from the terminal: an agent, a queue, a customer who calls, with Twilio's calls simulated."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port

from .conftest import Cli, lines_of, settings, until

VOICE = """
[http]
listen = "127.0.0.1:{hooks}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.calls]
gateway = "voice.twilio"
sid = "AC00000000000000000000000000000001"
token = "env:TWILIO_TOKEN"
api_url = "http://127.0.0.1:{api}"
[accounts.uk-voice]
connection = "calls"
tenant = "acme"
address = "tel:+442079460000"
[calls.tenants.acme]
prefixes = ["+44"]
"""
SECRETS = {"IDENTITY_KEY": "an identity key for tests only", "TWILIO_TOKEN": "0123456789abcdef"}
CUSTOMER = "+447700900456"


@pytest.fixture
def cli(tmp_path: Path, shared_nats: NatsServer, processes: ExitStack) -> Cli:
    """Gateway, dispatcher and simulator run."""
    cli = Cli(tmp_path, settings(shared_nats) | SECRETS, processes)
    api, probes = free_port(), free_port()
    cli.write("sluiceway.toml", VOICE.format(hooks=free_port(), probes=probes, api=api))
    simulator = cli.start("simulator", "--listen", f"127.0.0.1:{api}")
    assert next(lines_of(simulator)).startswith("voice.twilio for calls")
    cli.start("run", "voice", "dispatcher")

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{probes}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    until(ready, "the gateway is ready")
    return cli


def events(cli: Cli, type: str) -> list[dict[str, Any]]:
    lines = cli.run("tail", "--no-follow", "--json").stdout.splitlines()
    return [event["data"] for event in map(json.loads, lines) if event["type"] == f"sluiceway.{type}"]


def test_a_call_is_asked_for_waits_its_turn_and_is_taken_back(cli: Cli) -> None:
    asked = cli.run("call", "request", f"tel:{CUSTOMER}", "--proven", "--reason", "order A-1042", "--json")
    assert (asked.returncode, asked.stderr) == (0, "")
    call = json.loads(asked.stdout.splitlines()[-1])["data"]["call_id"]
    queue = cli.run("call", "queue")
    assert queue.stdout == "open; 1 waiting, 0 of 0 agents free; the next waits: nobody can say\n"
    done = cli.run("call", "cancel", call)
    assert done.returncode == 0
    assert "canceled" in done.stdout
    again = cli.run("call", "cancel", call)
    assert again.returncode == 1
    assert "unknown_call" in again.stdout
    assert json.loads(cli.run("call", "queue", "--json").stdout)["is_open"]


def test_an_agent_comes_to_work_and_whoever_calls_is_put_through(cli: Cli) -> None:
    came = cli.run("agent", "set", "priya", "--state", "available", "--reach", "tel:+442079460123", "--name", "Priya")
    assert (came.returncode, came.stderr) == (0, "")
    assert "state=available" in came.stdout
    until(lambda: "1 of 1 agents free" in cli.run("call", "queue").stdout, "the agent is free")
    called = cli.run("simulate", "call", "--from", CUSTOMER)
    assert (called.returncode, called.stderr) == (0, "")
    until(lambda: bool(events(cli, "call.ended")), "the call has ended")
    (ended,) = events(cli, "call.ended")
    assert (ended["state"], ended["by"]["agent_id"]) == ("answered", "priya")


def test_what_cannot_be_is_refused_by_name(cli: Cli) -> None:
    abroad = cli.run("call", "request", "tel:+15550100", "--proven")
    assert abroad.returncode == 1
    assert "destination_not_allowed" in abroad.stdout
    wrong = cli.run("agent", "set", "priya", "--state", "available", "--reach", "nonsense")
    assert wrong.returncode == 2
