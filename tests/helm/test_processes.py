"""What the chart renders is run: the job, the gateways and the dispatcher as processes, on a nats-server with users."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from sluiceway import embedded
from sluiceway.testing.ports import free_port

from .chart import VALUES, Resource, pods, resources, template, written
from .pod import WAIT_S, Pod

USERS = ("admin", "gateway", "dispatcher")
SECRETS = {
    "sluiceway-identity": {"identity.key": "an identity key for tests only"},
    "twilio": {"uk": "0123456789abcdef", "de": "fedcba9876543210"},
    "loft": {"secret": "a secret of the loft"},
    **{f"nats-{user}": {"user": user, "password": f"{user}'s word"} for user in USERS},
}
CUSTOMER = "+447700900456"


class Nats(NamedTuple):
    """A nats-server that wants a user of `SECRETS` and a certificate."""

    url: str
    ca: str
    certificate: str
    key: str


class Release:
    """The pods of a release, by the name of what makes them, with what the release needs to be there."""

    def __init__(self, folder: Path, found: dict[str, Resource], nats: Nats) -> None:
        self.found = found | {"ConfigMap/nats-ca": {"data": {"ca.crt": nats.ca}}}
        secrets = SECRETS | {"nats-client": {"tls.crt": nats.certificate, "tls.key": nats.key}}
        self._pods = {
            key.partition("/")[2]: Pod(folder / key.replace("/", "-"), self.found, spec, secrets)
            for key, spec in pods(found).items()
        }
        self._services = {
            f"http://{resource['metadata']['name']}:{port['port']}":
                f"http://127.0.0.1:{self[resource['metadata']['name']].ports[port['targetPort']]}"
            for resource in found.values()
            if resource["kind"] == "Service"
            for port in resource["spec"]["ports"]
        }  # fmt: skip
        for pod in self._pods.values():
            pod.services = self._services
            pod.mount()

    def __getitem__(self, name: str) -> Pod:
        return self._pods[name]

    def kill(self) -> None:
        for pod in self._pods.values():
            pod.kill()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    authority, port = trustme.CA(), free_port()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("gateway.example")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    pem = {"cert_file": str(tmp_path / "server.pem"), "key_file": str(tmp_path / "server.pem")}
    users = [{"user": name, "password": SECRETS[f"nats-{name}"]["password"]} for name in USERS]
    settings = {
        "listen": f"127.0.0.1:{port}",
        "jetstream": {"store_dir": str(tmp_path / "nats")},
        "authorization": {"users": users},
        "tls": pem | {"ca_file": str(tmp_path / "ca.pem"), "verify": True},
    }
    file = tmp_path / "nats.conf"
    file.write_text(json.dumps(settings), encoding="utf-8")
    process = subprocess.Popen([embedded.binary(), "-c", str(file), "-l", str(tmp_path / "nats.log")])
    certificates = (authority.cert_pem, client.cert_chain_pems[0], client.private_key_pem)
    yield Nats(f"tls://127.0.0.1:{port}", *(one.bytes().decode() for one in certificates))
    process.kill()
    process.wait()


@pytest.fixture
def release(tmp_path: Path, nats: Nats) -> Iterator[Release]:
    values = written(tmp_path, {"nats": {"urls": [nats.url]}})
    release = Release(tmp_path, resources(template("helm4", *VALUES["ci/run"], values)), nats)
    yield release
    release.kill()


def test_what_is_rendered_serves_and_ends(release: Release) -> None:
    sms, post, dispatcher = (release[f"sluiceway-{key}"] for key in ("sms", "post", "dispatcher"))
    sms.start()
    sms.until("livenessProbe")
    sms.until("readinessProbe", 503)  # there are no streams yet, and it makes none

    job = release["sluiceway-streams"]
    done = job.run()
    assert done.returncode == 0, done.stderr
    assert "KV_SLUICEWAY_IDENTITY" in done.stdout
    assert "OBJ_SLUICEWAY_MEDIA_acme" in done.stdout
    assert job.run().returncode == 0  # again at the next upgrade

    for pod in (post, dispatcher):
        pod.start()
    for pod in (sms, post, dispatcher):
        pod.until("startupProbe")
        pod.until("readinessProbe")
    done = release["sluiceway-test"].run()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count("ok") == 3

    done = sms.run("simulate", "sms", "--from", CUSTOMER, "Where is my order?")
    assert done.stdout.startswith("200 accepted by uk-sms of acme"), done.stderr
    done = post.run("simulate", "pigeon", "--from", "loft-9", "Coo.")
    assert done.stdout.startswith("200 accepted by loft-7 of acme"), done.stderr
    seen = dispatcher.run("tail", "--no-follow").stdout
    assert "Where is my order?" in seen
    assert "Coo." in seen
    assert CUSTOMER in dispatcher.run("conversation", "list").stdout  # which the dispatcher answers

    assert [pod.end() for pod in (sms, post, dispatcher)] == [0, 0, 0]
    done = release["sluiceway-test"].run()
    assert done.returncode == 1


def test_a_number_that_is_added_to_the_config_map_is_served_by_the_pods_that_run(release: Release) -> None:
    sms = release["sluiceway-sms"]
    assert release["sluiceway-streams"].run().returncode == 0
    sms.start()
    sms.until("readinessProbe")
    text = release.found["ConfigMap/sluiceway-accounts"]["data"]["sms.toml"]
    more = '[accounts.second]\nconnection = "twilio-uk"\ntenant = "acme"\naddress = "tel:+447700900124"\n'
    sms.update("accounts", {"sms.toml": text + more})
    deadline = time.monotonic() + WAIT_S
    while "second" not in received(sms):
        assert time.monotonic() < deadline, sms.log
        done = sms.run("simulate", "sms", "--account", "second", "--from", CUSTOMER, "Hello?")
        assert done.stdout.startswith("200 accepted by second of acme"), done.stderr
    assert sms.end() == 0


def received(pod: Pod) -> set[str]:
    """The accounts that messages came to."""
    events = map(json.loads, pod.run("tail", "--no-follow", "--json").stdout.splitlines())
    return {event["account"] for event in events if event["type"].endswith("message.received")}
