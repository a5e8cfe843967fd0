"""What is written beside the chart is what it does: the table of values, the notes after an install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .chart import CHART, ROOT, VALUES, Resource, helm, pods, rendered


@pytest.mark.parametrize("script", ["reference.py", "streams.py"])
def test_what_is_made_from_values_and_code_is_up_to_date(script: str) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "helm" / script, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def needed(found: dict[str, Resource]) -> set[str]:
    """What resources name that is not among them."""
    names = set()
    for spec in pods(found).values():
        volumes = [source for v in spec["volumes"] for source in v.get("projected", {}).get("sources", [v])]
        for volume in volumes:
            names |= {f"ConfigMap/{volume['configMap']['name']}"} if "configMap" in volume else set()
            secret = volume.get("secret", {})
            names |= {f"Secret/{secret.get('secretName') or secret['name']}"} if secret else set()
        names |= {f"Secret/{one['name']}" for one in spec.get("imagePullSecrets", ())}
        names |= {f"PriorityClass/{spec['priorityClassName']}"} if "priorityClassName" in spec else set()
    for resource in found.values():
        spec = resource.get("spec", {})
        names |= {f"Secret/{tls['secretName']}" for tls in spec.get("tls", ())}
        names |= {f"class/{spec['ingressClassName']}"} if "ingressClassName" in spec else set()
        names |= {f"Gateway/{parent['name']}" for parent in spec.get("parentRefs", ())}
        for claim in spec.get("volumeClaimTemplates", ()):
            names |= {f"StorageClass/{claim['spec'].get('storageClassName', 'default')}"}
    return {name.partition("/")[2] for name in names - found.keys()}


@pytest.mark.parametrize("name", [name for name in VALUES if name.startswith("examples/")])
def test_what_must_be_there_before_an_example_is_told(name: str) -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    file = "environments/" if "environments" in name else f"{name.removeprefix('examples/')}.yaml"
    (row,) = (line for line in text.splitlines() if line.startswith(f"| [{file}]"))
    assert {one for one in needed(rendered(name)) if one not in row} == set()


def test_behind_an_ingress_a_web_form_knows_its_visitors_apart() -> None:
    for name, (*_, file) in VALUES.items():
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        routed = any(values.get(kind, {}).get("enabled") for kind in ("ingress", "httpRoute"))
        if routed and "webform" in values["gateways"]:
            assert values["defaults"]["config"]["http"]["trusted_proxies"], name


def notes(name: str) -> str:
    """What is told after an install. Helm 3 executes these too, but tells them to a cluster alone."""
    values = [word for file in VALUES[name] for word in ("-f", str(file))]
    done = helm("helm4", "install", "sluiceway", CHART, "--dry-run=client", "-n", "channels", *values)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def test_the_notes_tell_each_webhook_and_whose_it_is() -> None:
    told = notes("examples/small")
    assert "  https://hooks.example.com/hooks/twilio-uk\n    uk-sms of acme: tel:+447700900123\n" in told
    assert "  https://hooks.example.com/hooks/shop\n    contact-form of acme: web:shop/contact\n" in told
    assert "helm test sluiceway -n channels --logs" in told
    assert "routed to by no gateway" not in told


def test_the_notes_tell_what_is_missing() -> None:
    told = notes("ci/everything")
    assert "The connection post (email.smtp) is routed to by no gateway" in told
    assert "Nothing routes to them yet" not in told
