"""What the chart renders is run: the job, the gateways and the dispatcher as processes, on a nats-server with users."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sluiceway import embedded
from sluiceway.testing.ports import free_port

from .chart import VALUES, resources, template, written
from .pod import WAIT_S, Pod
from .release import Certificates, Release

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
    certificates: Certificates


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    certificates, port = Certificates.issue(), free_port()
    (tmp_path / "ca.pem").write_text(certificates.ca, encoding="utf-8")
    (tmp_path / "server.pem").write_text(certificates.server, encoding="utf-8")
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
    yield Nats(f"tls://127.0.0.1:{port}", certificates)
    process.kill()
    process.wait()


@pytest.fixture
def release(tmp_path: Path, nats: Nats) -> Iterator[Release]:
    values = written(tmp_path, {"nats": {"urls": [nats.url]}})
    client = {"tls.crt": nats.certificates.client, "tls.key": nats.certificates.client_key}
    found = resources(template("helm4", *VALUES["ci/run"], values))
    found["ConfigMap/nats-ca"] = {"data": {"ca.crt": nats.certificates.ca}, "kind": "ConfigMap"}
    release = Release(tmp_path, found, SECRETS | {"nats-client": client})
    yield release
    release.kill()


def test_what_is_rendered_serves_and_ends(release: Release) -> None:
    sms, post, dispatcher = (release[f"sluiceway-{key}"] for key in ("sms", "post", "dispatcher"))
    for pod in (sms, post):  # there are no streams yet, and they make none
        pod.start()
        pod.until("livenessProbe")
    sms.until("readinessProbe", 200, "serving from the spool: the stream SLUICEWAY_EVENTS is missing")
    post.until("readinessProbe", 503, "the stream SLUICEWAY_EVENTS is missing")

    job = release["sluiceway-streams"]
    done = job.run()
    assert done.returncode == 0, done.stderr
    assert "KV_SLUICEWAY_IDENTITY" in done.stdout
    assert "OBJ_SLUICEWAY_MEDIA_acme" in done.stdout
    assert job.run().returncode == 0  # again at the next upgrade

    dispatcher.start()
    for pod in (sms, post, dispatcher):
        pod.until("startupProbe")
        pod.until("readinessProbe", 200, "ready")
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
    sms.until("readinessProbe", 200, "ready")
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
