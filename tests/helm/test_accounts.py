"""Accounts change every week: no pod restarts for them; settings restart the gateway that has them, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .chart import Resource, render

NUMBER = """
[connections.twilio-{n}]
gateway = "sms.twilio"
sid = "AC{n:032}"
token = "file:/etc/sluiceway/secrets/twilio/{n}"
hook = "twilio"
[accounts.number-{n}]
connection = "twilio-{n}"
tenant = "acme"
address = "tel:+4477009{n:05}"
"""
MAILBOX = """
[connections.mailbox-{n}]
gateway = "email.imap"
host = "imap.example.com"
user = "help-{n}@acme.example"
password = "file:/etc/sluiceway/secrets/mailboxes/{n}"
[accounts.mail-{n}]
connection = "mailbox-{n}"
tenant = "acme"
address = "mailto:help-{n}@acme.example"
"""


def release(numbers: range, mailboxes: range) -> dict[str, Any]:
    """A release with so many accounts."""
    files = {
        "sms.toml": "".join(NUMBER.format(n=n) for n in numbers),
        "email.toml": "".join(MAILBOX.format(n=n) for n in mailboxes),
    }
    gateways = {"sms": {"hooks": ["twilio"], "secrets": ["twilio"]}, "email": {"secrets": ["mailboxes"]}}
    return {"accounts": {"files": files}, "gateways": gateways}


def templates(found: dict[str, Resource]) -> dict[str, Any]:
    return {k: r["spec"]["template"] for k, r in found.items() if r["kind"] in {"Deployment", "StatefulSet"}}


def test_thirty_numbers_and_twelve_mailboxes_restart_no_pod(tmp_path: Path) -> None:
    before = render(tmp_path, release(range(30), range(12)))
    after = render(tmp_path, release(range(30, 60), range(12, 24)))
    assert before["ConfigMap/sluiceway-accounts"] != after["ConfigMap/sluiceway-accounts"]
    assert templates(before) == templates(after)
    assert {key for key in before if before[key] != after[key]} == {"ConfigMap/sluiceway-accounts"}


def test_a_setting_restarts_the_gateway_that_has_it_and_no_other(tmp_path: Path) -> None:
    values = release(range(3), range(3))
    before = templates(render(tmp_path, values))
    values["gateways"]["sms"]["config"] = {"log": {"level": "debug"}}
    after = templates(render(tmp_path, values))
    assert {key for key in before if before[key] != after[key]} == {"Deployment/sluiceway-sms"}


def test_a_gateway_sees_all_accounts_unless_it_chooses(tmp_path: Path) -> None:
    values = release(range(1), range(1))
    values["accounts"] |= {"existingConfigMaps": ["more"], "existingSecrets": ["secret"]}
    values["gateways"]["email"]["accounts"] = {"files": ["email.toml"], "existingConfigMaps": []}
    found = render(tmp_path, values)
    assert sources(found["Deployment/sluiceway-sms"]) == [
        {"configMap": {"name": "sluiceway-accounts"}},
        {"configMap": {"name": "more"}},
        {"secret": {"name": "secret"}},
    ]
    assert sources(found["Deployment/sluiceway-email"]) == [
        {"configMap": {"name": "sluiceway-accounts", "items": [{"key": "email.toml", "path": "email.toml"}]}},
        {"secret": {"name": "secret"}},
    ]


def test_a_gateway_that_chooses_no_file_sees_none(tmp_path: Path) -> None:
    values = release(range(1), range(1))
    values["accounts"] |= {"existingConfigMaps": ["more"]}
    values["gateways"]["sms"]["accounts"] = {"files": []}
    values["gateways"]["email"]["accounts"] = {"files": [], "existingConfigMaps": []}
    found = render(tmp_path, values)
    assert sources(found["Deployment/sluiceway-sms"]) == [{"configMap": {"name": "more"}}]
    assert sources(found["Deployment/sluiceway-email"]) == []


def sources(workload: Resource) -> Any:
    (volume,) = (v for v in workload["spec"]["template"]["spec"]["volumes"] if v["name"] == "accounts")
    return volume["projected"]["sources"]
