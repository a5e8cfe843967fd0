"""The two production examples fit: users made as docs/operations.md says, and each pod gets in with its own login."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluiceway import embedded
from sluiceway.testing.ports import free_port

from .chart import CHART, ROOT, VALUES, rendered, resources, template, written
from .pod import ENTRY_POINT
from .release import Certificates, Release

NATS: dict[str, Any] = yaml.safe_load((CHART / "examples" / "nats" / "production.yaml").read_text(encoding="utf-8"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
USERS = ("sms", "chats", "email", "dispatcher", "streams", "admin")
SECRETS = {
    "sluiceway-identity": {"key": "an identity key for tests only"},
    "twilio": {"uk": "0123456789abcdef"},
    "meta": {"app": "an app's secret", "verify": "a word", "token": "a token"},
    "mailboxes": {"help": "a mailbox's password"},
    **{f"nats-{user}": {"user": user, "password": f"p{user}0123456789"} for user in USERS},
}
META = """
app_secret = "file:/etc/sluiceway/secrets/meta/app"
verify_token = "file:/etc/sluiceway/secrets/meta/verify"
access_token = "file:/etc/sluiceway/secrets/meta/token"
"""
ACCOUNTS = {
    "accounts-acme": {
        "acme.toml": f"""
[connections.twilio-uk]
gateway = "sms.twilio"
sid = "AC00000000000000000000000000000001"
token = "file:/etc/sluiceway/secrets/twilio/uk"
[connections.meta]
gateway = "whatsapp.cloud"
{META}
[accounts.uk-sms]
connection = "twilio-uk"
tenant = "acme"
address = "tel:+447700900123"
[accounts.uk-whatsapp]
connection = "meta"
tenant = "acme"
address = "whatsapp:447700900123"
phone_number_id = "100000000000001"
"""
    },
    "accounts-globex": {
        "globex.toml": f"""
[connections.pages]
gateway = "messenger.meta"
app_id = "600000000000001"
{META}
[connections.photos]
gateway = "instagram.meta"
app_id = "600000000000001"
{META}
[connections.mail]
gateway = "email.imap"
host = "127.0.0.1"
port = 9
user = "help@globex.example"
password = "file:/etc/sluiceway/secrets/mailboxes/help"
authserv_id = "provider.example"
relay_host = "127.0.0.1"
relay_user = "help@globex.example"
relay_password = "file:/etc/sluiceway/secrets/mailboxes/help"
[accounts.page]
connection = "pages"
tenant = "globex"
address = "messenger:104829000000001/104829000000001"
[accounts.photo]
connection = "photos"
tenant = "globex"
address = "instagram:17841400000000001/17841400000000001"
[accounts.help]
connection = "mail"
tenant = "globex"
address = "mailto:help@globex.example"
"""
    },
}


def users(folder: Path) -> str:
    """What the documented commands make of these accounts, beside which no secret is."""
    (block,) = re.findall(r"(?:^    .*\n)*^    .*> users\.conf\n", OPERATIONS, flags=re.MULTILINE)
    (folder / "accounts.d").mkdir(parents=True)
    for files in ACCOUNTS.values():
        for name, text in files.items():
            (folder / "accounts.d" / name).write_text(text, encoding="utf-8")
    (folder / "sluiceway.toml").touch()
    path = f"{ENTRY_POINT.parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-ec", block], cwd=folder, env={"PATH": path}, check=True, timeout=60)
    return (folder / "users.conf").read_text(encoding="utf-8")


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    """One server, not three, so that streams have one replica; all else is as the examples have it."""
    config, certificates, port = NATS["config"], Certificates.issue(), free_port()
    users(tmp_path)
    (tmp_path / "tls.pem").write_text(certificates.server, encoding="utf-8")
    assert config["nats"]["tls"]["enabled"]
    (tmp_path / "nats.conf").write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{tmp_path}/nats" }}\n'
        f'tls {{ cert_file: "{tmp_path}/tls.pem", key_file: "{tmp_path}/tls.pem" }}\n'
        f"include {config['merge']['$include']}\n",
        encoding="utf-8",
    )
    passwords = {
        name: SECRETS[one["name"]][one["key"]]
        for name, value in NATS["container"]["env"].items()
        if isinstance(value, dict) and (one := value["valueFrom"]["secretKeyRef"])
    }
    command = [embedded.binary(), "-c", str(tmp_path / "nats.conf"), "-l", str(tmp_path / "nats.log")]
    process = subprocess.Popen(command, env=passwords)
    here = written(tmp_path, {"nats": {"urls": [f"tls://127.0.0.1:{port}"]}, "streams": {"replicas": 1}})
    found = resources(template("helm4", *VALUES["examples/production"], here))
    there = {"nats-ca": {"ca.crt": certificates.ca}, **ACCOUNTS}
    found |= {f"ConfigMap/{name}": {"kind": "ConfigMap", "data": data} for name, data in there.items()}
    release = Release(tmp_path, found, SECRETS)
    yield release
    release.kill()
    process.kill()
    process.wait()


def test_with_the_least_permissions_the_job_makes_streams_and_every_pod_gets_ready(release: Release) -> None:
    done = release["sluiceway-streams"].run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OBJ_SLUICEWAY_MEDIA_globex" in done.stdout
    serving = [release[f"sluiceway-{key}"] for key in ("sms", "chats", "email", "dispatcher")]
    for pod in serving:
        pod.start()
    for pod in serving:
        pod.until("readinessProbe", 200, "ready")
    done = release["sluiceway-sms"].run("simulate", "sms", "--from", "+447700900456", "Hello?")
    assert done.stdout.startswith("200 accepted by uk-sms of acme"), done.stderr
    assert [pod.end() for pod in serving] == [0, 0, 0, 0]
    assert [pod.log for pod in serving if "nats.error" in pod.log] == []


def test_every_login_is_a_user_of_the_server_and_hears_its_own_inbox_alone(tmp_path: Path) -> None:
    printed = re.findall(r"the client's inbox prefix is (\S+)\n\{\n  user: \"(\w+)\"\n", users(tmp_path))
    inboxes = {f"nats-{user}": prefix for prefix, user in printed}
    found = rendered("examples/production")
    logins = {
        volume["secret"]["secretName"]: found[f"ConfigMap/{key.partition('/')[2]}"]["data"]["sluiceway.toml"]
        for key, resource in found.items()
        if resource["kind"] in {"Deployment", "StatefulSet", "Job"}
        for volume in resource["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "nats-login"
    }
    assert logins.keys() == inboxes.keys()
    for secret, text in logins.items():
        assert f'inbox_prefix = "{inboxes[secret]}"' in text, secret


def test_the_server_has_a_variable_for_each_password() -> None:
    variables = {name for name, value in NATS["container"]["env"].items() if isinstance(value, dict)}
    assert variables == {f"{user.upper()}_PASSWORD" for user in USERS}
