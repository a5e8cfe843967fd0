"""The fields of custom resources that the chart uses, as their definitions have them; anything else is refused.

https://prometheus-operator.dev/docs/api-reference/api/ · https://gateway-api.sigs.k8s.io/reference/spec/
https://github.com/nats-io/nack/blob/main/deploy/crds.yml
"""

from __future__ import annotations

from typing import Any


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


def _list(item: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": item, **limits}


TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
DURATION = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}
METADATA = _object(("name", "labels"), name={"type": "string", "maxLength": 63}, labels=TEXTS, annotations=TEXTS)
RELABELING = _object(
    action={"enum": ["replace", "keep", "drop", "labeldrop", "labelkeep", "labelmap", "hashmod", "lowercase"]},
    regex=TEXT,
    replacement=TEXT,
    sourceLabels=_list(TEXT),
    targetLabel=TEXT,
)
RULE = _object(
    ("expr",), alert=TEXT, record=TEXT, expr=TEXT, **{"for": DURATION}, keep_firing_for=DURATION,
    labels=TEXTS, annotations=TEXTS,
)  # fmt: skip
PARENT = _object(("name",), name=TEXT, namespace=TEXT, sectionName=TEXT, port={"type": "integer"})
MATCH = _object(("path",), path=_object(("type", "value"), type={"enum": ["Exact", "PathPrefix"]}, value=TEXT))
BACKEND = _object(("name", "port"), name=TEXT, port={"type": "integer"})
SOURCE = _object(("name",), name=TEXT, subjectTransforms=_list(_object(("source", "dest"), source=TEXT, dest=TEXT)))
SECONDS = {"type": "string", "pattern": "^[0-9]+[sh]$"}


def _resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    named = {"apiVersion": {"const": version}, "kind": {"const": kind}}
    return _object(("apiVersion", "kind", "metadata", "spec"), **named, metadata=METADATA, spec=spec)


SCHEMAS = {
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        _object(
            ("selector", "podMetricsEndpoints"),
            selector=_object(("matchLabels",), matchLabels=TEXTS),
            podTargetLabels=_list(TEXT),
            podMetricsEndpoints=_list(
                _object(("port",), port=TEXT, path=TEXT, interval=DURATION, relabelings=_list(RELABELING)), minItems=1
            ),
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _object(("groups",), groups=_list(_object(("name", "rules"), name=TEXT, interval=DURATION, rules=_list(RULE)))),
    ),
    "Stream": _resource(
        "jetstream.nats.io/v1beta2",
        "Stream",
        _object(
            ("name", "subjects", "replicas", "preventDelete"),
            name={"type": "string", "pattern": "^[^.*>]+$"},
            subjects=_list(TEXT, minItems=1),
            retention={"enum": ["limits"]},
            storage={"enum": ["file"]},
            discard={"enum": ["old", "new"]},
            maxAge=SECONDS,
            maxBytes={"type": "integer", "minimum": -1},
            maxMsgsPerSubject={"type": "integer"},
            duplicateWindow=SECONDS,
            replicas={"type": "integer", "minimum": 1},
            preventDelete={"const": True},
            **{key: {"type": "boolean"} for key in ("allowDirect", "allowRollup", "allowMsgTtl", "allowMsgSchedules")},
            sources=_list(SOURCE),
            account=TEXT,
            jsDomain=TEXT,
        ),
    ),
    "HTTPRoute": _resource(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        _object(
            ("parentRefs", "hostnames", "rules"),
            parentRefs=_list(PARENT, minItems=1, maxItems=32),
            hostnames=_list(TEXT, maxItems=16),
            rules=_list(
                _object(("matches", "backendRefs"), matches=_list(MATCH, maxItems=64), backendRefs=_list(BACKEND)),
                minItems=1,
                maxItems=16,
            ),
        ),
    ),
}
"""By kind."""
