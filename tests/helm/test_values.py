"""Values with which nothing would work are refused, in words that say what to do; and what merges how."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from sluiceway import Gateway, Secret, plugins

from .chart import CHART, HELMS, VALUES, helm, pods, render, written

HOST = {"publicUrl": "https://hooks.example.com"}

# What is set over ci/minimal.yaml, and what is said
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no servers": ({"nats": {"urls": []}}, "nats.urls is missing: the chart installs no NATS"),
    "no identity": ({"identity": {"existingSecret": ""}}, "identity.existingSecret is missing: make it once"),
    "no image": (
        {"defaults": {"image": {"repository": ""}}},
        "defaults.image.repository is missing, for dispatcher, sms: build the image",
    ),
    "a spool without storage": (
        {"gateways": {"sms": {"spool": {"enabled": True, "size": ""}}}},
        "gateways.sms.spool.size is missing: a spool needs storage",
    ),
    "a spool that is scaled": (
        {"gateways": {"sms": {"spool": {"enabled": True}, "autoscaling": {"enabled": True}}}},
        "gateways.sms: a spool is not scaled by itself",
    ),
    "a hook in two gateways": (
        {"gateways": {"sms": {"hooks": ["a"]}, "voice": {"hooks": ["a"]}}},
        "gateways.voice.hooks: the hook a is gateways.sms's too; a hook lives in one gateway",
    ),
    "a hook twice": ({"gateways": {"sms": {"hooks": ["a", "a"]}}}, "gateways.sms.hooks: the hook a is named twice"),
    "an ingress without a host": (
        {"ingress": {"enabled": True}, "gateways": {"sms": {"hooks": ["a"]}}},
        "gateways.sms.publicUrl is missing: ingress or httpRoute needs its host",
    ),
    "an ingress without hooks": ({"ingress": {"enabled": True}, "defaults": HOST}, "no gateway has hooks"),
    "a route of no gateway": (
        {"httpRoute": {"enabled": True}, "defaults": HOST, "gateways": {"sms": {"hooks": ["a"]}}},
        "httpRoute.parentRefs is missing",
    ),
    "a boolean for a name": ({"gateways": {"off": {}}}, "gateways.off: on, off, yes, no, y, n, true and false are"),
    "no DNS label": ({"gateways": {"SMS_uk": {}}}, "gateways.SMS_uk: a key is part of DNS names"),
    "a name that is taken": ({"gateways": {"test": {}}}, "gateways.test: the chart makes something else of that name"),
    "a long name": ({"fullnameOverride": "x" * 50}, "has more than 52 letters; choose a shorter release name"),
    "an image without a tag": (
        {"gateways": {"sms": {"image": {"repository": "registry.example/other"}}}},
        "gateways.sms.image: with a repository of its own it needs a tag or a digest of its own",
    ),
    "more at least than at most": (
        {"gateways": {"sms": {"autoscaling": {"enabled": True, "minReplicas": 9}}}},
        "gateways.sms.autoscaling: minReplicas is more than maxReplicas",
    ),
    "no time to drain": (
        {"defaults": {"preStopSleepSeconds": 25}},
        "gateways.sms.terminationGracePeriodSeconds is too short",
    ),
    "a user without a password": (
        {"defaults": {"natsLogin": {"existingSecret": "nats", "userKey": "user"}}},
        "gateways.sms.natsLogin.passwordKey is missing",
    ),
    "keys of no secret": (
        {"defaults": {"natsLogin": {"tokenKey": "token"}}},
        "dispatcher.natsLogin.existingSecret is missing",
    ),
    "a login in an address": ({"nats": {"urls": ["nats://me:secret@nats:4222"]}}, "nats"),
    "a port that is taken": (
        {"gateways": {"sms": {"ports": [{"name": "smtp", "port": 9090}]}}},
        "gateways.sms.ports: smtp 9090 is taken",
    ),
    "a secret in the identity's place": ({"defaults": {"secrets": ["identity"]}}, "the Secret identity can't be"),
    "two certificates": (
        {"nats": {"ca": {"existingSecret": "a", "existingConfigMap": "b"}}},
        "nats.ca: name existingConfigMap or existingSecret, not both",
    ),
    "accounts that are no TOML": (
        {"accounts": {"files": {"a.toml": "[accounts"}}},
        "accounts.files.a.toml is not TOML",
    ),
    "accounts that are not read": ({"accounts": {"files": {"a.txt": ""}}}, "a.txt: its name must end in .toml"),
    "settings among accounts": (
        {"accounts": {"files": {"a.toml": "[log]\nlevel = 'debug'"}}},
        "accounts.files.a.toml has log: a file of accounts has only connections and accounts",
    ),
    "a secret in clear": (
        {"accounts": {"files": {"a.toml": '[connections.a]\ngateway = "sms.twilio"\ntoken = "0123"'}}},
        "accounts.files.a.toml: connections.a.token has a secret in clear, which a ConfigMap would show",
    ),
    "an account's secret in clear": (
        {"accounts": {"files": {"a.toml": '[accounts.a]\naccess_token = "0123"'}}},
        "accounts.files.a.toml: accounts.a.access_token has a secret in clear",
    ),
    "a spool that is larger than its claim": (
        {"gateways": {"sms": {"spool": {"enabled": True, "size": "1Gi", "maxBytes": 1073741825}}}},
        "gateways.sms.spool.maxBytes is more than spool.size holds (1Gi)",
    ),
    "accounts that are not there": (
        {"gateways": {"sms": {"accounts": {"files": ["b.toml"]}}}},
        "gateways.sms.accounts.files: there is no accounts.files.b.toml",
    ),
    "what the chart writes": (
        {"defaults": {"config": {"nats": {"url": "nats://other"}}}},
        "gateways.sms.config.nats: the chart writes this section; use the value nats and natsLogin",
    ),
    "an address that the chart writes": (
        {"defaults": {"config": {"http": {"public_url": "https://x.example"}}}},
        "gateways.sms.config.http.public_url: the chart writes it; use the value publicUrl",
    ),
    "a port that the chart writes": (
        {"defaults": {"config": {"probes": {"listen": "0.0.0.0:1"}}}},
        "gateways.sms.config.probes.listen: the chart writes it",
    ),
    "a dispatcher with hooks": ({"dispatcher": {"hooks": ["a"]}}, "dispatcher.hooks: only gateways have hooks"),
    "an alert that there is not": (
        {"metrics": {"prometheusRule": {"disabled": ["SluicewayNothing"]}}},
        "metrics.prometheusRule.disabled: there is no alert SluicewayNothing; there are Sluiceway",
    ),
    "a key that is not known": ({"gateways": {"sms": {"replicaz": 3}}}, "replicaz"),
    "a section that is not known": ({"gatways": {}}, "gatways"),
    "a text for a number": ({"defaults": {"replicas": "3"}}, "replicas"),
    "a URL without a scheme": ({"defaults": {"publicUrl": "hooks.example.com"}}, "publicUrl"),
}


@pytest.mark.parametrize("binary", HELMS)
@pytest.mark.parametrize("what", WRONG)
def test_wrong_values_are_refused_in_words_that_help(what: str, binary: str, tmp_path: Path) -> None:
    values, words = WRONG[what]
    minimal = ("-f", str(*VALUES["ci/minimal"]))
    done = helm(binary, "template", "sluiceway", CHART, *minimal, "-f", written(tmp_path, values))
    assert done.returncode != 0
    assert words in done.stderr


def test_a_secret_of_every_shipped_gateway_is_known_by_its_key() -> None:
    """What core wants as env: or file: the chart wants so, too; and nothing else."""
    faults = (CHART / "templates" / "_faults.tpl").read_text(encoding="utf-8")
    (pattern,) = re.findall(r'regexMatch "(\^\(\(app\|.*?)" \$key', faults)
    types = [type for name in plugins.installed() for type in _settings(plugins.gateway(name))]
    fields = {name: hint for type in types for name, hint in get_type_hints(type).items()}
    secret = {name for name, hint in fields.items() if Secret in (hint, *get_args(hint))}
    assert {name for name in fields if re.search(pattern, name)} == secret


def _settings(gateway: type[Gateway[Any, Any]]) -> tuple[type, type]:
    return gateway.settings_type, gateway.account_type


def test_a_spool_may_be_as_large_as_its_claim(tmp_path: Path) -> None:
    for size, bytes in (("1Gi", 1 << 30), ("1G", 10**9), ("1.5Mi", 3 << 19), (1000000, 1000000), ("2000k", 2000000)):
        spool = {"enabled": True, "size": size, "maxBytes": bytes}
        assert "StatefulSet/sluiceway-sms" in render(tmp_path, {"gateways": {"sms": {"spool": spool}}})


def test_everything_sets_every_value_of_a_gateway() -> None:
    (file,) = VALUES["ci/everything"]
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    known = schema["$defs"]["gateway"]["properties"].keys()
    used = {key for own in (values["defaults"], *values["gateways"].values()) for key in own}
    assert known - used == {"podSecurityContext", "securityContext"}  # the profile is not to be lost


def test_all_that_is_wrong_is_told_at_once() -> None:
    stderr = helm("helm4", "template", "sluiceway", CHART).stderr
    assert all(key in stderr for key in ("nats.urls", "identity.existingSecret", "defaults.image.repository"))


def test_a_gateway_has_the_defaults_but_for_what_it_says(tmp_path: Path) -> None:
    defaults = {"resources": {"limits": {"memory": "1Gi"}}, "tolerations": [{"key": "a"}], "pdb": {"enabled": True}}
    own = {"resources": {"requests": {"cpu": "1"}}, "tolerations": [], "pdb": {"enabled": False}, "replicas": 0}
    found = render(tmp_path, {"defaults": defaults, "gateways": {"sms": own, "voice": {}}})
    sms = pods(found)["Deployment/sluiceway-sms"]
    resources = {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "128Mi"}}
    assert sms["containers"][0]["resources"] == resources
    assert "tolerations" not in sms
    assert found["Deployment/sluiceway-sms"]["spec"]["replicas"] == 0
    assert "PodDisruptionBudget/sluiceway-sms" not in found
    assert pods(found)["Deployment/sluiceway-voice"]["tolerations"] == [{"key": "a"}]
    assert "PodDisruptionBudget/sluiceway-voice" in found


def test_what_only_gateways_have_does_not_reach_the_dispatcher_by_the_defaults(tmp_path: Path) -> None:
    spool = {"spool": {"enabled": True}, "secrets": ["twilio"], "accounts": {"files": []}, "hooks": ["a"]}
    scaled = {"autoscaling": {"enabled": True}, "ports": [{"name": "smtp", "port": 2525}]}
    for defaults in (spool, scaled):
        found = render(tmp_path, {"defaults": defaults})
        assert found["Deployment/sluiceway-dispatcher"]["spec"]["replicas"] == 2
        pod = pods(found)["Deployment/sluiceway-dispatcher"]
        assert not {"spool", "secret-twilio"} & {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert [port["name"] for port in pod["containers"][0]["ports"]] == ["probes"]
        (accounts,) = (volume for volume in pod["volumes"] if volume["name"] == "accounts")
        assert accounts["projected"]["sources"] == [{"configMap": {"name": "sluiceway-accounts"}}]
        assert "HorizontalPodAutoscaler/sluiceway-dispatcher" not in found


def test_an_image_of_ones_own_does_not_inherit_the_digest(tmp_path: Path) -> None:
    defaults = {"image": {"repository": "registry.example/sluiceway", "digest": f"sha256:{'0' * 64}"}}
    other = {"image": {"repository": "registry.example/other", "tag": "2.1"}}
    found = pods(render(tmp_path, {"defaults": defaults, "gateways": {"other": other}}))
    images = {key: spec["containers"][0]["image"] for key, spec in found.items()}
    assert images["Deployment/sluiceway-sms"] == f"registry.example/sluiceway@sha256:{'0' * 64}"
    assert images["Deployment/sluiceway-other"] == "registry.example/other:2.1"


def test_a_chart_may_have_it_as_a_part(tmp_path: Path) -> None:
    """What a chart above gives to all its parts is no unknown value."""
    assert render(tmp_path, {"global": {"environment": "test"}})
