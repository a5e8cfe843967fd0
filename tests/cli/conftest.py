"""The real `sluiceway` in processes of its own, against a real nats-server; what it says is what is asserted."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.testing.nats import NatsServer, nats_server
from sluiceway.testing.ports import free_port
from sluiceway_contracts import Event, Message, MessageReceived, Party, Text, uuid7

COMMAND = Path(sys.executable).parent / "sluiceway"
WAIT_S = 60
SECRETS = {"TWILIO_TOKEN": "0123456789abcdef", "IDENTITY_KEY": "an identity key for tests only"}
CONVERSATION = "019c22f1-d578-7625-af24-35aeedc2728d"

TWILIO = """
[http]
listen = "127.0.0.1:{hooks}"
public_url = "https://gw.example"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.twilio-uk]
gateway = "sms.twilio"
sid = "AC00000000000000000000000000000001"
token = "env:TWILIO_TOKEN"
api_url = "http://127.0.0.1:{api}"
[accounts.uk-sms]
connection = "twilio-uk"
tenant = "acme"
address = "tel:+447700900123"
"""
_numbers = itertools.count(1)


class Cli:
    """`sluiceway` in a folder, with an environment of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], processes: ExitStack) -> None:
        self.folder = folder
        mine = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")}
        self.environment = mine | environment | {"PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}
        self._processes = processes

    def run(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """To its end."""
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Its standard output is a pipe; it is killed when the test ends."""
        process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._processes.callback(_end, process)
        return process

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    @property
    def nats(self) -> Nats:
        """The settings that its environment says."""
        names = self.environment
        return Nats(
            url=names["SLUICEWAY_NATS__URL"],
            prefix=names["SLUICEWAY_NATS__PREFIX"],
            names=names["SLUICEWAY_NATS__NAMES"],
        )

    def publish(self, *messages: Event | bytes) -> None:
        """Events on the stream, or bytes that are none; the streams are made if need be."""
        asyncio.run(_publish(self.nats, messages))


async def _publish(nats: Nats, messages: tuple[Event | bytes, ...]) -> None:
    link = Link(nats, "test")
    await link.connect()
    await ensure(link, Layout(nats), create=True)
    for message in messages:
        if isinstance(message, Event):
            await link.publish(message.nats_subject(nats.prefix), message.encode(), message.headers())
        else:
            await link.publish(f"{nats.prefix}.v1.acme.events.message.received.sms._.{CONVERSATION}", message)
    await link.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """What it prints, line by line, as it prints it."""
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail with `what` where it never does."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


def received(text: str, channel: str = "sms", conversation: str = CONVERSATION, tenant: str = "acme") -> Event:
    """A customer's text."""
    author = Party(role="customer", address="tel:+447700900456")
    id = uuid7()
    message = Message(id=id, author=author, parts=(Text(text=text, id="1"),), text=text)
    data = MessageReceived(message=message, resolved_by="open")
    return Event(id=id, tenant=tenant, channel=channel, account=f"uk-{channel}", subject=conversation, data=data)


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One server for all tests; each uses subjects and streams of its own."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of one test's own, to be killed."""
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def settings(server: NatsServer) -> dict[str, str]:
    """Variables for a deployment of one's own on a server."""
    number = next(_numbers)
    return {
        "SLUICEWAY_NATS__URL": server.url,
        "SLUICEWAY_NATS__PREFIX": f"c{number}",
        "SLUICEWAY_NATS__NAMES": f"C{number}",
    }


@pytest.fixture
def cli(tmp_path: Path, shared_nats: NatsServer, processes: ExitStack) -> Cli:
    """Without a configuration file, on the shared server."""
    return Cli(tmp_path, settings(shared_nats), processes)


@pytest.fixture
def configured(tmp_path: Path, shared_nats: NatsServer, processes: ExitStack) -> Cli:
    """With a configuration of one Twilio number; no gateway runs."""
    cli = Cli(tmp_path, settings(shared_nats) | SECRETS, processes)
    cli.write("sluiceway.toml", TWILIO.format(hooks=free_port(), probes=free_port(), api=free_port()))
    return cli


class Deployment:
    """A gateway for SMS and the provider that it talks to, both as processes."""

    def __init__(self, folder: Path, environment: dict[str, str], processes: ExitStack) -> None:
        self.cli = Cli(folder, environment, processes)
        self.hooks, self.probes, self.api = free_port(), free_port(), free_port()
        self.cli.write("sluiceway.toml", TWILIO.format(hooks=self.hooks, probes=self.probes, api=self.api))
        self.simulator = self.cli.start("simulator", "--listen", f"127.0.0.1:{self.api}")
        assert next(lines_of(self.simulator)) == f"sms.twilio for twilio-uk on http://127.0.0.1:{self.api}\n"
        self.gateway = self.cli.start("run", "sms", "dispatcher")
        until(self._ready, "the gateway is ready")

    def _ready(self) -> bool:
        assert self.gateway.poll() is None, "the gateway has ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probes}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, shared_nats: NatsServer) -> Iterator[Deployment]:
    with ExitStack() as processes:
        yield Deployment(tmp_path_factory.mktemp("deployment"), settings(shared_nats) | SECRETS, processes)


def interrupt(process: subprocess.Popen[str]) -> int:
    """Ctrl-C; its exit code."""
    process.send_signal(signal.SIGINT)
    return process.wait(WAIT_S)
