"""What Helm 3 and Helm 4 make of every set of values that we ship, held against Kubernetes' own schemas."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate import utils, validate  # type: ignore[import-untyped]  # it has none

from .chart import CHART, HELMS, KUBERNETES, VALUES, Resource, helm, pods, render, rendered, template
from .custom import SCHEMAS

utils.schema_contents = cache(utils.schema_contents)  # it reads a megabyte for each resource
every_values = pytest.mark.parametrize("name", VALUES)


@every_values
def test_both_helms_render_the_same_for_every_kubernetes(name: str) -> None:
    first = rendered(name)
    for binary in HELMS:
        for kubernetes in KUBERNETES:
            assert rendered(name, binary, kubernetes) == first, f"{binary} for Kubernetes {kubernetes}"


@every_values
@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_kubernetes_takes_all_that_is_rendered(name: str, kubernetes: str) -> None:
    for key, resource in rendered(name).items():
        if resource["kind"] in SCHEMAS:
            jsonschema.validate(resource, SCHEMAS[resource["kind"]])
        else:
            assert validate(resource, kubernetes, strict=True) == kubernetes[:4], key


@every_values
@pytest.mark.parametrize("binary", HELMS)
def test_lint_finds_nothing(name: str, binary: str) -> None:
    values = [word for file in VALUES[name] for word in ("-f", str(file))]
    done = helm(binary, "lint", "--strict", "--quiet", CHART, *values)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@every_values
def test_rendered_twice_it_is_the_same_to_the_letter(name: str) -> None:
    assert template("helm4", *VALUES[name]) == template("helm4", *VALUES[name])


def test_an_older_kubernetes_is_refused() -> None:
    done = helm("helm4", "template", "x", CHART, "--kube-version", "1.29.0", "-f", *VALUES["ci/minimal"])
    assert done.returncode != 0
    assert "requires kubeVersion: >=1.30" in done.stderr


def test_distributions_with_versions_of_their_own_are_taken() -> None:
    assert template("helm4", *VALUES["ci/minimal"], kubernetes="v1.34.1-gke.100")


@every_values
def test_every_pod_keeps_to_the_restricted_profile(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and a root that can't be written to."""
    for key, spec in pods(rendered(name)).items():
        assert spec["automountServiceAccountToken"] is False, key
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), key
        pod = spec["securityContext"]
        assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (
            True,
            10001,
            {"type": "RuntimeDefault"},
        )
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, key
            assert own["capabilities"] == {"drop": ["ALL"]}, key
            assert not own.get("privileged"), key
            assert all("hostPort" not in port for port in container.get("ports", ())), key
            if container["name"] == "sluiceway":
                assert own["readOnlyRootFilesystem"] is True, key
        kinds = {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim"}, key


@every_values
def test_what_is_mounted_is_there_and_what_is_named_exists(name: str) -> None:
    found = rendered(name)
    for key, spec in pods(found).items():
        volumes = {volume["name"] for volume in spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in found[key]["spec"].get("volumeClaimTemplates", ())}
        assert len(spec["volumes"]) == len({volume["name"] for volume in spec["volumes"]}), key
        for container in spec["containers"]:
            mounts = container.get("volumeMounts", ())
            assert {mount["name"] for mount in mounts} <= volumes, key
            assert len({mount["mountPath"] for mount in mounts}) == len(mounts), key
    for service in (resource for resource in found.values() if resource["kind"] == "Service"):
        (spec,) = (s for k, s in pods(found).items() if k.partition("/")[2] == service["metadata"]["name"])
        names = {port["name"] for port in spec["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} == names


@every_values
def test_what_selects_pods_selects_those_of_one_gateway(name: str) -> None:
    found = rendered(name)
    workloads = {k: r["spec"]["template"]["metadata"]["labels"] for k, r in found.items() if _is_workload(r)}
    for key, resource in found.items():
        selector = _selector(resource)
        if selector is not None and "helm.sh/hook" not in resource["metadata"].get("annotations", {}):
            chosen = [k for k, labels in workloads.items() if selector.items() <= labels.items()]
            assert [k.partition("/")[2] for k in chosen] == [key.partition("/")[2]], key


def _is_workload(resource: Resource) -> bool:
    return resource["kind"] in {"Deployment", "StatefulSet"}


def _selector(resource: Resource) -> dict[str, str] | None:
    spec: dict[str, Any] = resource.get("spec", {})
    match resource["kind"]:
        case "Service":
            selector: dict[str, str] = spec["selector"]
        case "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        case "Deployment" | "StatefulSet" | "PodDisruptionBudget":
            selector = spec["selector"]["matchLabels"]
        case _:
            return None
    return selector


@every_values
def test_probes_and_metrics_are_never_routed_to(name: str) -> None:
    found = rendered(name)
    services = {r["metadata"]["name"]: r["spec"]["ports"] for r in found.values() if r["kind"] == "Service"}
    for resource in found.values():
        for service, port in _backends(resource):
            (chosen,) = (p for p in services[service] if port in {p["name"], p["port"]})
            assert chosen["name"] == "hooks", resource["metadata"]["name"]


def _backends(resource: Resource) -> list[tuple[str, Any]]:
    match resource["kind"]:
        case "Ingress":
            paths = [path for rule in resource["spec"]["rules"] for path in rule["http"]["paths"]]
            services = [path["backend"]["service"] for path in paths]
            return [(service["name"], service["port"]["name"]) for service in services]
        case "HTTPRoute":
            return [(b["name"], b["port"]) for rule in resource["spec"]["rules"] for b in rule["backendRefs"]]
    return []


def test_each_hook_is_routed_to_its_gateway_under_its_host() -> None:
    rules = rendered("ci/everything")["Ingress/sluiceway-channels"]["spec"]["rules"]
    routes = {
        (rule["host"], path["path"]): path["backend"]["service"]["name"]
        for rule in rules
        for path in rule["http"]["paths"]
    }
    assert routes == {
        ("chats.example.com", "/hooks/meta"): "sluiceway-channels-chats",
        ("hooks.example.com", "/hooks/twilio-a"): "sluiceway-channels-sms",
        ("hooks.example.com", "/media"): "sluiceway-channels-sms",
    }


def test_files_of_one_host_are_served_by_one_gateway() -> None:
    rules = rendered("examples/small")["Ingress/sluiceway"]["spec"]["rules"]
    assert [path["path"] for rule in rules for path in rule["http"]["paths"]].count("/media") == 1


def test_the_network_lets_out_to_dns_nats_and_the_proxy_alone() -> None:
    found = rendered("ci/everything")
    out = {
        key: [[port["port"] for port in rule["ports"]] for rule in found[f"NetworkPolicy/{key}"]["spec"]["egress"]]
        for key in ("sluiceway-channels-sms", "sluiceway-channels-dispatcher", "sluiceway-channels-streams")
    }
    assert out == {
        "sluiceway-channels-sms": [[53, 53], [4222], [3128]],
        "sluiceway-channels-dispatcher": [[53, 53], [4222]],
        "sluiceway-channels-streams": [[53, 53], [4222]],
    }


def test_dns_is_asked_where_the_values_say_by_the_job_and_the_test_too(tmp_path: Path) -> None:
    found = render(tmp_path, {"defaults": {"networkPolicy": {"dnsPorts": [5353]}}})
    for key in ("sms", "dispatcher", "streams", "test"):
        dns = found[f"NetworkPolicy/sluiceway-{key}"]["spec"]["egress"][0]
        assert dns == {"ports": [{"port": 5353, "protocol": "UDP"}, {"port": 5353}]}, key


def test_metrics_are_read_by_whom_the_values_name_and_hooks_by_everybody() -> None:
    sms = rendered("ci/minimal")["NetworkPolicy/sluiceway-sms"]["spec"]["ingress"]
    assert sms[0] == {"ports": [{"port": "hooks"}]}
    email = rendered("ci/everything")["NetworkPolicy/sluiceway-channels-email"]["spec"]["ingress"]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert email[1]["ports"] == [{"port": "probes"}]
    assert email[1]["from"][1:] == [monitoring]
    assert email[0]["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


def test_a_spool_is_on_claims_that_outlive_the_release() -> None:
    spec = rendered("ci/everything")["StatefulSet/sluiceway-channels-email"]["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "2Gi"}},
    }


def test_where_an_autoscaler_counts_nobody_else_does() -> None:
    found = rendered("ci/everything")
    assert "replicas" not in found["Deployment/sluiceway-channels-sms"]["spec"]
    scaler = found["HorizontalPodAutoscaler/sluiceway-channels-sms"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert found["Deployment/sluiceway-channels-chats"]["spec"]["replicas"] == 0
    assert found["Deployment/sluiceway-channels-dispatcher"]["spec"]["replicas"] == 3


def test_a_gateway_that_is_not_enabled_leaves_nothing_behind() -> None:
    assert not [key for key in rendered("ci/everything") if "voice" in key]


def test_only_the_streams_job_has_the_login_that_makes_streams() -> None:
    for key, spec in pods(rendered("examples/production")).items():
        secrets = {volume.get("secret", {}).get("secretName") for volume in spec["volumes"]}
        assert ("nats-streams" in secrets) == (key == "Job/sluiceway-streams"), key


def test_each_gateway_has_its_own_login_to_nats() -> None:
    logins = {
        key.partition("/")[2]: volume["secret"]["secretName"]
        for key, spec in pods(rendered("examples/production")).items()
        for volume in spec["volumes"]
        if volume["name"] == "nats-login"
    }
    assert logins == {
        "sluiceway-chats": "nats-chats",
        "sluiceway-dispatcher": "nats-dispatcher",
        "sluiceway-email": "nats-email",
        "sluiceway-sms": "nats-sms",
        "sluiceway-streams": "nats-streams",
    }


def test_streams_are_made_before_anything_needs_them_and_again_at_each_upgrade() -> None:
    job = rendered("ci/everything")["Job/sluiceway-channels-streams"]
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-weight": "0",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["streams", "create", "--wait", "240", "--tenant", "acme", "--tenant", "globex"]
    assert not [key for key in rendered("examples/shared-nats") if "streams" in key]


def test_what_the_job_needed_goes_when_it_is_done_and_its_log_stays() -> None:
    found = rendered("ci/everything")
    policies = {key: r["metadata"].get("annotations", {}).get("helm.sh/hook-delete-policy") for key, r in found.items()}
    assert {key: policy for key, policy in policies.items() if policy} == {
        "ConfigMap/sluiceway-channels-streams": "before-hook-creation,hook-succeeded",
        "NetworkPolicy/sluiceway-channels-streams": "before-hook-creation,hook-succeeded",
        "Job/sluiceway-channels-streams": "before-hook-creation",
        "NetworkPolicy/sluiceway-channels-test": "before-hook-creation,hook-succeeded",
        "Pod/sluiceway-channels-test": "before-hook-creation",
    }


def test_helm_test_asks_all_that_run() -> None:
    (container,) = pods(rendered("ci/everything"))["Pod/sluiceway-channels-test"]["containers"]
    urls = [f"http://sluiceway-channels-{key}:9090" for key in ("dispatcher", "email", "sms")]  # chats has no pod
    assert container["args"] == ["check", *(word for url in urls for word in ("--ready", url))]
    assert "env" in container
    assert not {"config", "nats-login"} & {mount["name"] for mount in container["volumeMounts"]}


def test_the_dashboard_is_installed_as_it_is_written() -> None:
    found = rendered("ci/everything")
    dashboard = found["ConfigMap/sluiceway-channels-dashboard"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    written = (CHART / "files" / "dashboard.json").read_text(encoding="utf-8")
    assert json.loads(dashboard["data"]["sluiceway.json"]) == json.loads(written)


def test_a_third_partys_gateway_is_added_by_values_alone() -> None:
    found = pods(rendered("examples/out-of-tree"))
    for key in ("sms", "pigeon"):
        (accounts,) = (v for v in found[f"Deployment/sluiceway-{key}"]["volumes"] if v["name"] == "accounts")
        (source,) = accounts["projected"]["sources"]
        assert [item["key"] for item in source["configMap"]["items"]] == [f"{key}.toml"], "it has no other's gateway"
    (container,) = found["Deployment/sluiceway-pigeon"]["containers"]
    assert (container["image"], container["args"]) == ("registry.example/pigeonpost:1.0", ["run", "pigeon"])


def test_an_image_with_an_entry_point_of_its_own_is_run_as_it_wants() -> None:
    (container, *_) = pods(rendered("ci/everything"))["Deployment/sluiceway-channels-chats"]["containers"]
    assert container["command"] == ["python", "-m", "sluiceway"]
    assert container["args"] == ["run", "messenger", "instagram"]


def test_the_nats_values_name_what_loses_nothing() -> None:
    small = yaml.safe_load((CHART / "examples" / "nats" / "small.yaml").read_text(encoding="utf-8"))
    assert small["config"]["jetstream"]["merge"] == {"sync_interval": "always"}
    for values in (small, yaml.safe_load((CHART / "examples" / "nats" / "production.yaml").read_text("utf-8"))):
        store = values["config"]["jetstream"]["fileStore"]
        claim, store_takes = (int(size.removesuffix("Gi")) for size in (store["pvc"]["size"], store["maxSize"]))
        assert store_takes == claim * 85 // 100, "JetStream says that it is full before the disk does"
        memory = int(values["container"]["merge"]["resources"]["limits"]["memory"].removesuffix("Gi")) * 1024
        limit = values["container"]["env"]["GOMEMLIMIT"]
        assert int(limit[:-3]) * {"GiB": 1024, "MiB": 1}[limit[-3:]] == memory * 7 // 8
    production = yaml.safe_load((CHART / "examples" / "nats" / "production.yaml").read_text(encoding="utf-8"))
    assert production["config"]["cluster"] == {"enabled": True, "replicas": 3}
