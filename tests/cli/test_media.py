"""Pictures from the terminal, in both directions, with a Meta account whose provider is simulated; a plug pulled."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway_gateways._simulated_files import file

from .conftest import Cli, lines_of, settings, until

META = """
[http]
listen = "127.0.0.1:{hooks}"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "env:IDENTITY_KEY"
[connections.meta]
gateway = "whatsapp.cloud"
app_secret = "env:META_SECRET"
verify_token = "env:META_VERIFY"
access_token = "env:META_TOKEN"
api_url = "http://127.0.0.1:{api}"
[accounts.uk-whatsapp]
connection = "meta"
tenant = "acme"
address = "whatsapp:447700900123"
phone_number_id = "100000000000001"
"""
SECRETS = {name: name.lower() for name in ("IDENTITY_KEY", "META_SECRET", "META_VERIFY", "META_TOKEN")}
SECRETS["IDENTITY_KEY"] = "an identity key for tests only"
CUSTOMER = "447700900456"


def bytes_of(word: str) -> bytes:
    found = file(word)
    assert found is not None
    return found.body


class Shop:
    """A WhatsApp gateway with the dispatcher, and Meta in miniature."""

    def __init__(self, folder: Path, nats: NatsServer, processes: ExitStack) -> None:
        self.cli = Cli(folder, settings(nats) | SECRETS, processes)
        api, self.probes = free_port(), free_port()
        self.cli.write("sluiceway.toml", META.format(hooks=free_port(), probes=self.probes, api=api))
        self.simulator = self.cli.start("simulator", "--listen", f"127.0.0.1:{api}")
        assert next(lines_of(self.simulator)).startswith("whatsapp.cloud for meta")
        self.gateway = self.start()

    def start(self) -> subprocess.Popen[str]:
        gateway = self.cli.start("run", "whatsapp", "dispatcher")
        until(self._ready, "the gateway is ready")
        return gateway

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probes}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def writes(self, text: str, field: str) -> None:
        done = self.cli.run("simulate", "whatsapp", "--from", CUSTOMER, "--field", field, text)
        assert (done.returncode, done.stderr) == (0, "")

    def events(self, type: str) -> list[dict[str, Any]]:
        lines = self.cli.run("tail", "--no-follow", "--json").stdout.splitlines()
        return [event for event in map(json.loads, lines) if event["type"] == f"sluiceway.{type}"]

    def stored(self, count: int = 1) -> list[dict[str, Any]]:
        until(lambda: len(self.events("message.media")) >= count, f"{count} files are told")
        return [event["data"] for event in self.events("message.media")]


@pytest.fixture
def shop(tmp_path: Path, shared_nats: NatsServer, processes: ExitStack) -> Shop:
    return Shop(tmp_path, shared_nats, processes)


def test_a_customers_picture_is_read_and_one_goes_back(shop: Shop) -> None:
    shop.writes("It came broken", "image=kettle")
    (media,) = shop.stored()
    assert (media["state"], media["mime"]) == ("stored", "image/png")
    got = shop.cli.folder / "got.png"
    assert shop.cli.run("media", "get", media["ref"], str(got)).returncode == 0
    assert got.read_bytes() == bytes_of("kettle")
    url = shop.cli.run("media", "url", media["ref"]).stdout.strip()
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.read() == bytes_of("kettle")
    (shop.cli.folder / "like this.png").write_bytes(bytes_of("another"))
    (received,) = shop.events("message.received")
    done = shop.cli.run("reply", received["subject"], "Like this one?", "--media", "like this.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[image: like this.png]" in done.stdout
    (sent,) = shop.events("message.sent")
    assert sent["data"]["message"]["parts"][1]["ref"].startswith("media:acme/")


def test_a_file_is_put_and_named_by_its_reference(shop: Shop) -> None:
    (shop.cli.folder / "a.png").write_bytes(bytes_of("kettle"))
    done = shop.cli.run("media", "put", "a.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert shop.cli.run("media", "put", "a.png", "--tenant", "acme").stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("get", "media:acme/" + "0" * 64), 1, "there is no file"),
        (("url", "media:acme/" + "0" * 64), 1, "acme has no such file"),
        (("get", "kettle.png"), 2, "is no reference to a file"),
        (("put", "nowhere.png"), 2, "does not exist"),
    ],
)
def test_what_is_not_there_is_said(shop: Shop, arguments: tuple[str, ...], code: int, what: str) -> None:
    done = shop.cli.run("media", *arguments)
    assert done.returncode == code
    assert what in " ".join(done.stderr.split())


def test_a_gateway_that_is_killed_while_it_fetches_loses_no_file(shop: Shop) -> None:
    shop.simulator.send_signal(signal.SIGSTOP)  # it answers nothing, until the gateway is gone
    shop.writes("A film", "video=large-3")
    shop.gateway.kill()
    shop.gateway.wait()
    shop.simulator.send_signal(signal.SIGCONT)
    assert shop.events("message.media") == []
    shop.start()
    (media,) = shop.stored()
    assert (media["state"], media["size"]) == ("stored", 3_000_000)
