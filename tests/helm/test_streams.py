"""The Stream resources for NACK are the streams that the code makes, field by field, at a real nats-server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.testing.nats import nats_server

from .chart import render

# What NACK asks the server for, by the resource's field: its streamSpecToConfig
ASKED = {
    "allowDirect": "allow_direct",
    "allowMsgSchedules": "allow_msg_schedules",
    "allowMsgTtl": "allow_msg_ttl",
    "allowRollup": "allow_rollup_hdrs",
    "discard": "discard",
    "duplicateWindow": "duplicate_window",
    "maxAge": "max_age",
    "maxBytes": "max_bytes",
    "maxMsgsPerSubject": "max_msgs_per_subject",
    "name": "name",
    "replicas": "num_replicas",
    "retention": "retention",
    "sources": "sources",
    "storage": "storage",
    "subjects": "subjects",
}
NACKS_OWN = {"preventDelete"}
UNITS = {"s": 10**9, "h": 3600 * 10**9}


def asked(spec: dict[str, Any]) -> dict[str, Any]:
    """What NACK asks for."""
    config = {ASKED[field]: value for field, value in spec.items() if field not in NACKS_OWN}
    for key in ("max_age", "duplicate_window"):
        if key in config:
            config[key] = int(config[key][:-1]) * UNITS[config[key][-1]]
    for source in config.get("sources", ()):
        transforms = source.pop("subjectTransforms")
        source["subject_transforms"] = [{"src": one["source"], "dest": one["dest"]} for one in transforms]
    return config


async def configs(settings: Nats, specs: list[dict[str, Any]] | None) -> dict[str, Any]:
    """What a server has afterwards: made by the code, or as NACK would make it."""
    link, layout = Link(settings, "test"), Layout(settings)
    await link.connect()
    for spec in specs or ():
        config = json.dumps(asked(spec)).encode()
        answer = await link.request(f"$JS.API.STREAM.CREATE.{spec['name']}", config, timeout_s=10)
        assert "error" not in json.loads(answer.data), answer.data
    await ensure(link, layout, create=specs is None, tenants=["acme"])
    found = {}
    for name in layout.with_media(["acme"]):
        answer = await link.request(f"$JS.API.STREAM.INFO.{name}", b"", timeout_s=10)
        found[name] = json.loads(answer.data)["config"]
        found[name].pop("metadata", None)
    await link.close()
    return found


def test_what_nack_makes_is_what_the_code_makes(tmp_path: Path) -> None:
    streams = {"mode": "nack", "tenants": ["acme"], "mediaDays": 90, "mediaMaxBytes": 1_000_000}
    found = render(tmp_path, {"nats": {"prefix": "retail.channels", "names": "RETAIL"}, "streams": streams})
    specs = [resource["spec"] for key, resource in found.items() if key.startswith("Stream/")]
    settings = Nats(prefix="retail.channels", names="RETAIL", media_days=90, media_max_bytes=1_000_000)
    with nats_server(tmp_path / "code") as code, nats_server(tmp_path / "nack") as nack:
        made = asyncio.run(configs(replace(settings, url=code.url), None))
        assert asyncio.run(configs(replace(settings, url=nack.url), specs)) == made
    assert len(specs) == len(made)


def test_streams_stay_when_the_release_goes(tmp_path: Path) -> None:
    found = render(tmp_path, {"streams": {"mode": "nack"}})
    for resource in (resource for key, resource in found.items() if key.startswith("Stream/")):
        assert resource["spec"]["preventDelete"] is True
        assert resource["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "Job/sluiceway-streams" not in found
